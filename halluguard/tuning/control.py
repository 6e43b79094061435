"""Train a controller of the imagination setting from captions of the same image, grounded and imaginative.

    L = - sum over rows log p(completion | image, prompt; epsilon),    epsilon -1 grounded, +1 imaginative

Everything but the controller is frozen, so at epsilon 0 the model is the base, bit for bit. Zhai et al. 2023,
HallE-Control, arXiv 2310.01779; there the matrix starts at random and perturbs the model before it is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.controller import Controller
from halluguard.errors import InputError, SettingsError, require
from halluguard.tuning.checked import CheckedSFTTrainer, require_finite
from halluguard.tuning.preflight import preflight
from halluguard.tuning.rows import Conversation, InstructionRow, PreferenceRow, as_dataset
from halluguard.tuning.trainers import Facts, require_chat_template, training_arguments, training_facts

require("trl", extra="train", feature="training a controller")
from trl import SFTConfig  # noqa: E402

Batch: TypeAlias = dict[str, torch.Tensor]


class ControlSFT(CheckedSFTTrainer):
    """TRL's `SFTTrainer` that trains a controller alone, each row at its own epsilon.

    Args:
        model: an image-text-to-text model; its weights are frozen while this trains.
        controller: a controller made for it.
        args: `trl.SFTConfig`; `max_length` must be None.
        settings: other arguments of `trl.SFTTrainer`; rows of `train_dataset` have `images`, `prompt`, `completion`,
            `epsilon`.

    The controller is attached to the final norm, which TRL's fused head reads; a hook on `lm_head` would be ignored.
    It is a part of the model while training, so that optimizer and checkpoints include it.
    """

    def __init__(self, model: PreTrainedModel, controller: Controller, args: SFTConfig, **settings: Any) -> None:
        if args.max_length is not None:
            raise SettingsError(
                f"max_length must be None, got {args.max_length}: a limit cuts answers silently; set max_length=None"
            )
        model.requires_grad_(False)
        controller.requires_grad_(True)
        model.halluguard_controller = controller
        self.controller = controller
        super().__init__(model, args=args, **settings)
        self.data_collator = _WithEpsilon(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = cast("list[str]", self._signature_columns)
        columns += ["epsilon"] * ("epsilon" not in columns)

    def compute_loss(self, model: Any, inputs: Batch, *args: Any, **settings: Any) -> Any:
        inputs = dict(inputs)
        epsilon = inputs.pop("epsilon")
        with self.controller.attached(self.accelerator.unwrap_model(model), epsilon):
            return super().compute_loss(model, inputs, *args, **settings)


class _WithEpsilon:
    """A collator that carries the rows' epsilons past TRL's own."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, examples: Sequence[Conversation]) -> Batch:
        rows = [dict(example) for example in examples]
        epsilon = torch.tensor([float(row.pop("epsilon")) for row in rows])
        return {**self.collator(rows), "epsilon": epsilon}


def control_rows(rows: Iterable[PreferenceRow]) -> list[tuple[InstructionRow, float]]:
    """Two rows of each pair: the chosen caption at epsilon -1, the rejected one at +1."""
    pairs = []
    for row in rows:
        grounded = row.to_instruction()
        pairs += [(grounded, -1.0), (replace(grounded, completion=row.rejected), 1.0)]
    return pairs


def train_controller(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    rows: Sequence[tuple[InstructionRow, float]],
    out: str | Path,
    *,
    controller: Controller,
    learning_rate: float = 1e-3,
    epochs: float = 1.0,
    batch_size: int = 16,
    seed: int = 0,
    device: str | None = None,
    bf16: bool = False,
    check: bool = True,
) -> Facts:
    """Train `controller` on captions with their epsilons and write it to `out`, one safetensors file.

    Args:
        model, processor: an image-text-to-text model and its processor; the model is restored afterwards.
        rows: (row, epsilon) pairs, epsilon in [-1, 1]; see `control_rows`.
        out: file for the controller.
        controller: `Controller.of(model)`.
        learning_rate, epochs, batch_size, seed, device, bf16, check: as in `trainers.fine_tune`.

    Returns:
        The facts of the run.

    Raises:
        InputError: no rows, or all at one epsilon, from which no direction can be learnt. UnsupportedModelError: the
        controller was made for another model.
    """
    epsilons = [epsilon for _, epsilon in rows]
    if len(set(epsilons)) < 2:
        raise InputError(f"expected rows at two or more epsilons, got {epsilons[:1] or 'no rows'}; see control_rows")
    require_chat_template(processor)
    output = Path(out).with_suffix("")
    arguments = training_arguments(
        output,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        device=device,
        bf16=bf16,
    )
    args = SFTConfig(**arguments)
    with _restored(model):
        opened = as_dataset([row for row, _ in rows])
        data = opened.with_transform(_AddEpsilons(opened.format["format_kwargs"]["transform"], epsilons))
        trainer = ControlSFT(model, controller, args, train_dataset=data, processing_class=processor)
        if check:
            preflight(trainer)
        trainer.train()
        require_finite(controller)
        facts = training_facts(trainer, len(rows))
        if trainer.accelerator.is_main_process:
            settings = {"seed": seed, "learning_rate": learning_rate, "epsilons": sorted(set(epsilons))}
            controller.trained = {**facts, **settings}
            controller.save(out)
    return facts


class _AddEpsilons:
    """The transform of a data set of rows, with the column `epsilon`."""

    def __init__(self, transform: Any, epsilons: Sequence[float]) -> None:
        self.transform, self.epsilons = transform, epsilons

    def __call__(self, batch: Mapping[str, list[int]]) -> dict[str, list[object]]:
        return {**self.transform(batch), "epsilon": [self.epsilons[number] for number in batch["row"]]}


@contextmanager
def _restored(model: PreTrainedModel) -> Iterator[None]:
    """Restore what the training changes: the trained parameters, the mode, the forward, the attached controller."""
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    training = model.training
    try:
        yield
    finally:
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        model._modules.pop("halluguard_controller", None)
        model.__dict__.pop("forward", None)
        model.train(training)
