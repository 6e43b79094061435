"""Coverage of `Guard`: each family with its real processor, against a reference that shares no code with the product.

    python benchmarks/guard_coverage.py [model types ...] [--results verdicts.json]

The models are those of `coverage.py`, the processors those of `processors.py`. The reference makes the inputs of each
prompt alone, by a plain call of the processor, and asks plain `model.generate` for one token at a time, always from the
whole prompt; contrasts are computed here by their formulas. A cell is "exact" if Guard's text (or margin) is the
reference's. With a decoding method it must also differ from plain text, else it is "vacuous". "refused" is an error of
halluguard, "plain error" one of the family's own code where no Guard is involved; anything else is a fault.
`coverage.py --write` puts the verdicts on the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image, ImageOps
from torch import Tensor

sys.path.append(str(Path(__file__).parent))  # tests load this file by its path
import architectures
import processors
from siblings import beside

from halluguard import Guard
from halluguard.decoding import Contrast, DecodingMethod, Imagination
from halluguard.errors import HalluguardError

coverage = beside("coverage")  # a package has this name too
BANNED = list(range(890, architectures.VOCABULARY))
"""Special tokens: a placeholder in an answer would stand for an image that does not exist."""

TOKENS = 5
NEW: dict[str, Any] = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": BANNED}
QUESTIONS = ["Is there a dog in it ?", "What color is the cat in the image w7 w8 w9 ?", "Describe the image ."]
COLUMNS = [
    "one image",
    "batch",
    "chunks",
    "two images",
    "chat",
    "margin",
    "no image",
    "batch, no image",
    "changed image",
]
NO_IMAGE = Imagination(-1.0, gain=3.0)
CHANGED = Contrast(ImageOps.invert, alpha=4.0, beta=0.1)

Turn = tuple[str, list[Image.Image], str]
"""Role, images and text of one message."""


def picture(seed: int) -> Image.Image:
    """An image of noise; it is square for every second seed."""
    size = (84, 56) if seed % 2 else (56, 56)
    pixels = architectures.noise(size[1] // 7, size[0] // 7, 3, seed=seed).sigmoid() * 255
    return Image.fromarray(pixels.byte().numpy()).resize(size, Image.Resampling.NEAREST)


class NoReference(Exception):  # noqa: N818  # the family's own code, not the product's, ends here
    """The reference cannot be made: there is no such prompt, or plain transformers fails."""


class Reference:
    """A family's plain answers, one prompt at a time.

    Args:
        tiny: the tiny model.
        processor: its processor.
    """

    def __init__(self, tiny: Any, processor: Any) -> None:
        self.tiny, self.model, self.processor = tiny, tiny.model, processor
        self.recipe = processors.RECIPES.get(tiny.name, processors.Recipe())
        self.known: dict[tuple[str, str], str] = {}

    def inputs(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """The inputs of one prompt, alone."""
        images = [image for _, of_turn, _ in turns for image in of_turn]
        options: dict[str, Any] = {"return_tensors": "pt", **self.recipe.call}
        if self.processor.chat_template is None:
            if len(turns) > 1:
                raise NoReference("the processor has no chat template")
            text = self.recipe.before * len(images) + turns[0][2]
        else:
            messages = [
                {"role": role, "content": [{"type": "image"}] * len(of_turn) + [{"type": "text", "text": text}]}
                for role, of_turn, text in turns
            ]
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
            options["add_special_tokens"] = False  # the template writes the first token
        try:
            made = dict(self.processor(images=images, text=[text], **options))
        except ValueError:  # one list is one image per prompt there
            made = dict(self.processor(images=[images], text=[text], **options))
        made.pop("labels", None)
        floats = {name: value.to(self.model.dtype) for name, value in made.items() if _is_float(value)}
        return {**made, **floats}

    def logits(self, inputs: dict[str, Any], tokens: Sequence[int]) -> Tensor:
        """(V,) logits after a prompt and `tokens`, by plain `generate` of one token."""
        more = torch.tensor([list(tokens)], dtype=torch.long)
        inputs = {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}
        if self.model.config.is_encoder_decoder:
            if self.model.main_input_name != "input_ids" and "input_ids" in inputs:
                inputs["decoder_input_ids"] = inputs.pop("input_ids")
                inputs.pop("attention_mask", None)
            start = torch.tensor([[self.model.generation_config.decoder_start_token_id]])
            inputs["decoder_input_ids"] = torch.cat([inputs.get("decoder_input_ids", start), more], 1)
            for name in ("decoder_attention_mask", "token_type_ids"):
                inputs.pop(name, None)
            settings = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True}
            return self.model.generate(**inputs, **settings, output_logits=True).logits[0][0].float()
        return coverage.next_logits(self.model, inputs, more[0])[0]

    def contrasted(self, whole: dict[str, Any], other: dict[str, Any], tokens: Sequence[int], kind: str) -> Tensor:
        """Scores by the formulas of `halluguard.decoding.imagination` and `methods.contrast`, written out again."""
        one, two = self.logits(whole, tokens), self.logits(other, tokens)
        plausible = one >= one.max() + torch.tensor(0.1).log()
        if kind == "changed image":
            return (5 * one - 4 * two).masked_fill(~plausible, -torch.inf)
        gained = one.log_softmax(-1) - two.log_softmax(-1)
        low, high = gained[plausible].min() - 0.5 / 3, gained[plausible].max() + 0.5 / 3
        return one + 3 * gained.clamp(low, high)

    def text(self, turns: Sequence[Turn], kind: str = "plain") -> str:
        """The greedy answer; each is made once."""
        key = repr(turns), kind
        if key not in self.known:
            self.known[key] = self._text(turns, kind)
        return self.known[key]

    def _text(self, turns: Sequence[Turn], kind: str) -> str:
        try:
            whole = self.inputs(turns)
            other = whole
            if kind == "changed image":
                other = self.inputs([(role, [ImageOps.invert(i) for i in images], t) for role, images, t in turns])
            elif kind == "no image":
                other = coverage.text_only(self.tiny, whole)
            tokens: list[int] = []
            for _ in range(TOKENS):
                plain = kind == "plain"
                scores = self.logits(whole, tokens) if plain else self.contrasted(whole, other, tokens, kind)
                scores[BANNED] = -torch.inf
                tokens.append(int(scores.argmax()))
        except NoReference:
            raise
        except Exception as error:
            raise NoReference(coverage.in_one_line(error)) from error
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def margin(self, turns: Sequence[Turn]) -> float:
        """logit(Yes) - logit(No) of the first token."""
        try:
            scores = self.logits(self.inputs(turns), [])
        except Exception as error:
            raise NoReference(coverage.in_one_line(error)) from error
        words = (("Yes", "yes"), ("No", "no"))
        yes, no = (self.processor.tokenizer.convert_tokens_to_ids(list(forms)) for forms in words)
        return float(scores[yes].logsumexp(-1) - scores[no].logsumexp(-1))


def _is_float(value: Any) -> bool:
    return torch.is_tensor(value) and value.is_floating_point()


def asked(images: list[Image.Image], question: str) -> list[Turn]:
    return [("user", images, question)]


def verdict(made: Callable[[], Any], reference: Callable[[], Any], plain: Callable[[], Any] | None = None) -> str:
    """exact | vacuous | refused: ... | plain: ... | FAULT: ...

    Args:
        made: Guard's answers.
        reference: the reference's.
        plain: the reference's answers without the method, from which Guard's must differ.
    """
    expected, missing, answers, refusal = None, "", None, ""
    try:
        expected = reference()
    except NoReference as error:
        missing = str(error)
    try:
        answers = made()
    except HalluguardError as error:
        refusal = str(error)
    except Exception as error:
        return f"plain: {missing}" if missing else f"FAULT: {coverage.in_one_line(error)}"
    if refusal:
        return f"plain: {missing} (Guard: {refusal})" if missing else f"refused: {refusal}"
    if missing:
        return f"plain: {missing} (Guard answers)"
    if not same(answers, expected):
        return f"FAULT: {answers} != {expected}"
    return "vacuous" if plain is not None and answers == plain() else "exact"


def same(answers: Any, expected: Any) -> bool:
    """Whether texts are equal, or margins up to rounding."""
    if isinstance(expected, float):
        return abs(answers - expected) <= 1e-3 * max(1.0, abs(expected))
    return answers == expected


def covered(name: str) -> dict[str, str]:
    """The verdict of every column for one model type."""
    tiny = architectures.tiny(name)
    try:
        processor = processors.processor(tiny)
    except processors.NotBuilt as error:
        return dict.fromkeys(COLUMNS, f"not run: {error}")
    try:
        guard = Guard(tiny.model, processor)
    except HalluguardError as error:
        return dict.fromkeys(COLUMNS, f"refused: {error}")
    reference = Reference(tiny, processor)
    clips = [[picture(seed + 2 * frame) for frame in range(reference.recipe.frames)] for seed in (1, 2, 3)]
    several = [asked(clip, question) for clip, question in zip(clips, QUESTIONS, strict=True)]
    first, both = several[0], several[:2]
    talk: list[Turn] = [*first, ("assistant", [], "Yes ."), ("user", [], QUESTIONS[1])]

    def plainly(prompts: Sequence[Sequence[Turn]]) -> list[str]:
        return [reference.text(turns) for turns in prompts]

    def expected(prompts: Sequence[Sequence[Turn]], kind: str) -> list[str]:
        return [reference.text(turns, kind) for turns in prompts]

    def drafted(prompts: Sequence[Sequence[Turn]], method: DecodingMethod | None = None, **options: Any) -> list[str]:
        shown = [turns[0][1] if len(turns[0][1]) > 1 else turns[0][1][0] for turns in prompts]
        return guard.drafts(shown, [turns[0][2] for turns in prompts], decoding=method, **options, **NEW)

    def chatted() -> list[str]:
        shown = [
            {"role": role, "content": [*({"type": "image", "image": i} for i in images), text]}
            for role, images, text in talk
        ]
        return [guard.chat(shown, **NEW).draft]

    pair = [asked([*clips[0], *clips[1]], QUESTIONS[0])]
    cells = {
        "one image": verdict(lambda: drafted([first]), lambda: plainly([first])),
        "batch": verdict(lambda: drafted(both), lambda: plainly(both)),
        "chunks": verdict(lambda: drafted(several, batch_size=2), lambda: plainly(several)),
        "two images": verdict(lambda: drafted(pair), lambda: plainly(pair)),
        "chat": verdict(chatted, lambda: plainly([talk])),
        "margin": verdict(lambda: guard.margins(clips[:1], QUESTIONS[0])[0], lambda: reference.margin(first)),
    }
    for column, prompts, method in (
        ("no image", [first], NO_IMAGE),
        ("batch, no image", both, NO_IMAGE),
        ("changed image", both, CHANGED),
    ):
        kind = column.removeprefix("batch, ")
        cells[column] = verdict(
            partial(drafted, prompts, method),
            partial(expected, prompts, kind),
            partial(plainly, prompts),
        )
    return cells


def attempted(name: str) -> dict[str, str]:
    """`covered`, or the error of the family in every cell, so that one crash never ends a run."""
    try:
        return covered(name)
    except Exception as error:
        return dict.fromkeys(COLUMNS, f"FAULT: {coverage.in_one_line(error)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model types [all]")
    parser.add_argument("--results", type=Path, help="JSON file of verdicts: read first, completed after every family")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    torch.set_num_threads(1)
    results: Path | None = arguments.results
    table = json.loads(results.read_text()) if results is not None and results.exists() else {}
    for name in arguments.names or [name for name in coverage.families.FAMILIES if name not in table]:
        table[name] = attempted(name)
        print(name, *(f"\n    {c}: {cell[:300]}" for c, cell in coverage.summary(table[name]).items()), flush=True)
        if results is not None:
            results.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
