"""One picture, one prompt, many decoding methods: what each says, and which objects in it are not there.

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, help="a picture; by default one of the sandbox")
    parser.add_argument("--model", default=str(sandbox.MLLM))
    parser.add_argument("--detector", default=str(sandbox.DETECTOR))
    parser.add_argument("--methods", nargs="+", default=["VCD", "ICD", "VDD", "M3ID", "RITUAL", "DoLa", "DeCo"])
    parser.add_argument("--prompt", default="Describe the image.")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="which sandbox scene")
    options = parser.parse_args()

    image = options.image or sandbox.scenes(options.seed + 1)[options.seed].image
    guard = Guard.from_pretrained(options.model, detector=options.detector)
    ways = {"plain": None, "imagination -0.5": Imagination(-0.5), "imagination +0.5": Imagination(0.5)}
    table = Table("method", "draft", "contradicted by the expert", show_lines=True)
    for name in [*ways, *options.methods]:
        try:
            method = ways[name] if name in ways else get_method(name)
            answer = guard(image, options.prompt, decoding=method, max_new_tokens=options.max_new_tokens)
        except HalluguardError as error:
            table.add_row(name, f"refused: {error}", "")
            continue
        wrong = [answer.claims[v.claim].phrase for v in answer.verdicts if v.decision == "contradicted"]
        table.add_row(name, answer.draft, ", ".join(wrong) or "nothing")
    Console().print(table)
    print(f"all methods: {', '.join(METHODS)}")


if __name__ == "__main__":
    main()
