"""Fine-tune on such rows with TRL and PEFT: LoRA on the language model, everything else frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halluguard.errors import InputError, SettingsError, UnsupportedModelError, require
from halluguard.tuning.rows import InstructionRow

LANGUAGE_MODEL_ONLY = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Which linear layers get LoRA: a list of bare names would also match the vision tower."""


def fine_tune(
    model: Any,
    processor: Any,
    rows: Sequence[InstructionRow],
    out: str | Path,
    *,
    rank: int = 16,
    learning_rate: float = 2e-4,
    epochs: float = 1.0,
    batch_size: int = 16,
    seed: int = 0,
    target_modules: str = LANGUAGE_MODEL_ONLY,
    device: str | None = None,
) -> dict[str, Any]:
    """Train a LoRA adapter on `rows` with TRL's `SFTTrainer` and save it (safetensors) in `out`.

    Args:
        model: an image-text-to-text model; its own weights are not changed, the adapter is left on it.
        processor: its processor, with a chat template.
        rows: training examples; only completions are learnt.
        rank: of LoRA, with alpha = 2 * rank and dropout 0.05.
        learning_rate: peak, cosine schedule, 5 % warm-up.
        epochs, batch_size, seed: as usual.
        target_modules: regular expression over module names, matched in full.
        device: "cpu" keeps the training off a GPU that is there.

    Returns:
        rows, steps, seconds, trainable parameters, first and last logged loss.

    Raises:
        MissingExtraError: TRL or PEFT is missing. InputError: no rows. UnsupportedModelError: no layer matches, or
        the processor has no chat template.
    """
    trl = require("trl", extra="train", feature="fine-tuning")
    peft = require("peft", extra="train", feature="fine-tuning")
    datasets = require("datasets", extra="train", feature="fine-tuning")
    if not rows:
        raise InputError("expected training rows, got none; build some with halluguard.tuning.negatives")
    if rank < 1 or learning_rate <= 0 or epochs <= 0:
        raise SettingsError(f"rank, learning_rate and epochs must be positive, got {rank}, {learning_rate}, {epochs}")
    if getattr(processor, "chat_template", None) is None:
        raise UnsupportedModelError(
            f"expected a processor with a chat template, got {type(processor).__name__} without one; set chat_template"
        )
    lora = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=target_modules, task_type="CAUSAL_LM"
    )
    settings = trl.SFTConfig(
        output_dir=str(Path(out) / "checkpoints"),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_length=None,  # a limit would cut image tokens or, silently, the completion
        logging_steps=10,
        logging_first_step=True,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=device == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,  # the transform makes them
        disable_tqdm=True,
    )
    data = datasets.Dataset.from_list([{"row": i} for i in range(len(rows))])
    data.set_transform(lambda batch: _columns([rows[i].to_conversation() for i in batch["row"]]))
    try:
        trainer = trl.SFTTrainer(
            model=model, args=settings, train_dataset=data, processing_class=processor, peft_config=lora
        )
    except ValueError as error:
        raise UnsupportedModelError(
            f"no layer of {type(model).__name__} could take LoRA at {target_modules!r} ({error}); "
            "pass target_modules that match its linear layers"
        ) from error
    result = trainer.train()
    trainer.model.save_pretrained(str(out), safe_serialization=True)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "seconds": round(result.metrics["train_runtime"]),
        "trainable parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "first loss": losses[0] if losses else None,
        "last loss": losses[-1] if losses else None,
    }


def _columns(conversations: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in conversations] for key in conversations[0]}
