"""Compute directions for VTI from the images of a folder, or from drawn scenes of the sandbox.

    python benchmarks/vti_directions.py --model sandbox --count 50 --out vti.safetensors
    python benchmarks/pope.py --model sandbox --decoding VTI --set directions=vti.safetensors --json pope.json

Answers are the model's own, about each image and about the image with most of its patches masked; pass yours to
`vti.Directions.fit` in a script of your own. Take images that no benchmark of yours uses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import running

from halluguard.errors import InputError
from halluguard.records import DEFAULT_PROMPT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="hub name, folder, or sandbox")
    parser.add_argument("--images", type=Path, help="folder of images; without it, fresh scenes of the sandbox")
    parser.add_argument("--count", type=int, default=50, help="number of images; the authors take 50 to 70 [50]")
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="prompt of the captions")
    parser.add_argument("--vision", action="store_true", help="compute the directions of the image encoder too")
    parser.add_argument("--trials", type=int, default=50, help="masked copies of each image, for --vision [50]")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="longest caption, in tokens [128]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the masks [0]")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    running.main(parser, run)


def run(options: argparse.Namespace) -> None:
    from halluguard import sandbox
    from halluguard.decoding.methods.vti import Directions
    from halluguard.guard import Guard
    from halluguard.images import load_image

    if options.images:
        paths = sorted(path for path in options.images.iterdir() if path.is_file())[: options.count]
        images = [load_image(path) for path in paths]
    elif options.model == "sandbox":
        images = [sample.image for sample in sandbox.fresh_scenes(options.count, start=FRESH)]
    else:
        raise InputError("a folder of images is expected, got none; name it with --images")
    guard = Guard.from_pretrained(sandbox.MLLM if options.model == "sandbox" else options.model)
    directions = Directions.fit(
        guard.model,
        guard.processor,
        images,
        options.prompt,
        vision=options.vision,
        trials=options.trials,
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
    )
    directions.save(options.out)
    print(f"{options.out}: {directions!r} from {len(images)} images")


FRESH = 77_000_000
"""Scenes that neither training nor the benchmarks of the sandbox draw."""


if __name__ == "__main__":
    main()
