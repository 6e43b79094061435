"""Which architectures run under the folded view, in which modes: exact, or refused by name.

    python benchmarks/coverage.py [model types ...] [--results verdicts.json] [--write docs/coverage.md]

Every family is a tiny random model in fp32 (`architectures.py`). In every mode the answer of the view is compared,
token for token, with a reference in which each row of each sequence is fed to the plain model as a prompt of its
own, from scratch, alone, at every step. "exact": equal, and different from plain decoding; "vacuous": equal to it
too, which proves nothing. "host": the family's plain generate cannot do it either. A family whose plain batch differs
from its prompts run alone is run with one prompt. A refusal is shown by its sentence. Anything else is a fault.
`--results` keeps the verdicts, so that a run can be cut into parts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import CausalLMOutputWithPast

from halluguard.decoding import VCD, Imagination
from halluguard.decoding.base import FORBIDDEN, DecodingMethod, Step, combine
from halluguard.decoding.engine.shared_copy import twin_of
from halluguard.decoding.negative_inputs import NoImage
from halluguard.errors import HalluguardError


def beside(name: str) -> Any:
    """The script `name` of this folder, loaded once."""
    full = f"benchmarks_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


architectures, report = beside("architectures"), beside("coverage_report")
import families  # noqa: E402

kind = report.kind

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]  # unequal: the second is left-padded
# Special tokens are kept out of the answers: a placeholder in the answer would stand for a picture nobody gave.
NEW: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": list(range(890, 1000))}
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "returns": {"num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "top_p": 0.9, "temperature": 0.7},
    "static": {"cache_implementation": "static"},
    "lookup": {"prompt_lookup_num_tokens": 3},
}
COLUMNS = [*MODES, "two pictures", "no picture", "text-only"]


class AfterTheTilt(Imagination):
    """The knob, truncated by the host after the tilt, as the reference is."""

    keeps_sampling_support = False


class FromScratch:
    """Laid over a model's class: each row of each sequence is a prompt of its own to the plain model."""

    rows: Any
    prompt_length: int
    plain: Any
    method: Any

    def __call__(self, input_ids: Any = None, decoder_input_ids: Any = None, **_: Any) -> Any:
        ids = input_ids if decoder_input_ids is None else decoder_input_ids
        beams = len(ids) // len(self.rows)
        out = []
        for i, sequence in enumerate(ids[:, self.prompt_length :]):
            logits = [next_logits(self.plain, inputs, sequence)[:, None] for inputs in self.rows[i // beams]]
            value, keep = combine(self.method, logits, Step(torch.tensor([len(sequence)]), 1))
            out.append(value if keep is None else value.masked_fill(~keep, -torch.inf))
        output = CausalLMOutputWithPast(logits=torch.cat(out))
        output.image_hidden_states = None  # idefics carries it from step to step
        return output


def next_logits(model: Any, inputs: dict[str, Any], tokens: Any) -> Any:
    """(1, V) logits after `inputs` (one prompt, unpadded) and `tokens`, by a plain `generate` of one token."""
    inputs = dict(inputs)
    if model.config.is_encoder_decoder:
        start = torch.tensor([[model.generation_config.decoder_start_token_id]])
        inputs["decoder_input_ids"] = torch.cat([start, tokens[None]], 1)
    else:
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens[None]], 1)
        for name, value in inputs.items():
            if name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
                causal = name == "attention_mask" or model.config.model_type == "paligemma"  # its answers are suffix
                last = torch.full_like(value[:, :1], causal)
                inputs[name] = torch.cat([value, last.expand(-1, len(tokens))], 1)
            elif name == "cross_attention_mask" or name == "image_attention_mask":
                inputs[name] = torch.cat([value, *[value[:, -1:]] * len(tokens)], 1)
    wanted = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    return type(model).generate(twin_of(model), **inputs, **wanted).logits[0].float()


def recomputed(
    model: Any, method: Any, rows: list[list[dict[str, Any]]], inputs: dict[str, Any], **settings: Any
) -> Any:
    """Plain `generate` of the host over a model that recomputes every row from scratch."""
    reference = twin_of(model, type(type(model).__name__, (FromScratch, type(model)), {}))
    length = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    reference.__dict__.update(plain=model, method=method, rows=rows, prompt_length=length)
    settings.pop("cache_implementation", None)
    settings.pop("prompt_lookup_num_tokens", None)
    return type(model).generate(reference, **inputs, **{**settings, "use_cache": False})


