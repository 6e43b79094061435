"""Coverage of the folded view: for each architecture and mode, whether it is exact or refused.

    python benchmarks/coverage.py [model types ...] [--results verdicts.json] [--write docs/coverage.md]

Every family is a tiny random model in fp32 (`architectures.py`). In every mode, the answer of the view is compared
token for token with a reference. The reference feeds each branch of each sequence to the plain model as a prompt of its
own, alone and from scratch, at every step. "exact" means equal to the reference and different from plain decoding,
"vacuous" equal to plain decoding too, which proves nothing, "plain error" that the family's plain generate fails too. A
refusal is shown by its sentence. Anything else is a fault. A family whose plain batch differs from its prompts run
alone is run with one prompt. `--results` keeps the verdicts, so that a run can be done in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

sys.path.append(str(Path(__file__).parent))
import architectures
import coverage_report as report
import families
import step_back_laws

from halluguard.decoding import VCD, Imagination
from halluguard.decoding.base import FORBIDDEN, DecodingMethod, Step, combine
from halluguard.decoding.engine.batch import ModelInputs
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.negative_inputs import NoImage
from halluguard.errors import HalluguardError

kind = report.kind
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]  # unequal: the second is left-padded
# Special tokens are kept out of the answers: a placeholder there would stand for an image that does not exist.
NEW: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": list(range(890, 1000))}
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "returns": {"num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "top_p": 0.9, "temperature": 0.7},
    "static": {"cache_implementation": "static"},
    "lookup": {"prompt_lookup_num_tokens": 3},
}
COLUMNS = [*MODES, "two images", "no image", "text-only", "step back"]


INNER = dict.fromkeys(("blip-2", "instructblip", "instructblipvideo"), "language_model")
INNER |= {"blip": "text_decoder", "kosmos-2": "text_model"}
"""Families whose own `generate` ends in that of a child."""


class AfterTheTilt(Imagination):
    """Imagination whose scores are truncated after they are combined, as in the reference."""

    keeps_sampling_support = False


class FromScratch:
    """Part of a model's class: each branch of each sequence is a prompt of its own to the plain model."""

    branches: list[list[ModelInputs]]
    prompt_length: int
    plain: PreTrainedModel
    method: DecodingMethod

    def __call__(self, input_ids: Any = None, decoder_input_ids: Any = None, **_: Any) -> Any:
        ids = input_ids if decoder_input_ids is None else decoder_input_ids
        beams = len(ids) // len(self.branches)
        out = []
        for i, sequence in enumerate(ids[:, self.prompt_length :]):
            logits = [next_logits(self.plain, inputs, sequence)[:, None] for inputs in self.branches[i // beams]]
            value, allowed = combine(self.method, logits, Step(torch.tensor([len(sequence)]), 1))
            out.append(value if allowed is None else value.masked_fill(~allowed, -torch.inf))
        output = CausalLMOutputWithPast(logits=torch.cat(out))
        output.image_hidden_states = None  # idefics carries it from step to step
        return output


class FromScratchInside(FromScratch):
    """The same for an inner model, whose prompt comes as vectors and ids."""

    def prepare_inputs_for_generation(self, input_ids: Tensor, inputs_embeds: Any = None, **kwargs: Any) -> ModelInputs:
        return {"input_ids": input_ids}


def next_logits(model: PreTrainedModel, inputs: ModelInputs, tokens: Tensor) -> Tensor:
    """(1, V) logits after `inputs` (one prompt, unpadded) and `tokens`, by a plain `generate` of one token."""
    inputs = dict(inputs)
    if model.config.is_encoder_decoder:
        start = torch.tensor([[model.generation_config.decoder_start_token_id]])
        inputs["decoder_input_ids"] = torch.cat([start, tokens[None]], 1)
    elif model.config.model_type == "blip":  # its generate leaves the last token of the prompt out
        ids = inputs["input_ids"]
        inputs["input_ids"] = torch.cat([ids[:, :-1], tokens[None], ids[:, -1:]], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    else:
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens[None]], 1)
        for name, value in inputs.items():
            if name == "attention_mask" or name.endswith("token_type_ids"):
                causal = name == "attention_mask" or model.config.model_type == "paligemma"  # its answers are suffix
                last = torch.full_like(value[:, :1], causal)
                inputs[name] = torch.cat([value, last.expand(-1, len(tokens))], 1)
            elif name == "image_embeds_position_mask" and model.config.model_type == "kosmos-2":
                inputs[name] = torch.cat([value, torch.zeros_like(tokens, dtype=value.dtype)[None]], 1)
            elif name == "cross_attention_mask" or name == "image_attention_mask":
                inputs[name] = torch.cat([value, *[value[:, -1:]] * len(tokens)], 1)
    settings = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    inputs = {k: v.clone() if torch.is_tensor(v) else v for k, v in inputs.items()}
    return shared_copy_of(model).generate(**inputs, **settings).logits[0].float()


def recomputed(
    model: PreTrainedModel,
    method: DecodingMethod,
    branches: list[list[ModelInputs]],
    inputs: ModelInputs,
    **settings: Any,
) -> Tensor:
    """Plain `generate` of a model that recomputes every branch from scratch."""
    inner = INNER.get(model.config.model_type)
    owner = model if inner is None else getattr(model, inner)
    scratch = FromScratch if inner is None else FromScratchInside
    generating = shared_copy_of(owner, type(type(owner).__name__, (scratch, type(owner)), {}))
    length = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    length -= model.config.model_type == "blip"
    generating.__dict__.update(plain=model, method=method, branches=branches, prompt_length=length)
    reference = generating if inner is None else shared_copy_of(model)
    if inner is not None:
        reference._modules[inner] = generating
    settings.pop("cache_implementation", None)
    settings.pop("prompt_lookup_num_tokens", None)
    return reference.generate(**inputs, **{**settings, "use_cache": False})


@dataclass(frozen=True)
class Case:
    """One call of a family: the inputs, and each branch of each prompt alone."""

    tiny: Any
    method: DecodingMethod
    inputs: ModelInputs
    branches: list[list[ModelInputs]]
    negative: ModelInputs | None = None

    def view(self, **settings: Any) -> Tensor:
        torch.manual_seed(0)
        view = self.method.on(self.tiny.model)
        return view.generate(**self.inputs, negative_inputs=self.negative, **{**NEW, **settings})

    def plain(self, **settings: Any) -> Tensor:
        torch.manual_seed(0)
        inputs = {k: v.clone() if torch.is_tensor(v) else v for k, v in self.inputs.items()}  # BLIP writes into them
        return shared_copy_of(self.tiny.model).generate(**inputs, **{**NEW, **settings})

    def reference(self, **settings: Any) -> Tensor:
        torch.manual_seed(0)
        return recomputed(self.tiny.model, self.method, self.branches, self.inputs, **{**NEW, **settings})


def changed_image(tiny: Any, texts: list[list[int]], images: int = 1) -> Case:
    """The negative branch has another image of the same size; other words in a family that takes no image."""
    per_text = [[tiny.prompt([t], seed=s + i, images=images) for s in (1, 31)] for i, t in enumerate(texts)]
    other = tiny.prompt(texts, seed=31, images=images)
    visual = {k: v for k, v in other.items() if k not in ("input_ids", "attention_mask") and "type_ids" not in k}
    if not visual:
        return other_words(tiny, texts)
    inputs = tiny.prompt(texts, seed=1, images=images)
    contrast = families.FAMILIES[tiny.name].contrast
    return Case(tiny, VCD(alpha=contrast, beta=0.0), inputs, per_text, visual)


def other_words(tiny: Any, texts: list[list[int]]) -> Case:
    """The negative branch has the same image and more words."""
    words = [[*text, 20, 21, 22] for text in texts]
    pairs = zip(texts, words, strict=True)
    per_text = [[tiny.prompt([text], seed=1 + i) for text in pair] for i, pair in enumerate(pairs)]
    return Case(tiny, VCD(alpha=8.0, beta=0.0), tiny.prompt(texts), per_text, tiny.prompt(words))


def without_image(tiny: Any, texts: list[list[int]], images: int = 1) -> Case:
    """The negative branch is the text-only prompt."""
    per_text = []
    for i, text in enumerate(texts):
        whole = tiny.prompt([text], seed=1 + i, images=images)
        per_text.append([whole, text_only(tiny, whole)])
    return Case(tiny, AfterTheTilt(-1.0, beta=0.0, gain=3.0), tiny.prompt(texts, images=images), per_text)


def text_only(tiny: Any, whole: ModelInputs) -> ModelInputs:
    """One prompt as if it had been written without its images: no placeholders, no image data."""
    if "input_ids" not in whole:
        return whole  # nothing is left, and the view refuses
    keep = whole["input_ids"][0] != architectures.IMAGE
    ids = whole["input_ids"][:, keep]
    out = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "image_attention_mask" in whole:  # idefics reads a text with an image masked for every token
        out |= {"image_attention_mask": torch.zeros_like(whole["image_attention_mask"][:, keep])}
        out |= {"pixel_values": whole["pixel_values"]}
    out |= {k: whole[k][:, keep] for k in ("bbox", "image_embeds_position_mask") if k in whole}
    if tiny.name in INNER:  # its code encodes an image in any case; without placeholders nothing reads it
        out |= {k: v for k, v in whole.items() if k.startswith(("pixel", "qformer"))}
    return out | {k: torch.zeros_like(ids) for k in whole if "type_ids" in k}


class Seeing(DecodingMethod):
    """Plain decoding that keeps the negative branch's logits of every step."""

    is_identity, negative_branches = False, (NoImage(),)

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def combine_logits(self, branches: list[Tensor], step: Step) -> tuple[Tensor, None]:
        self.seen.append(branches[1][:, -1])
        return branches[0], None


def distance_to_text_only(tiny: Any, steps: int = 32) -> float:
    """Largest error of the logits without the image over `steps` tokens, against the text-only prompt from scratch.

    It is relative to the largest logit of the step if that is above 1, because the random weights are scaled up.
    """
    case, method = without_image(tiny, TEXTS), Seeing()
    output = method.on(tiny.model).generate(**case.inputs, **{**NEW, "max_new_tokens": steps})
    tokens = output[:, 1 if tiny.model.config.is_encoder_decoder else case.inputs["input_ids"].shape[1] :]
    worst = 0.0
    for i, (_, text) in enumerate(case.branches):
        for step, seen in enumerate(method.seen):
            true = next_logits(tiny.model, text, tokens[i, :step])[0]
            allowed = true > FORBIDDEN  # the logit of a banned token would dwarf every error
            error = (seen[i] - true)[allowed].abs().max()
            worst = max(worst, float(error / true[allowed].abs().max().clamp_min(1)))
    return worst


def verdict(case: Callable[[], Case], settings: dict[str, Any]) -> str:
    """exact | vacuous | plain: ... | refused: ... | FAULT: ..."""
    call, plain, plain_error = case(), None, ""
    try:
        plain = call.plain(**settings)
    except Exception as error:
        plain_error = f"plain: {in_one_line(error)}"
    try:
        answer = call.view(**settings)
    except HalluguardError as refusal:
        return plain_error or f"refused: {refusal}"
    except Exception as error:
        return f"FAULT: {in_one_line(error)}"
    reference = call.reference(**settings)
    if not torch.equal(answer, reference):
        return f"FAULT: tokens differ: {answer[:, -6:].tolist()} != {reference[:, -6:].tolist()}"
    if plain is None:
        return f"{plain_error} (the view runs, and its answer equals recomputation)"
    return "exact" if not torch.equal(answer, plain) else "vacuous"


def in_one_line(error: Exception) -> str:
    """Class and message of an error, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def batch_is_own(tiny: Any) -> bool:
    """Whether the plain family gives a left-padded prompt of a batch other logits than the prompt alone."""
    settings = {"max_new_tokens": 2, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    output = shared_copy_of(tiny.model).generate(**tiny.prompt(TEXTS), **settings)
    for step, together in enumerate(output.logits):
        tokens = output.sequences[:, -len(output.logits) :][:, :step]
        prompts = [tiny.prompt([text], seed=1 + i) for i, text in enumerate(TEXTS)]
        alone = torch.cat([next_logits(tiny.model, p, row) for p, row in zip(prompts, tokens, strict=True)])
        if float((together - alone).abs().max()) > 1e-3 * max(1.0, float(alone.abs().max())):
            return True
    return False


def covered(name: str, laws: bool = True) -> dict[str, str]:
    """The verdict of every column for one model type; that of step back if `laws` are asked for."""
    tiny = architectures.tiny(name)
    try:
        VCD().on(tiny.model)
    except HalluguardError as refusal:
        return dict.fromkeys(COLUMNS, f"refused: {refusal}")
    texts = TEXTS[:1] if batch_is_own(tiny) else TEXTS
    verdicts = {}
    for mode, settings in MODES.items():
        some = texts[:1] if mode == "lookup" else texts
        verdicts[mode] = verdict(partial(changed_image, tiny, some), settings)
    if "input_ids" in tiny.prompt(texts):
        verdicts["two images"] = verdict(lambda: changed_image(tiny, texts, 2), MODES["beams"])
    else:
        verdicts["two images"] = "plain: the image is the whole prompt"
    verdicts["no image"] = verdict(lambda: without_image(tiny, texts), MODES["beams"])
    try:
        error = distance_to_text_only(tiny)
        verdicts["text-only"] = f"{error:.0e}" if error < 1e-5 else f"FAULT: {error:.0e}"
    except HalluguardError as refusal:
        verdicts["text-only"] = f"refused: {refusal}"
    except Exception as error:
        verdicts["text-only"] = f"FAULT: {in_one_line(error)}"
    if laws:
        cases = [changed_image(tiny, texts)]
        if kind(verdicts["no image"]) != "refused":
            cases.append(without_image(tiny, texts))
        beams_run = not verdicts["beams"].startswith("plain")
        verdicts["step back"] = stepped_back(cases, (3, 1) if beams_run else (1,))
    return verdicts


def stepped_back(cases: list[Case], searches: tuple[int, ...] = (3, 1)) -> str:
    """The verdict on the laws of step back, plainly and with the method of each case: the first that is not exact."""
    cells = (law(case, searches) for case in [replace(cases[0], method=VCD(alpha=0.0, beta=0.0)), *cases])
    return next((cell for cell in cells if cell != "exact"), "exact")


def law(case: Case, searches: tuple[int, ...] = (3, 1)) -> str:
    """exact | refused: ... | FAULT: ... for one case."""
    try:
        broken = step_back_laws.broken_law(case, NEW, searches)
    except HalluguardError as refusal:
        return f"refused: {refusal}"
    except Exception as error:
        return f"FAULT: {in_one_line(error)}"
    return f"FAULT: {broken}" if broken else "exact"


def attempted(name: str) -> dict[str, str]:
    """`covered`, or the error of the family in every cell, so that one crash never ends a run."""
    try:
        return covered(name)
    except Exception as error:
        return dict.fromkeys(COLUMNS, f"FAULT: {in_one_line(error)}")


def alone(table: dict[str, dict[str, str]]) -> list[str]:
    """The families in `table` that were run with one prompt; see `batch_is_own`."""
    ran = [name for name, row in table.items() if "exact" in row.values() or "vacuous" in row.values()]
    return [name for name in ran if batch_is_own(architectures.tiny(name))]


def not_run(table: dict[str, Any]) -> dict[str, str]:
    """The model types in transformers' image-text-to-text mapping that `table` lacks, with the reason."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    missing = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - set(table)
    return dict.fromkeys(missing, "no tiny model of it is built here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model types [all]")
    parser.add_argument("--results", type=Path, help="JSON file of verdicts: read first, completed after every family")
    parser.add_argument("--guard", type=Path, help="JSON file of the verdicts of guard_coverage.py, for the page")
    parser.add_argument("--write", type=Path, help="Markdown file to write the page to")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    results: Path | None = arguments.results
    table = json.loads(results.read_text()) if results is not None and results.exists() else {}
    for name in arguments.names or [name for name in families.FAMILIES if name not in table]:
        table[name] = attempted(name)
        print(name, *(f"\n    {column}: {cell[:160]}" for column, cell in summary(table[name]).items()), flush=True)
        if results is not None:
            results.write_text(json.dumps(table, indent=1))
    if arguments.write:
        versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        guard = json.loads(arguments.guard.read_text()) if arguments.guard else None
        arguments.write.write_text(report.rendered(table, not_run(table), versions, alone(table), guard))


def summary(row: dict[str, str]) -> dict[str, str]:
    """The columns of each verdict, joined."""
    out: dict[str, list[str]] = {}
    for column, cell in row.items():
        out.setdefault(cell, []).append(column)
    return {", ".join(columns): cell for cell, columns in out.items()}


if __name__ == "__main__":
    main()
