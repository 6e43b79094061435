"""Compare decoding methods on one image and one prompt: each answer, and the objects in it that are not there.

    python examples/compare_decoding.py                                            # the sandbox's
    python examples/compare_decoding.py --methods VCD ICD M3ID PAI --seed 3        # some methods, another scene
    python examples/compare_decoding.py photo.jpg --model llava-hf/llava-1.5-7b-hf \\
        --detector IDEA-Research/grounding-dino-tiny                               # your own

Methods are named as in `halluguard.decoding.METHODS`, with a preset after a colon ("VCD:pope script").
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from halluguard import Guard, HalluguardError, sandbox
from halluguard.decoding import METHODS, Imagination, get_method
from halluguard.records import DEFAULT_PROMPT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, help="image file; default a scene of the sandbox")
    parser.add_argument("--model", default=str(sandbox.MLLM), help="hub name or folder; default the sandbox's model")
    parser.add_argument(
        "--detector", default=str(sandbox.DETECTOR), help="hub name or folder; default the sandbox's detector"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["VCD", "ICD", "VDD", "M3ID", "RITUAL", "DoLa", "DeCo"],
        help="decoding methods, by name",
    )
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="prompt about the image")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="longest answer, in tokens [128]")
    parser.add_argument("--seed", type=int, default=0, help="index of the sandbox scene")
    options = parser.parse_args()

    image = options.image or sandbox.scenes(options.seed + 1)[options.seed].image
    guard = Guard.from_pretrained(options.model, detector=options.detector)
    settings = {"plain": None, "imagination -0.5": Imagination(-0.5), "imagination +0.5": Imagination(0.5)}
    table = Table("method", "draft", "contradicted by the detector", show_lines=True)
    refused = []
    for name in [*settings, *options.methods]:
        try:
            method = settings[name] if name in settings else get_method(name)
            answer = guard(image, options.prompt, decoding=method, max_new_tokens=options.max_new_tokens)
        except HalluguardError as error:
            refused.append(f"{name} is refused: {error}")
            continue
        wrong = [answer.claims[v.claim].phrase for v in answer.verdicts if v.decision == "contradicted"]
        table.add_row(name, answer.draft, ", ".join(wrong) or "nothing")
    Console().print(table)
    print(*refused, sep="\n")
    print(f"all methods: {', '.join(METHODS)}")


if __name__ == "__main__":
    main()
