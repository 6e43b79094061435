"""Directions for VTI from pictures: of a folder, or drawn by the sandbox.

    python benchmarks/vti_directions.py --model sandbox --pictures 50 --out vti.safetensors
    python benchmarks/pope.py --model sandbox --decoding VTI --set directions=vti.safetensors --json pope.json

Answers are the model's own, about each picture and about the picture with most of its patches masked; pass yours to
`vti.Directions.fit` in a script of your own. Take pictures that no benchmark of yours uses.
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
    parser.add_argument("--images", type=Path, help="folder of pictures; without it, fresh scenes of the sandbox")
    parser.add_argument("--pictures", type=int, default=50, help="how many; the authors take 50 to 70")
    parser.add_argument("--prompt", default=DEFAULT_PROMPT)
    parser.add_argument("--vision", action="store_true", help="directions of the picture encoder too")
    parser.add_argument("--trials", type=int, default=50, help="masked copies of each picture, for --vision")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of the masks")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file")
    running.main(parser, run)


def run(given: argparse.Namespace) -> None:
    from halluguard import sandbox
    from halluguard.decoding.methods.vti import Directions
    from halluguard.guard import Guard
    from halluguard.images import load_image

    if given.images:
        found = sorted(path for path in given.images.iterdir() if path.is_file())[: given.pictures]
        images = [load_image(path) for path in found]
    elif given.model == "sandbox":
        images = [sample.image for sample in sandbox.fresh_scenes(given.pictures, start=FRESH)]
    else:
        raise InputError("a folder of pictures is expected, got none; name it with --images")
    guard = Guard.from_pretrained(sandbox.MLLM if given.model == "sandbox" else given.model)
    directions = Directions.fit(
        guard.model,
        guard.processor,
        images,
        given.prompt,
        vision=given.vision,
        trials=given.trials,
        seed=given.seed,
        max_new_tokens=given.max_new_tokens,
    )
    directions.save(given.out)
    print(f"{given.out}: {directions!r} from {len(images)} pictures")


FRESH = 77_000_000
"""Scenes that neither training nor the benchmarks of the sandbox draw."""


if __name__ == "__main__":
    main()
