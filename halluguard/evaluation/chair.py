"""Score captions by CHAIR: the share of objects that they invent.

    halluguard eval chair --captions FILE --objects OBJECTS --protocol pattern --json OUT
    halluguard eval chair --model sandbox --json OUT
    halluguard eval chair --model NAME --images FOLDER --objects OBJECTS --json OUT

FILE: JSON lines, CSV or TSV with image_id and caption; --image-key and --caption-key name other fields. OBJECTS: JSON,
image id -> category names. Both may be compressed. Scoring needs no torch. --coco FOLDER makes OBJECTS if it is
missing, from COCO's instance and caption annotations.

With --plain FILE, the captions of plain decoding on the same images, it also prints the paired difference, the
difference at equal length, and two baselines: the plain captions cut to the length of the scored captions, image by
image, and the plain captions with as few mentions as the scored ones. Without --plain, the baselines are the scored
captions cut to one half. A model's captions are kept beside OUT; run the command again to resume. One line of FILE:
{"image_id": 226988, "caption": "The image features a woman ..."}
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from halluguard.errors import InputError
from halluguard.evaluation import running
from halluguard.metrics import baselines, chair
from halluguard.metrics.ground_truth import ById, ImageId, coco_objects, image_key, read_objects, write_objects
from halluguard.metrics.reading import read_captions
from halluguard.metrics.score import JsonObject, Score, compare
from halluguard.printing import show

COLUMNS = ("CHAIRs", "CHAIRi", "recall", "precision", "f1")


def options_parser() -> argparse.ArgumentParser:
    parser, _ = running.options(__doc__, "captions")
    parser.add_argument("--objects", type=Path, help="JSON file, image id -> categories; not needed for the sandbox")
    parser.add_argument("--coco", type=Path, help="folder of COCO annotations from which --objects is made")
    parser.add_argument(
        "--protocol",
        choices=["pattern", "wordnet", "fixed"],
        help="rules that read object words; see halluguard.metrics.chair [pattern; sandbox: fixed]",
    )
    parser.add_argument("--ground-truth", help="name of the ground truth in the signature [the file's name]")
    parser.add_argument("--split", default="all", help="name of the set of images in the signature [all]")
    parser.add_argument("--caption-key", help="name of the field with the caption [caption, prediction, ...]")
    parser.add_argument("--image-key", help="name of the field with the image id [image_id, image]")
    parser.add_argument("--plain", type=Path, help="captions of plain decoding on the same images")
    running.add_model_options(parser, max_new_tokens=512, batch_size=8)
    parser.add_argument(
        "--prompt", help='prompt ["Please describe this image in detail."; sandbox: "Describe the image."]'
    )
    return parser


def run(given: argparse.Namespace) -> None:
    sandbox = given.model == "sandbox"
    protocol: chair.Protocol = given.protocol or ("fixed" if sandbox else "pattern")
    objects = ground_truth(given, protocol)
    name = given.ground_truth or (given.objects.name.split(".")[0] if given.objects else "sandbox")
    scorer = chair.ChairScorer(objects, protocol, ground_truth=name)
    path = given.captions or described(given, objects)

    def captions() -> Iterator[tuple[ImageId, str]]:
        return islice(read_captions(path, given.caption_key, given.image_key), given.limit)

    how = {"seed": given.seed, "resamples": given.resamples, "split": given.split, "keep_captions": False}
    result = scorer.score(captions(), **how)
    show("\n".join(result.lines()))
    rows = [(str(given.model or path.name), result)]
    if given.plain:
        words = baselines.word_counts(captions())

        def plain() -> Iterator[tuple[ImageId, str]]:
            """The plain captions; with --limit, only those of the same images."""
            pairs = read_captions(given.plain, given.caption_key, given.image_key)
            return (pair for pair in pairs if given.limit is None or image_key(pair[0]) in words)

        base = scorer.score(plain(), **how)
        share = min(1.0, result.counts["object_mentions"] / max(1, base.counts["object_mentions"]))
        cut = scorer.score(baselines.shorten(plain(), like=words), **how)
        rows += [(f"plain {given.plain.name}", base), ("baseline: plain, cut to the same words", cut)]
        label = f"baseline: plain, {share:.0%} of the mentions kept blindly"
    else:
        plain, share = captions, 0.5
        rows += [("baseline: cut to half the words", scorer.score(baselines.shorten(captions(), share=0.5), **how))]
        label = "baseline: half of the mentions kept blindly"
    scored = (scorer.caption(image, text) for image, text in plain())
    rows += [(label, scorer.total(baselines.drop_mentions(scored, scorer, share, given.seed), **how))]

    show(running.heading("captions", COLUMNS))
    for name, score in rows:
        show(score.markdown_row(name, COLUMNS))
    if given.plain and given.resamples:
        for name, other in rows[1:]:
            differences(f"against {name}", other, result, given)
        pair = baselines.matched(plain(), captions(), scorer, seed=given.seed, resamples=given.resamples)
        differences("against plain, both cut to the shorter", *pair, given)
    result.save(given.json, per_caption=(scorer.caption(image, text).per_caption for image, text in captions()))


def differences(label: str, other: Score, result: Score, given: argparse.Namespace) -> None:
    show("")
    for name, change in compare(other, result, seed=given.seed, resamples=given.resamples).items():
        if name in COLUMNS:
            low, high = (100 * value for value in change["interval"])
            show(f"{label}: {name} {100 * change['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p {change['p']:.3f}")


def ground_truth(given: argparse.Namespace, protocol: chair.Protocol) -> ById[list[str]]:
    if given.coco and given.objects and not given.objects.exists():
        made = coco_objects(given.coco, lambda text: [m.category for m in chair.mentions(text, protocol)[0]])
        write_objects(made, given.objects)
    if given.objects:
        return read_objects(given.objects)
    if given.model == "sandbox":
        return running.sandbox_objects()
    raise InputError("CHAIR needs the objects of the images; name their file with --objects")


def described(given: argparse.Namespace, objects: ById[list[str]]) -> Path:
    """Let the model describe the images. Returns the file of its captions."""
    ids: Iterator[ImageId] = islice(objects, given.limit)
    images = running.load_images(given, ids)
    path = given.json.with_suffix(".captions.jsonl")
    prompt = given.prompt or (
        "Describe the image." if given.model == "sandbox" else "Please describe this image in detail."
    )
    guard, settings = running.load(given)

    def ask(batch: list[str]) -> list[JsonObject]:
        answers = guard.batch([images[key] for key in batch], prompt, max_new_tokens=given.max_new_tokens)
        return [{"image_id": key, "caption": answer.text} for key, answer in zip(batch, answers, strict=True)]

    running.resume(path, "image_id", list(images), ask, given.batch_size, {**settings, "prompt": prompt})
    return path
