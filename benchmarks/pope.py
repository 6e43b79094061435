"""POPE: does a model say yes to objects that are not there?

    python benchmarks/pope.py --questions FILE --answers FILE --parser official --json OUT
    python benchmarks/pope.py --model sandbox --json OUT
    python benchmarks/pope.py --model NAME --images FOLDER --questions FILE --json OUT

Questions: JSON lines with question_id, image, text, label, as the official files. Answers: JSON lines with question_id
and answer (or text), and margin where it is known (logit of yes minus logit of no). Both plain or gzipped; scoring
needs no torch. A file of answers without ids is read with --in-order.

With --baseline FILE, the answers of plain decoding, it also prints McNemar's test, and the shams that matter: the
baseline with yes said as often as in the answers scored, blindly, and where its margins are known by a moved threshold.
The sandbox asks all three kinds, prints their mean, and OUT holds the score of --kind. A model's answers are kept
beside OUT; run again to resume. One raw question:
{"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a skis in the image?", "label": "yes"}
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from running import add_model_options, heading, load, main, options, pictures, resume, sandbox_objects

from halluguard.errors import InputError
from halluguard.metrics import baselines, pope
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.reading import read_rows
from halluguard.metrics.score import Score

COLUMNS = ("acc", "precision", "recall", "f1", "yes_ratio")
KINDS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")


def pope_options() -> argparse.ArgumentParser:
    parser, _ = options(__doc__, "answers")
    parser.add_argument("--questions", type=Path, help="question file; the sandbox makes its own")
    parser.add_argument("--parser", choices=list(pope.PARSERS), default="official", help="how answers are read")
    parser.add_argument("--in-order", action="store_true", help="line n answers question n, where there are no ids")
    parser.add_argument("--baseline", type=Path, help="answers of plain decoding to the same questions")
    add_model_options(parser, max_new_tokens=16, batch_size=16)
    parser.add_argument("--kind", choices=KINDS, default="adversarial", help="of the sandbox: which score OUT holds")
    return parser


def run(given: argparse.Namespace) -> None:
    if given.model == "sandbox" and not given.questions:
        objects = sandbox_objects()
        found = {}
        for kind in KINDS:
            questions = pope.build_questions(objects, kind, seed=given.seed)[: given.limit]
            found[kind] = one(given, questions, f"sandbox-{kind}")
        means = ", ".join(f"{name} {100 * sum(s[name] for s in found.values()) / 3:.1f}" for name in COLUMNS)
        print(f"mean of the three: {means}")
        found[given.kind].save(given.json)
        return
    if not given.questions:
        raise InputError("POPE needs questions; name their file with --questions")
    one(given, pope.read_questions(given.questions)[: given.limit], None).save(given.json)


def one(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Score:
    """Score one file of questions and print it beside its baseline and shams."""
    path = answered(given, questions, split) if given.model else given.answers
    split = split or pope.file_version(questions)

    def score(said: dict[str, str], **more: Any) -> Score:
        how = {"seed": given.seed, "resamples": given.resamples, "split": split}
        return pope.score(questions, said, parser=given.parser, **how, **more)

    result = score(answers(path, questions, given), logits=margins(path, questions))
    print("\n".join(result.lines()))
    print(" ".join(f"{name} {count}" for name, count in result.counts.items()))
    rows = [(str(given.model or path.name), result)]
    if given.baseline:
        base = score(answers(given.baseline, questions, given))
        verdicts = {key: verdict for key, _, _, verdict in base.details["per_question"]}
        shifted = baselines.shift_yes_ratio(verdicts, result["yes_ratio"], given.seed)
        rows += [(f"baseline {given.baseline.name}", base), ("sham: baseline, yes shifted blindly", score(shifted))]
        leaning = margins(given.baseline, questions)
        if leaning:
            moved = baselines.lean_yes(leaning, result["yes_ratio"])
            rows.append(("sham: baseline, threshold moved", score(moved)))
    compared = rows[1:]
    rows += [(f"sham: always {word.lower()}", score(baselines.always(questions, word))) for word in ("No", "Yes")]
    print(heading("answers", COLUMNS))
    for label, scored in rows:
        print(scored.markdown_row(label, COLUMNS))
    for label, other in compared:
        test = pope.mcnemar(other, result)
        counts = f"right only there {test['only_first']}, only here {test['only_second']}"
        print(f"against {label}: {counts}, p {test['p']:.4f}")
    print()
    return result


def answers(path: Path, questions: list[pope.Question], given: argparse.Namespace) -> dict[str, str]:
    """Answers by question id; with --limit, those to the questions that are left."""
    found = pope.read_answers(path, questions if given.in_order else None)
    ids = {q.question_id for q in questions}
    return {key: text for key, text in found.items() if key in ids} if given.limit else found


def margins(path: Path, questions: list[pope.Question]) -> dict[str, float] | None:
    """Margins by question id, where the file has one for every question."""
    ids = {q.question_id for q in questions}
    found = {
        str(row["question_id"]): row["margin"] for _, row in read_rows(path) if {"question_id", "margin"} <= set(row)
    }
    found = {key: float(margin) for key, margin in found.items() if key in ids}
    return found if len(found) == len(ids) else None


def answered(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Path:
    """Put the questions to the model; the file of its answers and margins."""
    images = pictures(given, [q.image for q in questions])
    path = given.json.with_suffix(f".{split}.jsonl" if split else ".answers.jsonl")
    guard, settings = load(given)
    asked = {q.question_id: q for q in questions}

    def ask(batch: list[str]) -> list[dict[str, Any]]:
        shown = [images[image_key(asked[key].image)] for key in batch]
        texts = [asked[key].text for key in batch]
        said = guard.batch(shown, texts, max_new_tokens=given.max_new_tokens)
        leaning = guard.margins(shown, texts, decoding=guard.decoding)
        return [
            {"question_id": key, "answer": answer.text, "margin": margin}
            for key, answer, margin in zip(batch, said, leaning, strict=True)
        ]

    resume(path, "question_id", list(asked), ask, given.batch_size, settings)
    return path


if __name__ == "__main__":
    main(pope_options(), run)
