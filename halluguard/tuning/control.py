"""Train the knob: a controller on the final norm, from captions of one picture told grounded and told freely.

    L = - sum over rows log p(completion | image, prompt; epsilon),    epsilon -1 grounded, +1 imaginative

Everything but the controller is frozen, so at epsilon 0 the model is the base, bit for bit. Zhai et al. 2023,
HallE-Control, arXiv 2310.01779; there the matrix starts at random and perturbs the model before it is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halluguard.errors import InputError, SettingsError, UnsupportedModelError, require
from halluguard.tuning.rows import InstructionRow, PreferenceRow, as_dataset

trl = require("trl", extra="train", feature="training a controller")


class ControlSFT(trl.SFTTrainer):  # type: ignore[name-defined]
    """TRL's `SFTTrainer` that trains a controller alone, each row at its own epsilon.

    Args:
        model: an image-text-to-text model; its weights are frozen while this trains.
        controller: a `halluguard.controller.Controller` made for it.
        train_dataset: rows of `images`, `prompt`, `completion`, `epsilon`.
        args, processing_class, **settings: as `trl.SFTTrainer`.

    The controller hangs on the final norm, which TRL's fused head reads; a hook on `lm_head` would be passed over.
    It is a part of the model while training, so that the optimizer and checkpoints have it.
    """

    def __init__(self, model: Any, controller: Any, args: Any, **settings: Any) -> None:
        if getattr(args, "max_length", None) is not None:
            raise SettingsError(f"max_length must be None, got {args.max_length}: a limit cuts answers silently")
        model.requires_grad_(False)
        controller.requires_grad_(True)
        model.halluguard_controller = controller
        self.controller, self._epsilon = controller, 0.0
        super().__init__(model, args=args, **settings)
        self.data_collator: Any = _WithEpsilon(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns
        self._signature_columns: Any = [name for name in columns if name != "epsilon"] + ["epsilon"]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        epsilon = inputs.pop("epsilon")
        with self.controller.attached(self.accelerator.unwrap_model(model), epsilon):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class _WithEpsilon:
    """A collator that carries the rows' epsilons past TRL's own."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        rows = [dict(example) for example in examples]
        epsilon = torch.tensor([float(row.pop("epsilon")) for row in rows])
        return {**self.collator(rows), "epsilon": epsilon}


def control_rows(rows: Iterable[PreferenceRow]) -> list[tuple[InstructionRow, float]]:
    """Two rows of each pair: the chosen caption at epsilon -1, the rejected one at +1."""
    from dataclasses import replace

    found: list[tuple[InstructionRow, float]] = []
    for row in rows:
        grounded = row.to_instruction()
        found += [(grounded, -1.0), (replace(grounded, completion=row.rejected), 1.0)]
    return found


def train_controller(
    model: Any,
    processor: Any,
    rows: Sequence[tuple[InstructionRow, float]],
    out: str | Path,
    *,
    controller: Any,
    learning_rate: float = 1e-3,
    epochs: float = 1.0,
    batch_size: int = 16,
    seed: int = 0,
    device: str | None = None,
    bf16: bool = False,
    check: bool = True,
) -> dict[str, Any]:
    """Train `controller` on captions with their epsilons and write it to `out`, one safetensors file.

    Args:
        model, processor: an image-text-to-text model; it is as before when this returns.
        rows: (row, epsilon), epsilon in [-1, 1]; see `control_rows`.
        controller: `halluguard.controller.Controller.of(model)`.
        learning_rate, epochs, batch_size, seed, device, bf16, check: as `trainers.fine_tune`.

    Returns:
        rows, steps, seconds, trainable parameters, first and last logged loss.

    Raises:
        InputError: no rows, or all at one epsilon, from which no direction can be learnt. UnsupportedModelError: the
        controller was made for another model.
    """
    from halluguard.tuning.preflight import preflight

    settings = sorted({epsilon for _, epsilon in rows})
    if len(settings) < 2:
        raise InputError(f"expected rows at two or more epsilons, got {settings or 'no rows'}; see control_rows")
    if getattr(processor, "chat_template", None) is None:
        raise UnsupportedModelError("expected a processor with a chat template, got one without; set chat_template")
    args = trl.SFTConfig(
        output_dir=str(Path(out).with_suffix("")),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_length=None,
        logging_steps=10,
        logging_first_step=True,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=device == "cpu",
        bf16=bf16,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    with _kept(model):
        data = _with_epsilons(as_dataset([row for row, _ in rows]), [epsilon for _, epsilon in rows])
        trainer = ControlSFT(model, controller, args, train_dataset=data, processing_class=processor)
        if check:
            preflight(trainer)
        result = trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        facts = {
            "rows": len(rows),
            "steps": trainer.state.global_step,
            "seconds": round(result.metrics["train_runtime"]),
            "trainable parameters": sum(p.numel() for p in controller.parameters()),
            "first loss": losses[0],
            "last loss": losses[-1],
        }
        if trainer.accelerator.is_main_process:
            controller.trained = {**facts, "seed": seed, "learning_rate": learning_rate, "epsilons": settings}
            controller.save(out)
    return facts


def _with_epsilons(data: Any, epsilons: Sequence[float]) -> Any:
    inner = data.format["format_kwargs"]["transform"]

    def transform(batch: dict[str, Any]) -> dict[str, Any]:
        return {**inner(batch), "epsilon": [epsilons[number] for number in batch["row"]]}

    return data.with_transform(transform)


@contextmanager
def _kept(model: Any) -> Iterator[None]:
    """The model comes out as it went in: what is trained in it, its mode, its forward, and no controller inside."""
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    training = model.training
    try:
        yield
    finally:
        for parameter, wanted in trained:
            parameter.requires_grad_(wanted)
        model._modules.pop("halluguard_controller", None)
        model.__dict__.pop("forward", None)
        model.train(training)
