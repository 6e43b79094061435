"""Optimise the sandbox models: AdamW, warm-up, cosine schedule, float32, a logged loss curve."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

Facts: TypeAlias = dict[str, Any]
"""Facts of a run, for its model card: anything that JSON can hold."""

Loss: TypeAlias = Callable[[np.ndarray], tuple[Tensor, dict[str, float]]]
"""Function: indices of a batch -> its loss, and the parts of the loss to log."""


def shuffled(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of sorted indices, each epoch a new permutation."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for at in range(0, count - batch + 1, batch):
            yield np.sort(order[at : at + batch])


def fit(
    groups: list[dict[str, Any]],
    loss_of: Loss,
    batches: Iterator[np.ndarray],
    *,
    steps: int,
    log: Path,
    warmup: int = 100,
    weight_decay: float = 0.02,
    every: int = 50,
    checkpoint: Callable[[int], None] | None = None,
) -> Facts:
    """Minimise a loss.

    Args:
        groups: AdamW parameter groups, each with its peak `lr`.
        loss_of: the loss of a batch.
        batches: batches of indices.
        steps: number of steps.
        log: file for the loss curve: the mean of every part over `every` steps, as one JSON line.
        warmup: steps until the learning rate reaches its peak.
        weight_decay: weight decay of groups without their own.
        every: steps per line of `log`.
        checkpoint: called every 500 steps with the number of the step.

    Returns:
        Steps, seconds and the last line of the log.
    """
    for group in groups:
        group["peak"] = group["lr"]
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True)
    parameters = [p for group in groups for p in group["params"]]
    started, recent, line = time.time(), [], {}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        for step in range(1, steps + 1):
            share = (step - 1) / steps
            for group in optimizer.param_groups:
                cosine = 0.5 * (1 + math.cos(math.pi * share)) * 0.97 + 0.03
                group["lr"] = group["peak"] * min(1.0, step / warmup) * cosine
            loss, parts = loss_of(next(batches))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            recent.append(parts)
            if step % every == 0 or step == steps:
                means = {key: round(float(np.mean([r[key] for r in recent if key in r])), 4) for key in parts}
                line = {"step": step, "seconds": round(time.time() - started), **means}
                out.write(json.dumps(line) + "\n")
                out.flush()
                recent = []
            if checkpoint is not None and step % 500 == 0:
                checkpoint(step)
    return {"steps": steps, "seconds": round(time.time() - started), "last": line}


def fit_model(
    name: str,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    loss_of: Loss,
    batches: Iterator[np.ndarray],
    *,
    slow: Sequence[torch.nn.Parameter],
    rate: float,
    steps: int,
    out: Path,
    **facts: object,
) -> Facts:
    """Train a model with its pretrained part at a lower rate, and save it, its loss curve and its facts under `out`.

    Args:
        name: name of the stage; the model's folder is `out`/`name`.
        model, processor: the model to train, and the processor that is saved with it.
        loss_of, batches, steps: see `fit`.
        slow: parameters that are trained at 3e-4; they may belong to another module.
        rate: peak learning rate of the model's other parameters.
        out: working folder.
        facts: further facts of the run.
    """

    def save(_step: int = 0) -> None:
        model.save_pretrained(out / name)
        processor.save_pretrained(out / name)

    ids = {id(p) for p in slow}
    groups = [
        {"params": list(slow), "lr": 3e-4},
        {"params": [p for p in model.parameters() if id(p) not in ids], "lr": rate},
    ]
    model.train()
    log = out / f"{name}.log.jsonl"
    facts = fit(groups, loss_of, batches, steps=steps, log=log, warmup=60, checkpoint=save) | facts
    model.eval()
    save()
    (out / f"{name}.facts.json").write_text(json.dumps(facts))
    return facts
