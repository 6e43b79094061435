"""Fine-tune on rows with TRL and PEFT: LoRA on the language model, everything else frozen. The rows decide the trainer.

InstructionRow   TRL's `SFTTrainer`, completions only
PreferenceRow    `NegativePreferenceTrainer`: TRL's DPO with negative images and an anchor
RatedRow         TRL's `KTOTrainer`
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from halluguard.errors import (
    HalluguardError,
    InputError,
    MissingExtraError,
    SettingsError,
    UnsupportedModelError,
    first_line,
    require,
)
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, TrainingRow, as_dataset

if TYPE_CHECKING:  # the rows need no model library, and peft is an extra
    from peft import LoraConfig
    from transformers import PreTrainedModel, ProcessorMixin, Trainer, TrainerCallback

LANGUAGE_MODEL_ONLY = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The linear layers that get LoRA, as one pattern: a list of bare names would also match the vision tower."""

LEARNING_RATES: dict[type[TrainingRow], float] = {InstructionRow: 2e-4, PreferenceRow: 1e-5, RatedRow: 1e-5}
"""Peaks for LoRA on a model of some billion parameters; mDPO and RLAIF-V use 1e-5 for preferences."""

MOST = 100_000
"""Most epochs of a training, and the largest rank, batch, number of accumulated batches, and learning rate."""

LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
"""TRL's loss types."""

Facts: TypeAlias = dict[str, int | float | None]
"""Facts of a training run: rows, steps, seconds, trainable parameters, first and last logged loss."""


@dataclass(frozen=True)
class PreferenceLoss:
    """The loss on preference rows: sum of weights * TRL's losses + visual_weight * visual + anchor_weight * anchor.

    Args:
        beta: strength of the tie to the reference, > 0.
        visual_weight, anchor_weight, anchor_delta, gamma: see `NegativePreferenceTrainer`.
        losses: TRL's loss types, mixed by `loss_weights`; ("sigmoid", "sft") also keeps the chosen answers likely.
        loss_weights: one weight for each of `losses`; None weights them 1.

    Raises:
        SettingsError: beta is not positive, or there are more or fewer weights than losses.
    """

    beta: float = 0.1
    visual_weight: float = 1.0
    anchor_weight: float = 1.0
    anchor_delta: float = 0.0
    gamma: float = 1.0
    losses: tuple[str, ...] = ("sigmoid",)
    loss_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise SettingsError(f"beta must be > 0, got {self.beta}; TRL's default is 0.1")
        unknown = [name for name in self.losses if name not in LOSSES]
        if unknown or not self.losses:
            raise SettingsError(f"losses must be some of {', '.join(LOSSES)}, got {unknown or 'none'}; correct them")
        if self.loss_weights is not None and len(self.loss_weights) != len(self.losses):
            raise SettingsError(
                f"expected one weight for each loss, got {self.loss_weights} for {self.losses}; give one each"
            )


