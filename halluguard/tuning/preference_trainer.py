"""TRL's `DPOTrainer` with the terms hallucination needs: negative pictures, an anchor, weights of changed tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from halluguard.errors import SettingsError, require
from halluguard.tuning.losses import anchor_term, visual_term

trl = require("trl", extra="train", feature="preference training")

OURS = ("negative_images", "seed")
"""Columns of a preference row that TRL does not know."""


class NegativePreferenceTrainer(trl.DPOTrainer):  # type: ignore[name-defined]
    """Preference training that also prefers the right picture:  TRL's loss + w_v visual + w_a anchor.

    TRL's part is TRL's code: every `loss_type` and mix of them, `ld_alpha`, `f_divergence_type`, `use_weighting`.
    It is given log-probabilities that were computed once for all terms. With both weights and gamma at their neutral
    values the loss and the gradients are TRL's.

    Args:
        model: an image-text-to-text model, or a PEFT model.
        args: `trl.DPOConfig`; `max_length` must be None, since a limit cuts the answers of long prompts silently.
        train_dataset: rows of `images`, `prompt`, `chosen`, `rejected`, and if wanted `negative_images`, `seed`.
        visual_weight, anchor_weight: w_v and w_a, >= 0; mDPO's are 1 and 1.
        anchor_delta: delta of the anchor; mDPO's code has 0.
        gamma: DDPO's weight of changed tokens in TRL's part, > 0; 1 is off.
        draw: (pictures, seed) -> negative pictures, for rows without `negative_images`.
        processing_class, ref_model, peft_config, **settings: as `trl.DPOTrainer`. Without `peft_config`, give a
            `ref_model`: TRL would otherwise load one anew from disk, whatever was changed in memory since.

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
        model: Any,
        args: Any = None,
        *,
        processing_class: Any,
        visual_weight: float = 1.0,
        anchor_weight: float = 1.0,
        anchor_delta: float = 0.0,
        gamma: float = 1.0,
        draw: Any = None,
        data_collator: Any = None,
        **settings: Any,
    ) -> None:
        from halluguard.tuning.collating import NegativeImageCollator

        if visual_weight < 0 or anchor_weight < 0:
            raise SettingsError(
                f"visual_weight and anchor_weight must be >= 0, got {visual_weight} and {anchor_weight}; 0 is off"
            )
        if not gamma > 0:
            raise SettingsError(f"gamma must be > 0, got {gamma}; 1 weights all tokens alike")
        if args is not None and args.max_length is not None:
            raise SettingsError(
                f"max_length must be None, got {args.max_length}: a limit cuts the pictures' tokens or, silently, the "
                "whole answer; leave long rows out of the data instead"
            )
        if args is not None and args.use_weighting and gamma != 1:
            raise SettingsError("gamma changes the log-probabilities that use_weighting reads; use one of the two")
        self.visual_weight, self.anchor_weight, self.anchor_delta = visual_weight, anchor_weight, anchor_delta
        if data_collator is None:
            data_collator = NegativeImageCollator(processing_class, negatives=visual_weight > 0, draw=draw, gamma=gamma)
        args = trl.DPOConfig(max_length=None) if args is None else args
        super().__init__(model, args=args, processing_class=processing_class, data_collator=data_collator, **settings)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in OURS if name not in self._signature_columns]

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        weights, visual_mask = inputs.pop("token_weights", None), inputs.pop("visual_mask", None)
        mask = inputs.pop("completion_mask")
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        rows = _Rows(len(labels), with_negatives=visual_mask is not None)
        call = {**inputs, "labels": labels, "fused_lm_head": True, "use_cache": False}
        policy = model(**call)
        with self._reference() as reference:
            frozen = reference(**{name: value for name, value in call.items() if name != "output_router_logits"})

        text = {name: rows.text(inputs[name]) for name in ("input_ids", "attention_mask")}
        text["completion_mask"] = rows.text(mask)
        given = [_Given(rows.text_of(outputs, weights)) for outputs in (policy, frozen)]
        # Frozen log-probabilities go in where TRL takes those of a precomputed reference.
        text["ref_chosen_logps"], text["ref_rejected_logps"] = self.compute_ref_log_probs(given[1], text)
        self.precompute_ref_logps = True
        try:
            loss = super()._compute_loss(given[0], text, return_outputs=False)
        finally:
            self.precompute_ref_logps = False

        length = labels.size(1) - 1
        log_probs, frozen_log_probs = (outputs.log_probs[:, -length:].sum(1) for outputs in (policy, frozen))
        ratios = log_probs - frozen_log_probs
        chosen, negative = rows.chosen(ratios), rows.chosen_negative(ratios)
        seen = chosen.new_zeros(len(chosen)) if visual_mask is None else visual_mask.to(chosen)
        visual = visual_term(chosen, negative, self.beta) * seen
        anchor = anchor_term(chosen, self.beta, self.anchor_delta)
        if self.visual_weight:
            loss = loss + self.visual_weight * visual.mean()
        if self.anchor_weight:
            loss = loss + self.anchor_weight * anchor.mean()
        tokens = rows.chosen(mask[:, 1:].sum(1)).clamp(min=1)
        said, said_negative = rows.chosen(log_probs), rows.chosen_negative(log_probs)
        every = {"loss/anchor": anchor, "logps/chosen_per_token": said / tokens}
        paired = {"loss/visual": visual, "visual_gap": said - said_negative}
        self._note(every, chosen.new_ones(len(chosen)))
        self._note({**paired, "rewards/visual_accuracies": (chosen > negative).to(chosen)}, seen)
        return (loss, self._logits(model, inputs)) if return_outputs else loss

    @contextmanager
    def _reference(self) -> Iterator[Any]:
        """The reference as TRL has it: the given model, else the policy with its adapter off or at its first copy."""
        import torch
        from trl.models.utils import disable_gradient_checkpointing
        from trl.trainer.utils import use_adapter

        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            if self.ref_model is not None:
                yield self.ref_model
                return
            bare = self.accelerator.unwrap_model(self.model)
            with use_adapter(bare, adapter_name="ref" if "ref" in bare.peft_config else None):
                yield self.model

    def _note(self, values: Mapping[str, Any], seen: Any) -> None:
        """Log the means over the rows that are `seen`, over all processes."""
        mode = "train" if self.model.training else "eval"
        weights = self.accelerator.gather(seen)
        for name, value in values.items():
            gathered = self.accelerator.gather(value.detach())
            if weights.sum() > 0:
                self._metrics[mode][name].append(((gathered * weights).sum() / weights.sum()).item())

    def _logits(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """A plain forward, for `compute_metrics`: the fused head makes no logits."""
        import torch

        with torch.no_grad():
            return model(**inputs, use_cache=False)


@dataclass(frozen=True)
class _Rows:
    """Where things are in a batch of `count` rows: [c|I+, (c|I-,) r|I+, (r|I-)]."""

    count: int
    with_negatives: bool

    def _parts(self, tensor: Any) -> tuple[Any, ...]:
        return tensor.chunk(4 if self.with_negatives else 2)

    def text(self, tensor: Any) -> Any:
        """The rows TRL's own loss is about: [c|I+, r|I+]."""
        import torch

        parts = self._parts(tensor)
        return torch.cat([parts[0], parts[2]]) if self.with_negatives else tensor

    def chosen(self, tensor: Any) -> Any:
        return self._parts(tensor)[0]

    def chosen_negative(self, tensor: Any) -> Any:
        """c|I-; without negatives c|I+ again, which the mask keeps out."""
        return self._parts(tensor)[1 if self.with_negatives else 0]

    def text_of(self, outputs: Any, weights: Any) -> Any:
        """The model's outputs of those rows, log-probabilities weighted."""
        log_probs = outputs.log_probs
        if weights is not None:
            log_probs = log_probs * weights[:, -log_probs.size(1) :].to(log_probs)
        found = replace(outputs, log_probs=log_probs)
        per_row = {
            field.name: self.text(getattr(found, field.name))
            for field in fields(found)
            if getattr(getattr(found, field.name), "ndim", 0) and len(getattr(found, field.name)) == self.count
        }
        return replace(found, **per_row)


@dataclass(frozen=True)
class _Given:
    """Stands where TRL calls a model: returns outputs that are already there."""

    outputs: Any

    def __call__(self, **inputs: Any) -> Any:
        return self.outputs
