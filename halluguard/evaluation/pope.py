"""Score POPE: yes/no questions about objects that are, or are not, in the image.

    halluguard eval pope --questions FILE --answers FILE --parser official --json OUT
    halluguard eval pope --answers LOG_OR_TABLE --category adversarial --json OUT
    halluguard eval pope --model sandbox --json OUT
    halluguard eval pope --model NAME --images FOLDER --questions FILE --json OUT

Questions: JSON lines with question_id, image, text, label, as in the official files. Answers: JSON lines, CSV or TSV
with question_id and answer (also prediction, response, output, text or a chat; --answer-key names another field), and
optionally margin (logit of yes minus logit of no). Both may be compressed. Scoring needs no torch. A file of answers
without ids is read with --in-order.

Without --questions, the file of answers has the right answers too: a sample log of lmms-eval (*_samples_*.jsonl) or a
table of VLMEvalKit (.xlsx with the extra xlsx, .tsv). Such files hold several question sets; --category chooses one.

With --labels FILE, corrected labels of the same questions (RePOPE's files), it scores the answers under both sets of
labels. It also prints how much the labels alone change, and whether they reverse the order of --plain and the answers.

With --plain FILE, the answers of plain decoding, it also prints McNemar's test and two baselines that say yes as often
as the scored answers: the plain answers changed at random and, if FILE has margins, the plain answers with a moved
threshold. The sandbox model gets all three kinds of questions, and their mean is printed; OUT holds the score of
--kind. A model's answers are kept beside OUT; run the command again to resume. One question: {"question_id": 1,
"image": "COCO_val2014_000000310196.jpg", "text": "Is there a skis in the image?", "label": "yes"}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from halluguard.errors import InputError
from halluguard.evaluation import running
from halluguard.metrics import baselines, pope, pope_labels
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.score import JsonObject, Score
from halluguard.printing import show

COLUMNS = ("acc", "precision", "recall", "f1", "yes_ratio")
KINDS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")


def options_parser() -> argparse.ArgumentParser:
    parser, _ = running.options(__doc__, "answers")
    parser.add_argument("--questions", type=Path, help="question file; not needed for the sandbox")
    parser.add_argument("--parser", choices=list(pope.PARSERS), default="official", help="rule that reads answers")
    running.add_answer_options(parser)
    parser.add_argument("--in-order", action="store_true", help="line n answers question n; for a file without ids")
    parser.add_argument("--category", help="question set to score, if the file of answers holds several")
    parser.add_argument("--labels", type=Path, help="corrected labels of the same questions, such as RePOPE's file")
    parser.add_argument("--plain", type=Path, help="answers of plain decoding to the same questions")
    running.add_model_options(parser, max_new_tokens=16, batch_size=16)
    kind_help = "kind of the sandbox's questions whose score is written to OUT [adversarial]"
    parser.add_argument("--kind", choices=KINDS, default="adversarial", help=kind_help)
    return parser


def run(given: argparse.Namespace) -> None:
    if given.model == "sandbox" and not given.questions:
        objects = running.sandbox_objects()
        scores = {}
        for kind in KINDS:
            questions = pope.build_questions(objects, kind, seed=given.seed)[: given.limit]
            scores[kind] = one(given, questions, f"sandbox-{kind}")
        means = ", ".join(f"{name} {100 * sum(s[name] for s in scores.values()) / 3:.1f}" for name in COLUMNS)
        show(f"mean of the three: {means}")
        scores[given.kind].save(given.json)
        return
    if given.questions:
        questions = pope.read_questions(given.questions)
    elif given.answers:
        questions, _ = pope.read_labelled(given.answers, given.category, given.answer_key)
    else:
        raise InputError("POPE needs questions; name their file with --questions")
    one(given, questions[: given.limit], None).save(given.json)


def one(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Score:
    """Score one file of questions and print it beside plain decoding and the baselines."""
    path = answered(given, questions, split) if given.model else given.answers
    split = split or pope.file_version(questions)

    def score(by_id: dict[str, str], logits: dict[str, float] | None = None) -> Score:
        how = {"forms": given.forms, "seed": given.seed, "resamples": given.resamples, "split": split}
        return pope.score(questions, by_id, parser=given.parser, logits=logits, **how)

    result = score(answers(path, questions, given), logits=margins(path, questions))
    show("\n".join(result.lines()))
    show(" ".join(f"{name} {count}" for name, count in result.counts.items()))
    rows = [(str(given.model or path.name), result)]
    if given.plain:
        base = score(answers(given.plain, questions, given))
        verdicts = {key: verdict for key, _, _, verdict in base.details["per_question"]}
        shifted = baselines.shift_yes_ratio(verdicts, result["yes_ratio"], given.seed)
        rows += [(f"plain {given.plain.name}", base), ("baseline: plain, yes shifted blindly", score(shifted))]
        plain_margins = margins(given.plain, questions)
        if plain_margins:
            moved = baselines.lean_yes(plain_margins, result["yes_ratio"])
            rows.append(("baseline: plain, threshold moved", score(moved)))
    compared = rows[1:]
    rows += [(f"baseline: always {word.lower()}", score(baselines.always(questions, word))) for word in ("No", "Yes")]
    show(running.heading("answers", COLUMNS))
    for label, scored in rows:
        show(scored.markdown_row(label, COLUMNS))
    for label, other in compared:
        test = pope.mcnemar(other, result)
        counts = f"{test['only_first']} right in {label} alone, {test['only_second']} in the answers alone"
        show(f"against {label}: {counts}, p {test['p']:.4f}")
    if given.labels:
        under_both(given, questions, path)
    show("")
    return result


def under_both(given: argparse.Namespace, questions: list[pope.Question], path: Path) -> None:
    """Print the scores under the original and the corrected labels, and the orders that are reversed."""
    corrected = pope.read_questions(given.labels)
    how = {"parser": given.parser, "forms": given.forms, "seed": given.seed, "resamples": given.resamples or 1}
    runs = {}
    for file in dict.fromkeys(file for file in (path, given.plain) if file):
        runs[file.name] = pope_labels.score_both(questions, corrected, answers(file, questions, given), **how)
        show(f"under corrected labels: {file.name}")
        show("\n".join(runs[file.name].lines()))
    for better, then in pope_labels.flips(runs):
        show(f"the order is reversed: {better} has the higher f1 under the original labels, {then} under the corrected")


def answers(path: Path, questions: list[pope.Question], given: argparse.Namespace) -> dict[str, str]:
    """Answers by question id; with --limit, only those to `questions`."""
    if given.answers and not given.questions:
        _, by_id = pope.read_labelled(path, given.category, given.answer_key)
    else:
        category = given.category if given.answers else None
        by_id = pope.read_answers(path, questions if given.in_order else None, given.answer_key, category)
    ids = {q.question_id for q in questions}
    return {key: text for key, text in by_id.items() if key in ids} if given.limit else by_id


def margins(path: Path, questions: list[pope.Question]) -> dict[str, float] | None:
    """Margins by question id; empty unless the file has one for every question."""
    ids = {q.question_id for q in questions}
    by_id = {key: margin for key, margin in pope.read_margins(path).items() if key in ids}
    return by_id if len(by_id) == len(ids) else None


def answered(given: argparse.Namespace, questions: list[pope.Question], split: str | None) -> Path:
    """Ask the model the questions. Returns the file of its answers and margins."""
    images = running.load_images(given, [q.image for q in questions])
    path = given.json.with_suffix(f".{split}.jsonl" if split else ".answers.jsonl")
    guard, settings = running.load(given)
    by_id = {q.question_id: q for q in questions}

    def ask(batch: list[str]) -> list[JsonObject]:
        shown = [images[image_key(by_id[key].image)] for key in batch]
        texts = [by_id[key].text for key in batch]
        replies = guard.batch(shown, texts, max_new_tokens=given.max_new_tokens)
        yes_margins = guard.margins(shown, texts, decoding=guard.decoding)
        return [
            {"question_id": key, "answer": answer.text, "margin": margin}
            for key, answer, margin in zip(batch, replies, yes_margins, strict=True)
        ]

    running.resume(path, "question_id", list(by_id), ask, given.batch_size, settings)
    return path
