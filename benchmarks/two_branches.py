"""Check two-branch decoding on other prompts than `coverage.py`, against a reference that shares no code with it.

    python benchmarks/two_branches.py [model types ...]

Each family is the tiny random model of `architectures.py`. The reference makes every prompt alone, asks plain
`model.generate` for the logits of one token, twice (with and without the contrast), and writes the formulas out: VCD's
with its plausibility mask, against another image, and the imagination setting's, against the text without its image.
halluguard answers all prompts in one call. A row compares the answers token by token; "moved" counts the prompts whose
answer differs from plain greedy search, since a method that changes nothing would agree too. A prompt whose two best
scores lie closer than 1e-4 at some step is left out: rounding decides there.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

sys.path.append(str(Path(__file__).parent))  # tests load this file by its path
import architectures

from halluguard.decoding import VCD, Imagination
from halluguard.errors import HalluguardError

FAMILIES = (
    *("aya_vision", "blip-2", "chameleon", "deepseek_vl", "florence2", "gemma3", "glm4v", "got_ocr2", "idefics2"),
    *("idefics3", "instructblip", "internvl", "janus", "lfm2_vl", "llava", "llava_onevision", "mistral3", "mllama"),
    *("ovis2", "qwen2_5_vl", "qwen3_5", "qwen3_vl", "smolvlm", "t5gemma2"),
)
PROMPTS = [[40, 41, 42], [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]]
ONE_BY_ONE = ("florence2",)
"""Families whose plain batch differs from its prompts run alone; see `coverage.py`."""

TOKENS, BANNED, SEED, OTHER = 6, list(range(890, architectures.VOCABULARY)), 101, 202
ALPHA, BETA, TILT = 4.0, 0.02, 3.0

Inputs = dict[str, Any]


def logits_after(model: Any, inputs: Inputs, answer: list[int]) -> Tensor:
    """(V,) log-probabilities after a prompt and the tokens of an answer, by plain `generate`."""
    inputs = {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}
    tokens = torch.tensor([answer], dtype=torch.long)
    if model.config.is_encoder_decoder:
        start = torch.tensor([[model.generation_config.decoder_start_token_id]])
        inputs["decoder_input_ids"] = torch.cat([start, tokens], 1)
    else:
        for name in list(inputs):
            if name == "input_ids":
                inputs[name] = torch.cat([inputs[name], tokens], 1)
            elif name == "attention_mask":
                inputs[name] = torch.cat([inputs[name], torch.ones_like(tokens)], 1)
            elif name.endswith("token_type_ids"):
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(tokens)], 1)
            elif name == "cross_attention_mask":
                inputs[name] = torch.cat([inputs[name], *[inputs[name][:, -1:]] * len(answer)], 1)
    settings: Inputs = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    (logits,) = model.generate(**inputs, **settings).logits
    return logits[0].double().log_softmax(-1)


def text_alone(inputs: Inputs, keeps: tuple[str, ...]) -> Inputs:
    """The prompt without the places of its image."""
    places = inputs["input_ids"][0] != architectures.IMAGE
    ids = inputs["input_ids"][:, places]
    out: Inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    out |= {name: torch.zeros_like(ids) for name in inputs if name.endswith("token_type_ids")}
    return out | {name: value for name, value in inputs.items() if name.startswith(keeps)}


def vcd(seen: Tensor, other: Tensor) -> Tensor:
    scores = (1 + ALPHA) * seen - ALPHA * other
    return scores.masked_fill(seen < math.log(BETA) + seen.max(), -math.inf)


def imagined(seen: Tensor, other: Tensor) -> Tensor:
    """p(y) exp(TILT * (log p(y) - log q(y))): the setting -1, no bound."""
    return seen + TILT * (seen - other)


def greedy(scores: Callable[[list[int]], Tensor]) -> tuple[list[int], float]:
    """An answer, and the smallest lead of a chosen token."""
    answer: list[int] = []
    lead = math.inf
    for _ in range(TOKENS):
        values = scores(answer)
        values[BANNED] = -math.inf
        best = values.topk(2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        answer.append(int(best.indices[0]))
    return answer, lead


def compared(name: str, what: str) -> str:
    """One cell of the table: how many of the prompts agree."""
    tiny, apart = architectures.tiny(name), architectures.tiny(name)  # nothing of a view can touch the reference's
    agree = moved = sure = 0
    calls = [[row] for row in range(len(PROMPTS))] if name in ONE_BY_ONE else [list(range(len(PROMPTS)))]
    for rows in calls:
        try:
            answers = answered(tiny, rows, what)
        except HalluguardError as error:
            return f"refused: {error}"
        for row, answer in zip(rows, answers, strict=True):
            one = apart.prompt([PROMPTS[row]], seed=SEED + row)
            if what == "another image":
                other, formula = apart.prompt([PROMPTS[row]], seed=OTHER + row), vcd
            else:
                # BLIP-2's code encodes an image in any case.
                keeps = ("pixel", "qformer") if name in ("blip-2", "instructblip") else ()
                other, formula = text_alone(one, keeps), imagined

            def plain(tokens: list[int], one: Inputs = one) -> Tensor:
                return logits_after(apart.model, one, tokens)

            def scores(tokens: list[int], other: Inputs = other, formula: Any = formula, plain: Any = plain) -> Tensor:
                return formula(plain(tokens), logits_after(apart.model, other, tokens))

            expected, lead = greedy(scores)
            if lead < 1e-4:
                continue
            sure += 1
            agree += answer == expected
            moved += answer != greedy(plain)[0]
    return f"{agree} of {sure}, {moved} moved"


def answered(tiny: Any, rows: list[int], what: str) -> list[list[int]]:
    """The tokens that halluguard answers to some of the prompts, in one call."""
    texts = [PROMPTS[row] for row in rows]
    method: Any = Imagination(-1.0, beta=0.0, gain=TILT)
    negative = None
    if what == "another image":
        method = VCD(alpha=ALPHA, beta=BETA)
        shown = tiny.prompt(texts, seed=OTHER + rows[0])
        words = ("input_ids", "attention_mask")
        negative = {k: v for k, v in shown.items() if k not in words and not k.endswith("type_ids")}
    fixed = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": BANNED}
    inputs = tiny.prompt(texts, seed=SEED + rows[0])
    output = method.on(tiny.model).generate(**inputs, negative_inputs=negative, **fixed)
    return [row[-TOKENS:].tolist() for row in output]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=FAMILIES, help="model types [24 of them]")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print("| family | another image | no image |\n|---|---|---|")
    for name in given.names:
        cells = []
        for what in ("another image", "no image"):
            try:
                cells.append(compared(name, what))
            except Exception as error:  # one family that fails leaves the others
                cells.append(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
