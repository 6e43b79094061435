"""Check a trainer on one small batch before training, and refuse where training would fail silently.

The checks, and the silent failure each one finds:

- truncation: a `max_length` cuts the answers of rows whose images take many tokens; loss and gradient become 0
- learnt tokens: some in every row, no image token among them, an end-of-sequence token at the end
- image tokens: present where the rows have images
- prompts as inference makes them: a tokenizer may add a start token that the training batch lacks
- answers as generation makes them: prompt and answer are tokenised separately, which some tokenizers do differently
- the first step: the loss of a reference method equals its law (every log-ratio is 0), gradients are finite and not 0
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.chat_templates import template_errors
from halluguard.errors import PreflightError
from halluguard.tuning.rows import Conversation

if TYPE_CHECKING:  # with its trainer, transformers loads much that a model alone does not need
    from datasets import Dataset

ROWS = 4
"""Rows checked, spread over the data set."""

Trainer: TypeAlias = Any  # TRL's SFTTrainer, DPOTrainer and KTOTrainer share no base class with these members


@dataclass(frozen=True)
class Preflight:
    """The measurements of a check.

    Args:
        rows: rows checked.
        learnt_tokens, image_tokens: tokens learnt, and image tokens, in them.
        loss: the first loss.
        law: the loss that the method's law demands; None where there is none.
        gradient: norm of the first gradient.
    """

    rows: int
    learnt_tokens: int
    image_tokens: int
    loss: float
    law: float | None
    gradient: float


def preflight(trainer: Trainer, rows: int = ROWS) -> Preflight:
    """Check a TRL trainer (SFT, DPO and ours, KTO) before `train()`; nothing in it is changed.

    Args:
        trainer: a trainer that has not started.
        rows: maximum of rows to check.

    Raises:
        PreflightError: a check failed; the message says which and what to do.
    """
    limit = getattr(trainer.args, "max_length", None)
    if limit is not None:
        raise PreflightError(
            f"max_length must be None, got {limit}: it cuts image tokens or, silently, whole answers; leave long "
            "rows out of the data instead"
        )
    examples = _examples(trainer.train_dataset, rows)
    for number, example in enumerate(examples):
        _check_tokenisation(trainer.processing_class, example, number)
    with _untouched(trainer):
        batch = trainer.data_collator([dict(example) for example in examples])
        learnt, images = _check_tokens(trainer, batch, any(_images(example) for example in examples))
        loss, law, gradient = _first_step(trainer, batch)
    return Preflight(len(examples), learnt, images, loss, law, gradient)


def _examples(data: Dataset, rows: int) -> list[Conversation]:
    """Rows spread evenly over the data set; the first ones of a stream."""
    if not hasattr(data, "__len__"):
        return list(islice(iter(data), rows))
    count = min(rows, len(data))
    return [data[i * len(data) // count] for i in range(count)]


def _images(example: Conversation) -> list[object]:
    return [example["image"]] if "image" in example else list(example.get("images") or [])


# --- tokens ------------------------------------------------------------------------------------------------------


def _check_tokenisation(processor: ProcessorMixin, example: Conversation, number: int) -> None:
    """Check that prompts are as inference makes them, and answers as generation makes them."""
    from trl.data_utils import apply_chat_template, is_conversational, prepare_multimodal_messages

    answers = [name for name in ("completion", "chosen", "rejected") if name in example]
    if "prompt" not in example or not answers or not is_conversational(dict(example)):
        return
    images = _images(example) or None
    turns: dict[str, Any] = {name: prepare_multimodal_messages(example[name]) for name in answers}
    turns["prompt"] = prepare_multimodal_messages(example["prompt"], images=images)
    if "completion" not in turns and len(answers) != 2:
        return
    with template_errors(processor):
        rendered = apply_chat_template(turns, processor)

    def ids(text: str, images: list[object] | None, **settings: bool) -> list[int]:
        inputs = processor(text=[text], **({} if images is None else {"images": [images]}), **settings)
        return list(inputs["input_ids"][0])

    prompt = ids(rendered["prompt"], images, add_special_tokens=False)
    inferred = ids(rendered["prompt"], images)
    if inferred != prompt:
        extra = processor.tokenizer.convert_ids_to_tokens([token for token in inferred if token not in set(prompt)])
        raise PreflightError(
            f"row {number}: inference makes another prompt than training: the tokenizer adds {extra or 'tokens'}, the "
            "chat template does not; put them into the template (see halluguard.tuning.chat_template.trainable)"
        )
    for name in answers:
        separate = prompt + ids(rendered[name], None, add_special_tokens=False)
        joint = ids(rendered["prompt"] + rendered[name], images, add_special_tokens=False)
        if separate != joint:
            at = next((i for i, (a, b) in enumerate(zip(separate, joint, strict=False)) if a != b), len(prompt))
            shown = [processor.tokenizer.convert_ids_to_tokens(tokens[at : at + 3]) for tokens in (separate, joint)]
            raise PreflightError(
                f"row {number}: the {name} answer is learnt as {shown[0]} but generated as {shown[1]}, because prompt "
                "and answer are tokenised separately; let the chat template end the prompt where a token ends"
            )


def _check_tokens(trainer: Trainer, batch: Mapping[str, Tensor], with_images: bool) -> tuple[int, int]:
    """(learnt tokens, image tokens) of the batch."""
    ids = batch["input_ids"]
    learnt = batch["labels"] != -100 if "labels" in batch else batch["completion_mask"].bool()
    counts = learnt.sum(1).tolist()
    if min(counts) == 0:
        raise PreflightError(
            f"no token is learnt in {counts.count(0)} of {len(counts)} sequences; are their answers empty, or do the "
            "rows say `messages` where `prompt` and `completion` are needed?"
        )
    config = _base_model(trainer).config
    image_token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    image_tokens = 0
    if image_token is not None:
        image_tokens = int((ids == image_token).sum())
        if with_images and not image_tokens:
            raise PreflightError("the rows have images, but no image token is in the batch; check the chat template")
        if int(((ids == image_token) & learnt).sum()):
            raise PreflightError(
                "image tokens are among the learnt tokens; give rows of `prompt` and `completion`, not `messages`"
            )
    ends = _end_tokens(trainer)
    without = [row for row in range(len(ids)) if not ends & set(ids[row][learnt[row]].tolist())]
    if without:
        raise PreflightError(
            f"{len(without)} of {len(ids)} answers end without an end-of-sequence token: the model would unlearn to "
            "stop; put it into the chat template after the assistant's text "
            "(see halluguard.tuning.chat_template.trainable)"
        )
    return sum(counts), image_tokens


def _end_tokens(trainer: Trainer) -> set[int]:
    """Every token at which generation stops."""
    ends: set[int] = set()
    for holder in (_base_model(trainer).generation_config, trainer.processing_class.tokenizer):
        tokens = getattr(holder, "eos_token_id", None)
        if tokens is not None:
            ends |= set(tokens) if isinstance(tokens, Sequence) else {tokens}
    return ends


def _base_model(trainer: Trainer) -> PreTrainedModel:
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


# --- the first step ----------------------------------------------------------------------------------------------


def _first_step(trainer: Trainer, batch: Mapping[str, Tensor]) -> tuple[float, float | None, float]:
    """(loss, the loss by law, norm of the gradient) at the current weights."""
    trainer.model.train()
    inputs = trainer._prepare_inputs(dict(batch))
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, inputs)
    value, law = float(loss.detach()), _law(trainer, batch)
    if not math.isfinite(value):
        raise PreflightError(f"the first loss is {value}; check the images, and train in bfloat16 or float32")
    if law is not None and abs(value - law) > 1e-3 * max(1.0, law):
        raise PreflightError(
            f"the first loss must be {law:.4f}, since nothing is learnt yet and policy and reference are the same; got "
            f"{value:.4f}: they differ. Train an adapter, or give ref_model a copy of the model as it is in memory"
        )
    if loss.requires_grad:
        trainer.accelerator.backward(loss)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    squares = [p.grad.detach().float().square().sum() for p in trained if p.grad is not None]
    norm = float(torch.stack([s.cpu() for s in squares]).sum().sqrt()) if squares else 0.0
    if not math.isfinite(norm):
        raise PreflightError(f"the first gradient is {norm}; train in bfloat16 or float32, with a smaller batch")
    if norm == 0:
        raise PreflightError(
            f"the first gradient is 0 over {len(trained)} trained tensors: nothing would be learnt; check which layers "
            "are trained and that the rows' answers differ"
        )
    return value, law, norm


def _law(trainer: Trainer, batch: Mapping[str, Tensor]) -> float | None:
    """The loss at log-ratio 0: log 2 for each sigmoid, log(1 + exp(delta)) for the anchor, 1/2 for KTO."""
    names = {parent.__name__ for parent in type(trainer).__mro__}
    losses = getattr(trainer, "loss_types", None)
    if "KTOTrainer" in names:
        balanced = trainer.args.desirable_weight == trainer.args.undesirable_weight == 1
        return 0.5 if balanced and trainer.loss_type == "kto" else None
    if "DPOTrainer" not in names or losses != ["sigmoid"] or trainer.use_weighting:
        return None
    law = math.log(2) * (trainer.loss_weights or [1.0])[0]
    if hasattr(trainer, "visual_weight"):
        paired = float(batch["visual_mask"].mean()) if "visual_mask" in batch else 0.0
        law += trainer.visual_weight * paired * math.log(2)
        law += trainer.anchor_weight * math.log1p(math.exp(trainer.anchor_delta))
    return law


@contextmanager
def _untouched(trainer: Trainer) -> Iterator[None]:
    """Restore random state, mode, gradients and the trainer's log afterwards, also when the block fails."""
    was_training, tokens = trainer.model.training, getattr(trainer, "_total_train_tokens", None)
    devices = [trainer.accelerator.device] if trainer.accelerator.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        trainer.model.train(was_training)
        if tokens is not None:
            trainer._total_train_tokens = tokens
        for logged in getattr(trainer, "_metrics", {}).values():
            logged.clear()