def fine_tune(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    rows: Sequence[TrainingRow],
    out: str | Path,
    *,
    preference: PreferenceLoss | None = None,
    rank: int = 16,
    target_modules: str = LANGUAGE_MODEL_ONLY,
    learning_rate: float | None = None,
    epochs: float = 1.0,
    batch_size: int = 16,
    accumulate: int = 1,
    seed: int = 0,
    device: str | None = None,
    bf16: bool = False,
    checkpointing: bool = False,
    save_every: int | None = None,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    report_to: Sequence[str] = (),
    check: bool = True,
    progress: bool = False,
) -> Facts:
    """Train a LoRA adapter on `rows` and save it (safetensors) in `out`.

    Args:
        model: an image-text-to-text model; its own weights are not changed, the adapter is left on it. A model loaded
            in 4 bits gives QLoRA.
        processor: its processor, with a chat template.
        rows: training rows of one class, which decides the trainer.
        out: folder for the adapter. One that stands there already is kept under `previous/` until the new one is whole.
        preference: the loss on preference rows.
        rank: LoRA rank; alpha is 2 * rank, dropout 0.05.
        target_modules: regular expression over module names, matched in full.
        learning_rate: peak of a cosine schedule with 5 % warm-up; by default that of `LEARNING_RATES`.
        epochs: passes over the rows; may be a fraction.
        batch_size: rows per step and process.
        accumulate: batches summed to one step.
        seed: seed of the order of rows, of dropout and of the adapter's start.
        device: "cpu" keeps the training off a GPU that is there.
        bf16: whether to use bfloat16 arithmetic, on a GPU that has it.
        checkpointing: whether to recompute activations instead of keeping them: a third more time, a fraction of the
            memory.
        save_every: steps between the checkpoints in `out`/checkpoints; by default none is kept.
        resume: whether to continue from the newest whole checkpoint, to the weights an uninterrupted run would have.
            Rows, model and settings must be those of the checkpoint.
        callbacks: callbacks of transformers, such as `evaluation.Evaluation`.
        report_to: trackers of transformers that get the logged values, such as ("tensorboard",) or ("wandb",). Each
            is a package of its own.
        check: whether to look for silent failure first, see `preflight`.
        progress: whether to show a bar.

    Returns:
        The facts of the run.

    Raises:
        MissingExtraError: TRL, PEFT or the package of a tracker is missing. SettingsError: a number is out of range, or
        a tracker is not known. InputError: no rows, rows of several classes, a text that holds an image token, no
        whole checkpoint of this training to resume. UnsupportedModelError: no layer matches, or the processor has no
        chat template. PreflightError: the training would have failed silently. TrainingError: the loss or the weights
        are no longer finite; no adapter is written. OutputError: the disk is full.

    Under `accelerate launch` every process calls this with the same rows; the first one saves.
    """
    require("peft", feature="fine-tuning")
    from halluguard.tuning.checked import require_finite
    from halluguard.tuning.preflight import preflight
    from halluguard.tuning.resuming import WholeCheckpoints, disk_errors, identity_of, newest_whole

    if not rows:
        raise InputError("expected training rows, got none; build some with halluguard.tuning")
    positive = {"rank": rank, "epochs": epochs, "batch_size": batch_size, "accumulate": accumulate}
    positive["learning_rate"] = LEARNING_RATES[type(rows[0])] if learning_rate is None else learning_rate
    wrong = [f"{name} {value}" for name, value in positive.items() if not 0 < value <= MOST]
    if save_every is not None and not 0 < save_every < math.inf:
        wrong.append(f"save_every {save_every}")
    if wrong:
        raise SettingsError(f"these must be positive and at most {MOST:,}: {', '.join(wrong)}; correct them")
    check_trackers(report_to)
    require_chat_template(processor)
    refuse_image_tokens(processor, rows)
    folder = Path(out)
    checkpoints = folder / "checkpoints"
    preference = preference or PreferenceLoss()
    settings = {**positive, "seed": seed, "target_modules": target_modules, "preference": preference}
    identity = identity_of(model, rows, {name: value for name, value in settings.items() if name != "save_every"})
    start = newest_whole(checkpoints, identity) if resume else None
    arguments = {
        **training_arguments(
            checkpoints,
            learning_rate=positive["learning_rate"],
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            device=device,
            bf16=bf16,
        ),
        "gradient_accumulation_steps": accumulate,
        "save_strategy": "steps" if save_every else "no",
        "save_steps": save_every or 500,
        "gradient_checkpointing": checkpointing,
        "disable_tqdm": not progress,
        "report_to": list(report_to),
    }
    lora = lora_config(rank, target_modules)
    with disk_errors(folder):
        watchers = [*callbacks, WholeCheckpoints(identity)]
        trainer = _trainer(
            model, processor, rows, preference=preference, arguments=arguments, lora=lora, callbacks=watchers
        )
        if check:
            preflight(trainer)
        if trainer.accelerator.is_main_process:
            move_adapter(folder, folder / PREVIOUS)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
        require_finite(cast("PreTrainedModel", trainer.model))
        save_adapter(trainer, folder)
    restore_forward(trainer)
    return training_facts(trainer, len(rows))


def refuse_image_tokens(processor: ProcessorMixin, rows: Sequence[TrainingRow]) -> None:
    """Raises InputError where a text of a row holds the token that stands for an image."""
    token = getattr(processor, "image_token", None) or "<image>"
    for number, row in enumerate(rows):
        texts = {name: getattr(row, name) for name in ("prompt", *row.answer_fields())}
        texts["history"] = "\n".join(text for exchange in row.history for text in exchange)
        holding = [name for name, text in texts.items() if token in text]
        if holding:
            raise InputError(
                f"row {number}: the {holding[0]} holds {token!r}, which stands for an image; remove it from the text, "
                "and give images in the row"
            )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse names of trackers that transformers does not know, or whose packages are not installed.

    Raises:
        SettingsError: transformers does not know a tracker.
        MissingExtraError: its package is not installed.
    """
    from transformers.integrations import integration_utils

    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    for name in names:
        if name not in known:
            raise SettingsError(f"expected trackers among {', '.join(known)}, got {name!r}; choose some or none")
        if name not in integration_utils.get_available_reporting_integrations():
            raise MissingExtraError(
                f"reporting to {name} needs its package, which is not installed; install it with: pip install "
                f"{name.replace('_', '-')}"
            )


def require_chat_template(processor: ProcessorMixin) -> None:
    """Raises UnsupportedModelError where the processor has no chat template."""
    if getattr(processor, "chat_template", None) is None:
        raise UnsupportedModelError(
            f"expected a processor with a chat template, got {type(processor).__name__} without one; set chat_template"
        )


def training_arguments(
    output: Path, *, learning_rate: float, epochs: float, batch_size: int, seed: int, device: str | None, bf16: bool
) -> dict[str, Any]:
    """Arguments of TRL's configurations that every training here shares."""
    return {
        "output_dir": str(output),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "max_length": None,  # a limit would cut image tokens or, silently, the completion
        "logging_steps": 10,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "seed": seed,
        "use_cpu": device == "cpu",
        "bf16": bf16,
        "gradient_checkpointing": False,
        "remove_unused_columns": False,  # the columns are made on access
        "disable_tqdm": True,
    }


