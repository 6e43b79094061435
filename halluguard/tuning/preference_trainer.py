"""TRL's `DPOTrainer` with the terms hallucination needs: negative images, an anchor, weights of changed tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.errors import SettingsError, require
from halluguard.tuning.checked import Checked
from halluguard.tuning.collating import Draw, NegativeImageCollator
from halluguard.tuning.losses import anchor_term, visual_term

require("trl", extra="train", feature="preference training")
from trl import DPOConfig, DPOTrainer  # noqa: E402
from trl.models.utils import disable_gradient_checkpointing  # noqa: E402
from trl.trainer.utils import use_adapter  # noqa: E402

OWN_COLUMNS = ("negative_images", "seed")
"""Columns of a preference row that TRL does not know."""

Outputs = TypeVar("Outputs", bound=Any)  # a model's outputs; a subclass of ModelOutput with log_probs


class NegativePreferenceTrainer(Checked, DPOTrainer):
    """Preference training that also prefers the right image:  TRL's loss + w_v visual + w_a anchor.

    TRL's part is TRL's code: every `loss_type` and mix of them, `ld_alpha`, `f_divergence_type`, `use_weighting`.
    It gets log-probabilities that were computed once for all terms. With both weights and gamma at their neutral
    values, the loss and the gradients are TRL's.

    Args:
        model: an image-text-to-text model, or a PEFT model.
        args: `trl.DPOConfig`; `max_length` must be None, since a limit cuts the answers of long prompts silently.
        processing_class: processor of the model.
        visual_weight, anchor_weight: w_v and w_a, >= 0; mDPO's are 1 and 1.
        anchor_delta: delta of the anchor; mDPO's code has 0.
        gamma: DDPO's weight of changed tokens in TRL's part, > 0; 1 is off.
        draw: function from (images, seed) to negative images, for rows without `negative_images`.
        data_collator: replaces `collating.NegativeImageCollator`.
        settings: other arguments of `trl.DPOTrainer`. Rows of `train_dataset` have `images`, `prompt`, `chosen`,
            `rejected`, and optionally `negative_images` and `seed`. Without `peft_config`, give a `ref_model`: TRL
            would otherwise load one from disk, whatever was changed in memory since.

    Logged besides TRL's: `loss/visual`, `loss/anchor`, `visual_gap` (log p(yw | I+) - log p(yw | I-)),
    `rewards/visual_accuracies`, `logps/chosen_per_token`.

    Raises:
        SettingsError: a weight out of range, `max_length` set, or gamma together with `use_weighting`.

    Example:
        >>> trainer = NegativePreferenceTrainer(model, args, train_dataset=pairs, processing_class=processor,
        ...                                     peft_config=lora_config())                        # doctest: +SKIP
        >>> trainer.train()                                                                       # doctest: +SKIP

    Source: see `losses.py`. The rows of one batch are laid out by `collating.NegativeImageCollator`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: DPOConfig | None = None,
        *,
        processing_class: ProcessorMixin,
        visual_weight: float = 1.0,
        anchor_weight: float = 1.0,
        anchor_delta: float = 0.0,
        gamma: float = 1.0,
        draw: Draw | None = None,
        data_collator: Callable[..., dict[str, Tensor]] | None = None,
        **settings: Any,
    ) -> None:
        if not (0 <= visual_weight < math.inf and 0 <= anchor_weight < math.inf and math.isfinite(anchor_delta)):
            raise SettingsError(
                f"visual_weight and anchor_weight must be >= 0, got {visual_weight} and {anchor_weight}; 0 is off "
                f"(anchor_delta must be finite, got {anchor_delta})"
            )
        if not 0 < gamma < math.inf:
            raise SettingsError(f"gamma must be > 0, got {gamma}; 1 weights all tokens alike")
        if args is not None and args.max_length is not None:
            raise SettingsError(
                f"max_length must be None, got {args.max_length}: a limit cuts the image tokens or, silently, the "
                "whole answer; leave long rows out of the data instead"
            )
        if args is not None and args.use_weighting and gamma != 1:
            raise SettingsError("gamma changes the log-probabilities that use_weighting reads; use one of the two")
        self.visual_weight, self.anchor_weight, self.anchor_delta = visual_weight, anchor_weight, anchor_delta
        if data_collator is None:
            data_collator = NegativeImageCollator(processing_class, negatives=visual_weight > 0, draw=draw, gamma=gamma)
        args = DPOConfig(max_length=None) if args is None else args
        super().__init__(model, args=args, processing_class=processing_class, data_collator=data_collator, **settings)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = cast("list[str]", self._signature_columns)
        columns += [name for name in OWN_COLUMNS if name not in columns]

    def _compute_loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], return_outputs: bool) -> Any:
        inputs = dict[str, Any](inputs)
        weights, visual_mask = inputs.pop("token_weights", None), inputs.pop("visual_mask", None)
        mask = inputs.pop("completion_mask")
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        layout = _Layout(len(labels), with_negatives=visual_mask is not None)
        call: dict[str, Any] = {**inputs, "labels": labels, "fused_lm_head": True, "use_cache": False}
        policy = model(**call)
        with self._reference() as reference:
            frozen = reference(**{name: value for name, value in call.items() if name != "output_router_logits"})

        text = {name: layout.text(inputs[name]) for name in ("input_ids", "attention_mask")}
        text["completion_mask"] = layout.text(mask)
        computed = [_Computed(layout.text_outputs(outputs, weights)) for outputs in (policy, frozen)]
        # The reference's log-probabilities go in where TRL takes those of a precomputed reference.
        text["ref_chosen_logps"], text["ref_rejected_logps"] = self.compute_ref_log_probs(computed[1], text)
        self.precompute_ref_logps = True
        try:
            loss = super()._compute_loss(computed[0], text, return_outputs=False)
        finally:
            self.precompute_ref_logps = False

        length = labels.size(1) - 1
        log_probs, frozen_log_probs = (outputs.log_probs[:, -length:].sum(1) for outputs in (policy, frozen))
        ratios = log_probs - frozen_log_probs
        chosen, negative = layout.chosen(ratios), layout.chosen_negative(ratios)
        paired = chosen.new_zeros(len(chosen)) if visual_mask is None else visual_mask.to(chosen)
        visual = visual_term(chosen, negative, self.beta) * paired
        anchor = anchor_term(chosen, self.beta, self.anchor_delta)
        if self.visual_weight:
            loss = loss + self.visual_weight * visual.mean()
        if self.anchor_weight:
            loss = loss + self.anchor_weight * anchor.mean()
        tokens = layout.chosen(mask[:, 1:].sum(1)).clamp(min=1)
        own, other = layout.chosen(log_probs), layout.chosen_negative(log_probs)
        accuracies = (chosen > negative).to(chosen)
        self._log_means({"loss/anchor": anchor, "logps/chosen_per_token": own / tokens}, torch.ones_like(chosen))
        self._log_means(
            {"loss/visual": visual, "visual_gap": own - other, "rewards/visual_accuracies": accuracies}, paired
        )
        if not return_outputs:
            return loss
        with torch.no_grad():  # a plain forward, for `compute_metrics`: the fused head makes no logits
            return loss, model(**inputs, use_cache=False)

    @contextmanager
    def _reference(self) -> Iterator[PreTrainedModel]:
        """The reference as TRL has it: the given model, else the policy with its adapter off or at its first copy."""
        policy = cast("PreTrainedModel", self.model)
        settings = cast("dict[str, object] | None", self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), disable_gradient_checkpointing(policy, settings):
            if self.ref_model is not None:
                yield self.ref_model
                return
            unwrapped = self.accelerator.unwrap_model(policy)
            with use_adapter(unwrapped, adapter_name="ref" if "ref" in unwrapped.peft_config else None):
                yield policy

    def _log_means(self, values: Mapping[str, Tensor], row_mask: Tensor) -> None:
        """Log the means over the rows of `row_mask`, over all processes."""
        mode = "train" if cast("PreTrainedModel", self.model).training else "eval"
        weights = self.accelerator.gather(row_mask)
        for name, value in values.items():
            gathered = self.accelerator.gather(value.detach())
            if weights.sum() > 0:
                self._metrics[mode][name].append(((gathered * weights).sum() / weights.sum()).item())


