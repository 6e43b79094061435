"""Equality of a baked head with its controller, on tiny random models of many families.

    python benchmarks/baking.py [model types ...] [--write docs/baking-table.md]

For each family: logits of a prompt with an image under a random controller (epsilon -0.5, rank 8), then the head is
folded, the model saved, loaded again by transformers alone, and asked the same. The table gives the largest difference
as a share of the largest logit; above 1e-5 it counts as not exact.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers

sys.path.append(str(Path(__file__).parent))
from architectures import tiny

from halluguard.baking import difference, fold
from halluguard.controller import Controller
from halluguard.errors import UnsupportedModelError

NAMES = (
    *("llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "gemma4", "paligemma"),
    *("idefics3", "smolvlm", "mllama", "internvl", "cohere2_vision", "aya_vision", "glm4v", "aria", "mistral3"),
    *("florence2", "pix2struct", "udop", "t5gemma2", "fuyu", "chameleon", "git"),
)
EPSILON = -0.5


def random_controller(model: transformers.PreTrainedModel, rank: int | None = 8) -> Controller:
    controller = Controller.of(model, rank)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    return controller


@torch.no_grad()
def baked(name: str) -> dict[str, float | bool]:
    """Comparison of a family's folded head with its controller.

    Returns:
        difference: largest difference of logits after saving and loading, as a share of the largest logit.
        effect: largest change that the controller made, as the same share.
        tied: whether the head was tied to the embeddings.

    Raises:
        UnsupportedModelError: the family has no linear head.
    """
    made = tiny(name)
    model, inputs = made.model.eval(), made.prompt([[5, 6, 7]])
    if model.config.is_encoder_decoder:
        inputs = {**inputs, "decoder_input_ids": torch.tensor([[2, 5, 6]])}
    plain = model(**inputs).logits
    controller = random_controller(model)
    with controller.attached(model, EPSILON):
        expected = model(**inputs).logits
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    fold(model, controller, EPSILON)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, safe_serialization=True)
        found = type(model).from_pretrained(folder).eval()(**inputs).logits
    apart, largest = difference([expected], [found])
    effect, _ = difference([expected], [plain])
    return {"difference": apart / largest, "effect": effect / largest, "tied": tied}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model types to bake [all]")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    lines = ["| model type | head | largest change by the controller | difference after baking |", "|---|---|---|---|"]
    for name in arguments.names or NAMES:
        try:
            row = baked(name)
            exact = "exact" if row["difference"] <= 1e-5 else "not exact, so bake refuses it"
            cells = ["tied" if row["tied"] else "own", f"{row['effect']:.2f}", f"{row['difference']:.0e} ({exact})"]
        except UnsupportedModelError as error:
            cells = ["none that is linear", "", f"refused: {error}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