def training_facts(trainer: Trainer, rows: int) -> Facts:
    """Facts of a finished run."""
    log, model = trainer.state.log_history, cast("PreTrainedModel", trainer.model)
    losses = [entry["loss"] for entry in log if "loss" in entry]
    return {
        "rows": rows,
        "steps": trainer.state.global_step,
        "seconds": round(next(entry["train_runtime"] for entry in reversed(log) if "train_runtime" in entry)),
        "trainable parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "first loss": losses[0] if losses else None,
        "last loss": losses[-1] if losses else None,
    }


def lora_config(rank: int = 16, target_modules: str = LANGUAGE_MODEL_ONLY) -> LoraConfig:
    """LoRA on the language model: alpha = 2 * rank, dropout 0.05."""
    peft = require("peft", feature="fine-tuning")
    return peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=target_modules, task_type="CAUSAL_LM"
    )


def _trainer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    rows: Sequence[TrainingRow],
    *,
    preference: PreferenceLoss,
    arguments: dict[str, Any],
    lora: LoraConfig,
    callbacks: list[TrainerCallback],
) -> Trainer:
    """The trainer for rows of this class."""
    trl = require("trl", extra="train", feature="fine-tuning")
    from halluguard.tuning.checked import CheckedKTOTrainer, CheckedSFTTrainer

    shared = {
        "model": model,
        "train_dataset": as_dataset(rows),
        "processing_class": processor,
        "peft_config": lora,
        "callbacks": callbacks,
    }
    try:
        if isinstance(rows[0], InstructionRow):
            return CheckedSFTTrainer(args=trl.SFTConfig(**arguments), **shared)
        if isinstance(rows[0], RatedRow):
            return CheckedKTOTrainer(args=trl.KTOConfig(beta=preference.beta, **arguments), **shared)
        from halluguard.tuning.preference_trainer import NegativePreferenceTrainer

        weights = preference.loss_weights
        args = trl.DPOConfig(
            beta=preference.beta,
            loss_type=list(preference.losses),
            loss_weights=None if weights is None else list(weights),
            **arguments,
        )
        return NegativePreferenceTrainer(
            args=args,
            visual_weight=preference.visual_weight,
            anchor_weight=preference.anchor_weight,
            anchor_delta=preference.anchor_delta,
            gamma=preference.gamma,
            **shared,
        )
    except ValueError as error:
        if isinstance(error, HalluguardError):
            raise
        if "target modules" not in str(error).lower():
            raise SettingsError(f"TRL refuses these settings: {first_line(error)}; correct them") from error
        raise UnsupportedModelError(
            f"no layer of {type(model).__name__} could take LoRA at {lora.target_modules!r} ({error}); "
            "pass target_modules that match its linear layers"
        ) from error


PREVIOUS = "previous"
"""Folder that keeps the earlier adapter until the new one beside it is complete."""
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def move_adapter(folder: Path, target: Path) -> None:
    """Move an earlier adapter away, so that nobody takes it for the new one if the training fails."""
    files = [folder / name for name in _ADAPTER_FILES if (folder / name).exists()]
    if files:
        target.mkdir(exist_ok=True)
        for file in files:
            file.replace(target / file.name)


def save_adapter(trainer: Trainer, folder: Path) -> None:
    """Write the trained adapter, by the first process only; a frozen copy that served as reference is left out.

    Each file appears whole or not at all, the weights before the configuration that names them.
    """
    if trainer.accelerator.is_main_process:
        model = trainer.accelerator.unwrap_model(trainer.model)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adapter-", dir=folder) as name:
            model.save_pretrained(name, safe_serialization=True, selected_adapters=["default"])
            for file in sorted(Path(name).iterdir(), key=lambda file: file.suffix == ".json"):
                file.replace(folder / file.name)
        for former in _ADAPTER_FILES:
            (folder / PREVIOUS / former).unlink(missing_ok=True)
        with suppress(OSError):  # it may hold files of the user's own
            (folder / PREVIOUS).rmdir()
    trainer.accelerator.wait_for_everyone()


def restore_forward(trainer: Trainer) -> None:
    """Undo TRL's replacement of the model's forward, which in a deep copy would run the original's weights."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with suppress(KeyError):
        del base.__dict__["forward"]