@dataclass(frozen=True)
class Case:
    """One call of a family: the inputs, and each row of each prompt alone."""

    tiny: Any
    method: Any
    inputs: dict[str, Any]
    rows: list[list[dict[str, Any]]]
    negative: dict[str, Any] | None = None

    def view(self, **settings: Any) -> Any:
        torch.manual_seed(0)
        given = {} if self.negative is None else {"negative_inputs": self.negative}
        return self.method.on(self.tiny.model).generate(**self.inputs, **given, **{**NEW, **settings})

    def plain(self, **settings: Any) -> Any:
        torch.manual_seed(0)
        return type(self.tiny.model).generate(twin_of(self.tiny.model), **self.inputs, **{**NEW, **settings})

    def reference(self, **settings: Any) -> Any:
        torch.manual_seed(0)
        return recomputed(self.tiny.model, self.method, self.rows, self.inputs, **{**NEW, **settings})


def changed_picture(tiny: Any, texts: list[list[int]], images: int = 1) -> Case:
    """The negative row has another picture of the same size; other words in a family that takes no picture."""
    per_text = [[tiny.prompt([t], seed=s + i, images=images) for s in (1, 31)] for i, t in enumerate(texts)]
    other = tiny.prompt(texts, seed=31, images=images)
    visual = {k: v for k, v in other.items() if k not in ("input_ids", "attention_mask") and "type_ids" not in k}
    if not visual:
        return other_words(tiny, texts)
    inputs = tiny.prompt(texts, seed=1, images=images)
    return Case(tiny, VCD(alpha=8.0, beta=0.0), inputs, per_text, visual)


def other_words(tiny: Any, texts: list[list[int]]) -> Case:
    """The negative row has the same picture and more words."""
    words = [[*text, 20, 21, 22] for text in texts]
    pairs = zip(texts, words, strict=True)
    per_text = [[tiny.prompt([row], seed=1 + i) for row in pair] for i, pair in enumerate(pairs)]
    return Case(tiny, VCD(alpha=8.0, beta=0.0), tiny.prompt(texts), per_text, tiny.prompt(words))


def without_picture(tiny: Any, texts: list[list[int]], images: int = 1) -> Case:
    """The negative row is the text-only prompt."""
    per_text = []
    for i, text in enumerate(texts):
        whole = tiny.prompt([text], seed=1 + i, images=images)
        per_text.append([whole, text_only(tiny, whole)])
    return Case(tiny, AfterTheTilt(-1.0, beta=0.0, gain=3.0), tiny.prompt(texts, images=images), per_text)


