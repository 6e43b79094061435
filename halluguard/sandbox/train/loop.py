"""The one optimisation loop of the sandbox: AdamW, warm-up, cosine, float32, a logged loss curve."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch


def shuffled(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of sorted indices, each epoch a new permutation."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for at in range(0, count - batch + 1, batch):
            yield np.sort(order[at : at + batch])


def fit(
    groups: list[dict[str, Any]],
    loss_of: Callable[[np.ndarray], tuple[torch.Tensor, dict[str, float]]],
    batches: Iterator[np.ndarray],
    *,
    steps: int,
    log: Path,
    warmup: int = 100,
    weight_decay: float = 0.02,
    every: int = 50,
    checkpoint: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Minimise `loss_of(batch) -> (loss, parts to log)` for `steps` steps.

    `groups` are AdamW parameter groups, each with its peak `lr`. The mean of every logged part over `every`
    steps goes to `log` as one JSON line. Returns steps, seconds and the last logged line.
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
