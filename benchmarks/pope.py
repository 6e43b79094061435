"""POPE: does a model say yes to objects that are not there?

    python benchmarks/pope.py --questions FILE --answers FILE --parser official --json OUT
    python benchmarks/pope.py --model sandbox --json OUT
    python benchmarks/pope.py --model NAME --images FOLDER --questions FILE --json OUT

Questions: JSON lines with question_id, image, text, label, as the official files. Answers: JSON lines with question_id
and answer. Both plain or gzipped. Scoring needs no torch. With --baseline FILE, the answers of plain decoding, it also
prints McNemar's test, and a sham: the baseline with as many yes as the answers scored, chosen blindly. The sandbox
asks all three kinds of questions, and OUT holds the score of --kind. Answers are kept beside OUT; run again to resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from halluguard.errors import HalluguardError, InputError
from halluguard.metrics import pope, shams
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.reading import read_rows
from halluguard.metrics.score import Score

COLUMNS = ("acc", "precision", "recall", "f1", "yes_ratio")
KINDS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")


def main() -> None:
    given = options().parse_args()
    try:
        run(given)
    except HalluguardError as error:
        sys.exit(f"error: {error}")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--answers", type=Path)
    source.add_argument("--model", help="hub name, folder, or sandbox")
    parser.add_argument("--questions", type=Path, help="question file; the sandbox makes its own")
    parser.add_argument("--parser", choices=list(pope.PARSERS), default="official", help="how answers are read")
    parser.add_argument("--baseline", type=Path, help="answers of plain decoding to the same questions")
    parser.add_argument("--json", type=Path, required=True, help="write the score here")
    parser.add_argument("--limit", type=int, help="only the first so many questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap size; 0: no intervals")
    model = parser.add_argument_group("with --model")
    model.add_argument("--kind", choices=KINDS, default="adversarial", help="of the sandbox: which score OUT holds")
    model.add_argument("--images", type=Path, help="folder of pictures, named by image id or as in COCO")
    model.add_argument("--imagination", type=float, help="decoding knob in [-1, 1]; plain without")
    model.add_argument("--detector", help="expert that corrects the answers: hub name, folder, or sandbox")
    model.add_argument("--max-new-tokens", type=int, default=16)
    model.add_argument("--batch-size", type=int, default=16)
    model.add_argument("--dtype")
    model.add_argument("--device")
    return parser


def run(given: argparse.Namespace) -> None:
    if given.limit is not None and given.limit < 1:
        raise InputError(f"--limit must be at least 1, got {given.limit}")
    if given.model == "sandbox" and not given.questions:
        from halluguard.sandbox import scenes

        objects = {sample.image_id: list(sample.names) for sample in scenes()}
        for kind in KINDS:
            questions = pope.build_questions(objects, kind, seed=given.seed)[: given.limit]
            scored = one(given, questions, f"sandbox-{kind}")
            if kind == given.kind:
                scored.save(given.json)
        return
    if not given.questions:
        raise InputError("POPE needs questions; name their file with --questions")
    one(given, pope.read_questions(given.questions)[: given.limit], None).save(given.json)


def one(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Score:
    """Score one file of questions and print it beside its baseline and shams."""
    logits = None
    if given.model:
        path = answered(given, questions, split)
        logits = {str(row["question_id"]): row["margin"] for _, row in read_rows(path)}
    else:
        path = given.answers
    ids = {q.question_id for q in questions}
    split = split or pope.file_version(questions)

    def answers(file: Path) -> dict[str, str]:
        found = pope.read_answers(file)
        return {key: text for key, text in found.items() if key in ids} if given.limit else found

    def score(said: dict[str, str], **more: Any) -> Score:
        how = {"seed": given.seed, "resamples": given.resamples, "split": split}
        return pope.score(questions, said, parser=given.parser, **how, **more)

    if logits is not None:
        logits = {key: margin for key, margin in logits.items() if key in ids}
    result = score(answers(path), logits=logits)
    print("\n".join(result.lines()))
    print(" ".join(f"{name} {result.counts[name]}" for name in ("TP", "FP", "TN", "FN", "neither", "unparsed")))
    rows = [(given.model or path.name, result)]
    base = score(answers(given.baseline)) if given.baseline else None
    if base:
        rows.append((f"baseline {given.baseline.name}", base))
        verdicts = {str(i): verdict for i, _, _, verdict in base.details["per_question"]}
        shifted = shams.shift_yes_ratio(verdicts, result["yes_ratio"], given.seed)
        rows.append(("sham: baseline, yes shifted blindly to match", score(shifted)))
    rows += [("sham: always no", score(shams.always(questions, "No")))]
    rows += [("sham: always yes", score(shams.always(questions, "Yes")))]
    print(f"\n| answers | {' | '.join(COLUMNS)} | signature |\n|{'---|' * (len(COLUMNS) + 2)}")
    for label, scored in rows:
        print(scored.markdown_row(label, COLUMNS))
    for label, other in rows[1:3] if base else []:
        test = pope.mcnemar(other, result)
        print(f"against {label}: only it {test['only_first']}, only this {test['only_second']}, p {test['p']:.4f}")
    print()
    return result


def answered(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Path:
    """Put the questions to the model; the file of its answers and margins."""
    from running import load, pictures, resume

    images = pictures(given, {image_key(q.image): q.image for q in questions})
    path = given.json.with_suffix(f".{split}.jsonl" if split else ".answers.jsonl")
    guard, settings = load(given)
    asked = {q.question_id: q for q in questions}

    def ask(batch: list[str]) -> list[dict[str, Any]]:
        shown = [images[image_key(asked[key].image)] for key in batch]
        texts = [asked[key].text for key in batch]
        said = guard.batch(shown, texts, max_new_tokens=given.max_new_tokens)
        margins = guard.margins(shown, texts, decoding=guard.decoding)
        return [
            {"question_id": key, "answer": answer.text, "margin": margin}
            for key, answer, margin in zip(batch, said, margins, strict=True)
        ]

    resume(path, "question_id", list(asked), ask, given.batch_size, {**settings, "seed": given.seed})
    return path


if __name__ == "__main__":
    main()