def text_only(tiny: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """One prompt as if it had been written without its pictures: placeholders gone, nothing to see."""
    if "input_ids" not in whole:
        return whole  # nothing is left, and the view says so
    keep = whole["input_ids"][0] != architectures.IMAGE
    ids = whole["input_ids"][:, keep]
    out = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "image_attention_mask" in whole:  # idefics reads a text with a picture masked for every token
        out |= {"image_attention_mask": torch.zeros_like(whole["image_attention_mask"][:, keep])}
        out |= {"pixel_values": whole["pixel_values"]}
    out |= {k: whole[k][:, keep] for k in ("bbox", "image_embeds_position_mask") if k in whole}
    return out | {k: torch.zeros_like(ids) for k in whole if "type_ids" in k}


class Seeing(DecodingMethod):
    """Plain decoding that keeps the negative row's logits of every step."""

    is_identity, negative_branches = False, (NoImage(),)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def combine_logits(self, branches: list[Any], step: Step) -> tuple[Any, None]:
        self.seen.append(branches[1][:, -1])
        return branches[0], None


def distance_to_text_only(tiny: Any, steps: int = 32) -> float:
    """Largest error of the image-free row's logits over `steps` tokens, against the text-only prompt from scratch.

    Relative to the largest logit of the step when that is above one, as weights of a random model are scaled up.
    """
    case, method = without_picture(tiny, TEXTS), Seeing()
    output = method.on(tiny.model).generate(**case.inputs, **{**NEW, "max_new_tokens": steps})
    tokens = output[:, 1 if tiny.model.config.is_encoder_decoder else case.inputs["input_ids"].shape[1] :]
    worst = 0.0
    for row, (_, text) in enumerate(case.rows):
        for step, seen in enumerate(method.seen):
            true = next_logits(tiny.model, text, tokens[row, :step])[0]
            allowed = true > FORBIDDEN  # what a model bans by itself would dwarf every error
            error = (seen[row] - true)[allowed].abs().max()
            worst = max(worst, float(error / true[allowed].abs().max().clamp_min(1)))
    return worst


def verdict(case: Callable[[], Case], settings: dict[str, Any]) -> str:
    """exact | vacuous | host: ... | refused: ... | FAULT: ..."""
    made, host = case(), ""
    try:
        plain = made.plain(**settings)
    except Exception as error:
        plain, host = None, f"host: {said(error)}"
    try:
        got = made.view(**settings)
    except HalluguardError as refusal:
        return host or f"refused: {refusal}"
    except Exception as error:
        return f"FAULT: {said(error)}"
    wanted = made.reference(**settings)
    if not torch.equal(got, wanted):
        return f"FAULT: tokens differ: {got[:, -6:].tolist()} != {wanted[:, -6:].tolist()}"
    if plain is None:
        return f"{host} (the view runs, and its answer equals recomputation)"
    return "exact" if not torch.equal(got, plain) else "vacuous"


def said(error: Exception) -> str:
    """Kind and words of an error, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def batch_is_own(tiny: Any) -> bool:
    """Whether the plain family gives a left-padded prompt of a batch other logits than alone."""
    wanted = {"max_new_tokens": 2, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    output = type(tiny.model).generate(twin_of(tiny.model), **tiny.prompt(TEXTS), **wanted)
    for step, together in enumerate(output.logits):
        tokens = output.sequences[:, -len(output.logits) :][:, :step]
        prompts = [tiny.prompt([text], seed=1 + i) for i, text in enumerate(TEXTS)]
        alone = torch.cat([next_logits(tiny.model, p, row) for p, row in zip(prompts, tokens, strict=True)])
        if float((together - alone).abs().max()) > 1e-3 * max(1.0, float(alone.abs().max())):
            return True
    return False


def covered(name: str) -> dict[str, str]:
    """The verdict of every column for one model type."""
    tiny = architectures.tiny(name)
    try:
        VCD().on(tiny.model)
    except HalluguardError as refusal:
        return dict.fromkeys(COLUMNS, f"refused: {refusal}")
    texts = TEXTS[:1] if batch_is_own(tiny) else TEXTS
    found = {}
    for mode, settings in MODES.items():
        some = texts[:1] if mode == "lookup" else texts
        found[mode] = verdict(partial(changed_picture, tiny, some), settings)
    if "input_ids" in tiny.prompt(texts):
        found["two pictures"] = verdict(lambda: changed_picture(tiny, texts, 2), MODES["beams"])
    else:
        found["two pictures"] = "host: the picture is all of the prompt"
    found["no picture"] = verdict(lambda: without_picture(tiny, texts), MODES["beams"])
    try:
        error = distance_to_text_only(tiny)
        found["text-only"] = f"{error:.0e}" if error < 1e-5 else f"FAULT: {error:.0e}"
    except HalluguardError as refusal:
        found["text-only"] = f"refused: {refusal}"
    except Exception as error:
        found["text-only"] = f"FAULT: {said(error)}"
    return found


def attempted(name: str) -> dict[str, str]:
    """`covered`, with an error of the family as its cells: one crash never ends a run."""
    try:
        return covered(name)
    except Exception as error:
        return dict.fromkeys(COLUMNS, f"FAULT: {said(error)}")


def alone(table: dict[str, dict[str, str]]) -> list[str]:
    """The families of `table` that were run with one prompt; see `batch_is_own`."""
    ran = [name for name, row in table.items() if "exact" in row.values() or "vacuous" in row.values()]
    return [name for name in ran if batch_is_own(architectures.tiny(name))]


def not_run(table: dict[str, Any]) -> dict[str, str]:
    """The model types of transformers' image-text-to-text mapping that `table` lacks, and why."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    missing = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - set(table)
    return dict.fromkeys(missing, "no tiny model of it is built here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model types; all by default")
    parser.add_argument("--results", type=Path, help="JSON file of verdicts: read first, added to after every family")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
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
        arguments.write.write_text(report.rendered(table, not_run(table), versions, alone(table)))


def summary(row: dict[str, str]) -> dict[str, str]:
    """Columns with the same verdict together."""
    out: dict[str, list[str]] = {}
    for column, cell in row.items():
        out.setdefault(cell, []).append(column)
    return {", ".join(columns): cell for cell, columns in out.items()}


if __name__ == "__main__":
    main()
