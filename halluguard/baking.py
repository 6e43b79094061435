"""Fold a controller at one setting into a plain checkpoint, for servers that do not run halluguard.

    H (c + epsilon W c) + b  =  (H + epsilon H W) c + b

The head H is linear, so a controller at a fixed epsilon equals another head. It gives the same logits at the cost of
the plain model, on any server that loads checkpoints of transformers. In a LoRA adapter of the head (A = down, B = H
up) the same product is stored apart from H, and the adapter's scale is epsilon.

Operations after the head (soft caps, scales) are kept. Operations between the final norm and the head are linear in
every architecture that was tried. Both are checked: the written folder is loaded again without halluguard's hooks, and
its logits are compared with those of the controlled model. If they differ, nothing is left behind.

The form is our own; the controller is that of Zhai et al. 2023, arXiv 2310.01779 (see `halluguard.controller`).
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Never, get_args

import peft
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.configuration_utils import PreTrainedConfig

from halluguard.arguments import parameters, refuse_unknown
from halluguard.checkpoints import default_device, load_adapter, load_mllm, no_bars_in_captured_output, place
from halluguard.controller import Controller, language_head
from halluguard.errors import SettingsError, UnsupportedModelError, first_line

Form = Literal["model", "lora"]

CHECKED_TEXTS = (
    "A dog lies on a red sofa beside two cups.",
    "Is there a bicycle in the image? Yes, there is one behind the car.",
    "1, 2, 3: the quick brown fox jumps over the lazy dog!",
)
"""Texts on which the logits of the written folder are compared with those of the controlled model."""

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float16: 0.004}
"""Type of the weights -> largest accepted difference of logits, due to rounding, as a share of the largest logit."""

RULED_OUT = 1e30
"""A logit above this, in absolute value, means that the model forbids the token."""

_ROWS = 8192
"""Rows of the head that are multiplied at a time, which bounds the memory of large vocabularies."""


@dataclass(frozen=True)
class Baked:
    """The result of `bake`.

    Args:
        folder: folder that was written.
        epsilon: setting of the controller that is folded in.
        difference: largest difference of logits between the controlled model and the written one.
        largest: largest logit of the controlled model, in absolute value.
    """

    folder: Path
    epsilon: float
    difference: float
    largest: float


def bake(
    name: str | Path,
    controller: Controller | str | Path,
    imagination: float,
    out: str | Path,
    *,
    form: Form = "model",
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    **unknown: Never,
) -> Baked:
    """Write a checkpoint, or a PEFT adapter, that answers as the model does with its controller at one setting.

    Args:
        name: hub name or folder of the model that the controller was made for.
        controller: the controller, or its file.
        imagination: setting in [-1, 1]; -1 and 1 stand for the ends of the controller's `epsilon_range`.
        out: folder to write; it must not exist, or be empty.
        form: "model" for a whole checkpoint with its processor, "lora" for a PEFT adapter of the head alone, whose
            scale (`lora_alpha / r`) is epsilon.
        dtype: type of the weights; "auto" is that of the checkpoint.
        device: "cuda", "cpu", ...; default the first GPU, else the CPU.
        revision: commit, branch or tag of the checkpoint on the hub.
        unknown: refused, with the argument to write in its place.

    Raises:
        SettingsError: imagination is outside [-1, 1], the form or an argument is unknown, or `out` holds files.
        UnsupportedModelError: the controller was made for another model; the head's weights are quantized; or the
            written model does not answer as the controlled model does. Nothing is left in `out`.
        InputError: no such checkpoint or controller.

    Example:
        >>> bake("llava-hf/llava-1.5-7b-hf", "grounded.safetensors", -0.5, "llava-grounded")  # doctest: +SKIP
    """
    refuse_unknown("bake", unknown, parameters(bake))
    if form not in get_args(Form):
        raise SettingsError(f"form must be 'model' or 'lora', got {form!r}; choose one")
    if not -1 <= imagination <= 1:
        raise SettingsError(f"imagination must be in [-1, 1], got {imagination}; -1 is most grounded, 0 plain")
    if not isinstance(controller, Controller):
        controller = Controller.load(controller)
    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise SettingsError(f"out must be a new or empty folder, got {str(out)!r}, which exists; name another")
    epsilon = float(controller.epsilon_at(torch.tensor(float(imagination))))

    model, processor = load_mllm(name, dtype=dtype, revision=revision)
    place(model, default_device(device))
    controller.check(model)
    texts = _texts(model, processor)
    with controller.attached(model, epsilon):
        expected = _logits(model, texts)

    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        if form == "lora":
            _write_lora(model, controller, epsilon, str(name), work)
            with warnings.catch_warnings():  # that a tied head must not be merged stands in the adapter's card
                warnings.filterwarnings("ignore", message=".*tie_word_embeddings")
                load_adapter(model, work)
        else:
            fold(model, controller, epsilon)
            with no_bars_in_captured_output():
                model.save_pretrained(work, safe_serialization=True)
            processor.save_pretrained(work)
            del model
            model, _ = load_mllm(work, dtype=dtype)
            place(model, default_device(device))
        actual = _logits(model, texts)
        apart, largest = difference(expected, actual)
        _require_equal(apart, largest, next(model.parameters()).dtype)
        (work / "README.md").write_text(_card(str(name), imagination, epsilon, form, apart), encoding="utf-8")
        work.chmod(0o755)  # a temporary folder is private
        if target.exists():
            target.rmdir()
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Baked(target, epsilon, apart, largest)


@torch.no_grad()
def fold(model: PreTrainedModel, controller: Controller, epsilon: float) -> None:
    """Put a controller's change into the head of a model in memory.

    A head tied to the embeddings is untied. Encoder and decoder embeddings that share one tensor get a copy each,
    because the configuration has one switch for both.

    Raises:
        UnsupportedModelError: the head's weights are quantized.
    """
    head = _float_head(model)
    weight = torch.cat([rows + epsilon * _through(rows, controller) for rows in head.weight.float().split(_ROWS)])
    head.weight = nn.Parameter(weight.to(head.weight.dtype), requires_grad=False)
    if not any(config.tie_word_embeddings for config in _text_configs(model)):
        return
    for config in _text_configs(model):
        config.tie_word_embeddings = False
    met: set[int] = set()
    for path, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) in met:
            owner, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Parameter(parameter.clone(), requires_grad=False))
        met.add(id(parameter))


def _text_configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    configs = [model.config, model.config.get_text_config()]
    return [config for config in configs if hasattr(config, "tie_word_embeddings")]


def _through(rows: Tensor, controller: Controller) -> Tensor:
    """Rows of H W from the same rows of H, both (n, hidden_size)."""
    if controller.rank is None:
        return rows @ controller.weight.to(rows)
    return rows @ controller.up.to(rows) @ controller.down.to(rows)


def _float_head(model: PreTrainedModel) -> nn.Linear:
    head = language_head(model)
    if not head.weight.is_floating_point():
        raise UnsupportedModelError(
            f"expected a head of floating-point weights, got {head.weight.dtype}; bake the model before it is quantized"
        )
    return head


@torch.no_grad()
def _write_lora(model: PreTrainedModel, controller: Controller, epsilon: float, base: str, out: Path) -> None:
    """Let PEFT write the adapter, so that its names and configuration are in the form that PEFT reads."""
    head = _float_head(model)
    paths = {id(module): path for path, module in model.named_modules()}
    if controller.rank is None:  # W has no factors: A = W, B = H
        down, up = controller.weight, head.weight.float()
    else:
        down = controller.down
        up = torch.cat([rows @ controller.up.to(rows) for rows in head.weight.float().split(_ROWS)])
    config = peft.LoraConfig(
        r=down.shape[0],
        lora_alpha=epsilon * down.shape[0],  # type: ignore[arg-type]  # the scale is a quotient and may be a fraction
        target_modules=[paths[id(head)]],
        base_model_name_or_path=base,
        inference_mode=True,
    )
    # PEFT wraps an empty shell that holds a layer at the path of the head, so the model itself is never changed.
    shell = nn.Module()
    shell.config = copy.deepcopy(model.config)  # type: ignore[assignment]
    inner = shell
    *parents, last = paths[id(head)].split(".")
    for parent in parents:
        inner.add_module(parent, nn.Module())
        inner = inner.get_submodule(parent)
    inner.add_module(last, nn.Linear(head.in_features, head.out_features, bias=False, device=head.weight.device))
    config.auto_mapping = None  # would name the class of the shell
    wrapped = peft.PeftModel(shell, config)
    layer = f"base_model.model.{paths[id(head)]}"
    wrapped.get_parameter(f"{layer}.lora_A.default.weight").copy_(down)
    wrapped.get_parameter(f"{layer}.lora_B.default.weight").copy_(up)
    wrapped.save_pretrained(str(out), safe_serialization=True, save_embedding_layers=False)


def _texts(model: PreTrainedModel, processor: ProcessorMixin) -> list[Tensor]:
    tokenizer = getattr(processor, "tokenizer", processor)
    device = next(model.parameters()).device
    return [tokenizer(text, return_tensors="pt")["input_ids"].to(device) for text in CHECKED_TEXTS]


@torch.no_grad()
def _logits(model: PreTrainedModel, texts: list[Tensor]) -> list[Tensor]:
    """Logits at each token of each text, in float32 on the CPU. An encoder-decoder reads the text in both parts."""
    try:
        answers = [
            model(input_ids=ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}))
            for ids in texts
        ]
    except Exception as error:
        raise UnsupportedModelError(
            f"{type(model).__name__} does not read a text without an image ({first_line(error)}), so a baked head "
            "could not be compared with its controller; use controller.attached instead"
        ) from error
    return [answer.logits.float().cpu() for answer in answers]


def difference(expected: list[Tensor], found: list[Tensor]) -> tuple[float, float]:
    """Largest difference and largest logit, each over the tokens that the model does not forbid."""
    apart, largest = 0.0, 0.0
    for a, b in zip(expected, found, strict=True):
        kept = a.abs() < RULED_OUT
        apart = max(apart, float((a - b).abs()[kept].max()))
        largest = max(largest, float(a.abs()[kept].max()))
    return apart, largest


def _require_equal(apart: float, largest: float, dtype: torch.dtype) -> None:
    if not apart <= TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16]) * max(largest, 1.0):
        raise UnsupportedModelError(
            f"the written model does not answer as the controlled model does: logits of up to {largest:.3g} differ by "
            f"up to {apart:.3g}; this architecture changes the hidden state before its head reads it, so use "
            "controller.attached instead"
        )


def _card(name: str, imagination: float, epsilon: float, form: Form, apart: float) -> str:
    kind = "A checkpoint" if form == "model" else "A PEFT adapter of the language head"
    return (
        f"---\nbase_model: {name}\ntags: [halluguard]\n---\n\n"
        f"{kind} that answers as `{name}` does with a halluguard controller at imagination {imagination:g} "
        f"(epsilon {epsilon:g}).\nIt needs no code but transformers{'' if form == 'model' else ' and peft'}. When it "
        f"was written, its logits differed from those of the controlled\nmodel by at most {apart:.2g} on "
        f"{len(CHECKED_TEXTS)} texts.\n"
        + ("" if form == "model" else "Leave it unmerged where the head is tied to the embeddings.\n")
    )
