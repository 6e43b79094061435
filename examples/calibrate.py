"""Calibrate the sandbox's detector on fresh scenes, and measure its verdicts on held-out scenes.

Run: python examples/calibrate.py calibration/ --scenes 600      (needs the extra `sandbox`, a few CPU minutes)
It writes labelled rows and images, then does the same as this command:
    halluguard calibrate calibration/rows.jsonl --detector sandbox --images calibration/images --out ...
"""

import argparse
import json
from pathlib import Path

from halluguard import sandbox
from halluguard.cli.calibrate import calibrate_file
from halluguard.detectors.specs import from_spec

FIRST_SEED = 30_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file of thresholds to write")
    parser.add_argument("--scenes", type=int, default=600, help="number of scenes to draw [600]")
    args = parser.parse_args()
    images = args.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (args.out / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for sample in sandbox.fresh_scenes(args.scenes, start=FIRST_SEED):
            name = f"{sample.image_id}.png"
            sample.image.save(images / name)
            for phrase in sandbox.CATEGORIES:
                rows.write(json.dumps({"image": name, "phrase": phrase, "present": phrase in sample.names}) + "\n")
    calibrate_file(
        args.out / "rows.jsonl",
        from_spec("sandbox"),
        images=images,
        out=args.out / "thresholds.json",
    )


if __name__ == "__main__":
    main()
