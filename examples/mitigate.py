"""Ask a model about an image with all three layers, and keep the evidence.

    python examples/mitigate.py                                     # the sandbox model and a sandbox scene
    python examples/mitigate.py --model llava-hf/llava-1.5-7b-hf --detector IDEA-Research/grounding-dino-tiny photo.jpg

The drafts show what the imagination setting changes, and the corrected text what the detector takes out of the second.
"""

import argparse
from pathlib import Path

from halluguard import Guard, sandbox
from halluguard.records import DEFAULT_PROMPT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, help="image file; default a scene of the sandbox")
    parser.add_argument("--model", default=str(sandbox.MLLM), help="hub name or folder; default the sandbox's model")
    parser.add_argument(
        "--detector", default=str(sandbox.DETECTOR), help="hub name or folder; default the sandbox's detector"
    )
    parser.add_argument("--adapter", help="folder or hub name of a LoRA adapter for the model")
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="prompt about the image")
    parser.add_argument("--imagination", type=float, default=-0.5, help="-1 grounded ... 0 plain ... 1 imaginative")
    parser.add_argument("--out", type=Path, default=Path("answer.html"), help="page to write [answer.html]")
    options = parser.parse_args()

    # A scene that was chosen because both layers have something to do on it; the demo measures all 200.
    image = options.image or sandbox.scenes(12)[11].image
    guard = Guard.from_pretrained(options.model, detector=options.detector, adapter=options.adapter)
    plain = guard(image, options.prompt)
    answer = guard(image, options.prompt, imagination=options.imagination)

    print("plain draft:    ", plain.draft)
    print("grounded draft: ", answer.draft)
    print("corrected:      ", answer.text)
    for verdict in answer.verdicts:
        print(f"  {answer.claims[verdict.claim].phrase:<20} {verdict.decision:<13} {verdict.reason}")
    answer.save(options.out)
    print(f"evidence in {options.out}")


if __name__ == "__main__":
    main()