@dataclass(frozen=True)
class _Layout:
    """The order of the `count` sequences of a batch: [c|I+, (c|I-,) r|I+, (r|I-)], chosen c and rejected r."""

    count: int
    with_negatives: bool

    def _parts(self, tensor: Tensor) -> tuple[Tensor, ...]:
        return tensor.chunk(4 if self.with_negatives else 2)

    def text(self, tensor: Tensor) -> Tensor:
        """The sequences of TRL's own loss: [c|I+, r|I+]."""
        parts = self._parts(tensor)
        return torch.cat([parts[0], parts[2]]) if self.with_negatives else tensor

    def chosen(self, tensor: Tensor) -> Tensor:
        return self._parts(tensor)[0]

    def chosen_negative(self, tensor: Tensor) -> Tensor:
        """The batch part c|I-; without negatives that of c|I+, which the mask excludes."""
        return self._parts(tensor)[1 if self.with_negatives else 0]

    def text_outputs(self, outputs: Outputs, weights: Tensor | None) -> Outputs:
        """The model's outputs for those sequences, log-probabilities weighted."""
        log_probs = outputs.log_probs
        if weights is not None:
            log_probs = log_probs * weights[:, -log_probs.size(1) :].to(log_probs)
        values = {field.name: getattr(outputs, field.name) for field in fields(outputs)} | {"log_probs": log_probs}
        per_sequence = {
            name: self.text(value)
            for name, value in values.items()
            if getattr(value, "ndim", 0) and len(value) == self.count
        }
        return replace(outputs, **per_sequence)


@dataclass(frozen=True)
class _Computed:
    """Takes the place of a model that TRL calls: returns outputs that were computed before."""

    outputs: Any

    def __call__(self, **inputs: Tensor) -> Any:
        return self.outputs
