"""CHAIR of captions: which objects they invent.

    python benchmarks/chair.py --captions FILE --objects OBJECTS --protocol pattern --json OUT
    python benchmarks/chair.py --model sandbox --json OUT
    python benchmarks/chair.py --model NAME --images FOLDER --objects OBJECTS --json OUT

FILE: JSON lines with image_id and caption. OBJECTS: JSON, image id -> category names. Both plain or gzipped. Scoring
needs no torch. With --baseline FILE, the captions of plain decoding on the same images, it also prints the paired
difference, and shams matched to the captions scored: the baseline cut to their length, and the baseline with as many
mentions. Without it, the shams keep half. A model's captions are kept beside OUT; run again to resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from halluguard.errors import HalluguardError, InputError
from halluguard.metrics import chair, shams
from halluguard.metrics.ground_truth import image_key, read_objects
from halluguard.metrics.reading import read_captions
from halluguard.metrics.score import Score, compare

COLUMNS = ("CHAIRs", "CHAIRi", "recall", "precision", "f1")


def main() -> None:
    given = options().parse_args()
    try:
        run(given)
    except HalluguardError as error:
        sys.exit(f"error: {error}")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--captions", type=Path)
    source.add_argument("--model", help="hub name, folder, or sandbox")
    parser.add_argument("--objects", type=Path, help="JSON: image id -> categories; the sandbox brings its own")
    parser.add_argument("--protocol", choices=["pattern", "wordnet", "fixed"], help="[pattern; sandbox: fixed]")
    parser.add_argument("--ground-truth", help="name of the ground truth for the signature [its file's name]")
    parser.add_argument("--baseline", type=Path, help="captions of plain decoding on the same images")
    parser.add_argument("--json", type=Path, required=True, help="write the score here")
    parser.add_argument("--limit", type=int, help="only the first so many captions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap size; 0: no intervals")
    model = parser.add_argument_group("with --model")
    model.add_argument("--images", type=Path, help="folder of pictures, named by image id or as in COCO")
    model.add_argument("--prompt", default="Please describe this image in detail.")
    model.add_argument("--imagination", type=float, help="decoding knob in [-1, 1]; plain without")
    model.add_argument("--detector", help="expert that corrects the captions: hub name, folder, or sandbox")
    model.add_argument("--max-new-tokens", type=int, default=512)
    model.add_argument("--batch-size", type=int, default=8)
    model.add_argument("--dtype")
    model.add_argument("--device")
    return parser


def run(given: argparse.Namespace) -> None:
    if given.limit is not None and given.limit < 1:
        raise InputError(f"--limit must be at least 1, got {given.limit}")
    sandbox = given.model == "sandbox"
    protocol = given.protocol or ("fixed" if sandbox else "pattern")
    if given.objects:
        objects: dict[Any, Any] = dict(read_objects(given.objects))
    elif sandbox:
        from halluguard.sandbox import scenes

        objects = {sample.image_id: list(sample.names) for sample in scenes()}
    else:
        raise InputError("CHAIR needs to know what is in the images; name the file with --objects")
    truth = given.ground_truth or (given.objects.name.split(".")[0] if given.objects else "sandbox")
    path = given.captions or described(given, objects)
    captions = list(read_captions(path))[: given.limit]
    scorer = chair.ChairScorer(objects, protocol, ground_truth=truth)
    how = {"seed": given.seed, "resamples": given.resamples}
    result = scorer.score(captions, **how)
    plain, base = captions, result
    if given.baseline:
        scored = {image_key(image) for image, _ in captions}
        plain = [(image, text) for image, text in read_captions(given.baseline) if image_key(image) in scored]
        base = scorer.score(plain, **how)
    print("\n".join(result.lines()))
    report(given, scorer, result, base, plain, how)
    result.save(given.json)


def report(given: Any, scorer: Any, result: Score, base: Score, plain: list[tuple[Any, str]], how: Any) -> None:
    """The Markdown table: what was scored, its baseline, its shams; then the paired differences."""
    shares = [0.5, 0.5]
    if given.baseline:
        tokens = result["length"] / base["length"] if base["length"] else 1.0
        mentions = result.counts["object_mentions"] / max(1, base.counts["object_mentions"])
        shares = [min(1.0, max(tokens, 0.01)), min(1.0, max(mentions, 0.001))]
    cut = scorer.score(shams.shorten(plain, shares[0]), **how)
    dropped = shams.drop_mentions(base, shares[1], **how)
    rows = [(given.model or given.captions.name, result)]
    rows += [(f"baseline {given.baseline.name}", base)] if given.baseline else []
    rows += [(f"sham: cut to {shares[0]:.0%} of the words", cut)]
    rows += [(f"sham: {shares[1]:.0%} of the mentions kept, blindly", dropped)]
    print(f"\n| captions | {' | '.join(COLUMNS)} | signature |\n|{'---|' * (len(COLUMNS) + 2)}")
    for label, score in rows:
        print(score.markdown_row(label, COLUMNS))
    for label, other in rows[1:] if given.baseline and given.resamples else []:
        for name, change in compare(other, result, seed=given.seed, resamples=given.resamples).items():
            if name in ("CHAIRs", "CHAIRi", "recall"):
                low, high = (100 * v for v in change["interval"])
                print(
                    f"against {label}: {name} {100 * change['difference']:+.1f} [{low:+.1f}, {high:+.1f}], "
                    f"p {change['p']:.3f}"
                )


def described(given: argparse.Namespace, objects: dict[Any, Any]) -> Path:
    """Let the model describe the pictures; the file of its captions."""
    from running import load, pictures, resume

    images = pictures(given, {image_key(image): image for image in objects})
    told = given.json.with_suffix(".captions.jsonl")
    prompt = "Describe the image." if given.model == "sandbox" else given.prompt
    guard, settings = load(given)

    def ask(batch: list[Any]) -> list[dict[str, Any]]:
        answers = guard.batch([images[key] for key in batch], prompt, max_new_tokens=given.max_new_tokens)
        return [{"image_id": key, "caption": answer.text} for key, answer in zip(batch, answers, strict=True)]

    resume(told, "image_id", list(images)[: given.limit], ask, given.batch_size, {**settings, "prompt": prompt})
    return told


if __name__ == "__main__":
    main()
