"""Distil the imagination setting into a controller, from images without labels.

    min_W  E_{c, e} KL( p_e || softmax(H c + e H W c) ),     p_e ~ p exp(-e T),     e uniform on [-1, 1]

Both branches run along the model's own answers once. W (`halluguard.controller`) learns to read from the head's input c
what the branch without the image would predict, T (`imagination.information`). Afterwards a plain forward suffices. No
label, caption or other model is needed.

Our own proposal. HallE-Control (arXiv 2310.01779) trains the same projector on captions of two kinds; its setting has
the same sign.

    controller = distil(model, batches)                                # batches: inputs as for model.generate
    controller.save("grounded.safetensors")
    Imagination(-0.5, controller=controller).on(model).generate(**inputs)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from halluguard.controller import Controller
from halluguard.decoding.base import Combined, DecodingMethod, Step
from halluguard.decoding.engine.checks import opened
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.imagination import SLACK, Imagination, information
from halluguard.decoding.negative_inputs import ModelInputs, NegativeInputs, generator
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

KEPT = 512
"""Most probable tokens that are kept of a step; the others have almost no probability."""


def distil(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    rank: int | None = 64,
    gain: float = 1.0,
    beta: float = 0.1,
    max_new_tokens: int | None = None,
    steps: int = 2000,
    learning_rate: float = 3e-3,
    positions: int = 512,
    seed: int = 0,
) -> Controller:
    """Fit a controller to `Imagination` with two branches. The model is read, never written.

    Args:
        model: any image-text-to-text model that `Imagination` runs on, with a linear head.
        batches: inputs of prompts with images, as `model.generate` takes them: a few hundred images of the kind that
            the controller will meet. The answers are the model's own, greedy, at -1, 0 and 1 in turn.
        rank: rank of the controller; None for a full matrix.
        gain: lam at imagination 1, as in `Imagination`.
        beta: plausibility bound, as in `Imagination`.
        max_new_tokens: longest answer in tokens, by default the model's own limit.
        steps: AdamW steps.
        learning_rate: peak learning rate of the one-cycle schedule.
        positions: tokens per step.
        seed: seed of the controller's initial weights and of the draws.

    Returns:
        The controller. Its `trained` records the data, and the mean KL in nats after (`divergence`) and before
        (`divergence untrained`).

    Raises:
        InputError: no batches.
        SettingsError: steps or rates out of range.
        UnsupportedModelError: `Imagination` does not run on it, or the logits are not linear in the head's input.
    """
    if steps < 1 or positions < 1 or not learning_rate > 0:
        raise SettingsError(
            f"steps, positions and learning_rate must be positive, got {steps}, {positions}, {learning_rate}; "
            "leave them out for the defaults"
        )
    controller = Controller.of(opened(model), rank, seed=seed)
    seen = observe(model, batches, Imagination(-1.0, gain, beta), controller, max_new_tokens)
    head = opened(model).get_output_embeddings().weight.detach()
    optimizer = torch.optim.AdamW(controller.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    draw = generator(seed)
    controller.train()
    for _ in range(steps):
        loss = divergence(controller, head, seen, draw, positions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    controller.eval()
    with torch.no_grad():
        remaining = divergence(controller, head, seen, generator(seed), 8 * positions).item()
        start = divergence(None, head, seen, generator(seed), 8 * positions).item()
    controller.trained = {
        "how": "distilled from Imagination with two branches, without labels",
        "answers": seen.answers,
        "tokens": len(seen.hidden),
        "steps": steps,
        "gain": gain,
        "beta": beta,
        "divergence": remaining,
        "divergence untrained": start,
    }
    return controller


@dataclass(frozen=True)
class Observed:
    """N steps of answers: head input (N, H); the most probable tokens, their logits and T, each (N, K)."""

    hidden: Tensor
    tokens: Tensor
    logits: Tensor
    statistic: Tensor
    answers: int


def divergence(
    controller: Controller | None, head: Tensor, seen: Observed, draw: torch.Generator, positions: int
) -> Tensor:
    """Mean KL in nats from `Imagination` to the controlled model (None: plain) over drawn steps and settings."""
    at = torch.randint(len(seen.hidden), (positions,), generator=draw, device=draw.device)
    e = (2 * torch.rand(positions, 1, generator=draw, device=draw.device) - 1).to(head.device)
    logits, statistic = (part[at].to(head.device) for part in (seen.logits, seen.statistic))
    target = (logits - e * statistic).log_softmax(-1)
    moved = logits
    if controller is not None:
        hidden, tokens = seen.hidden[at].to(head.device), seen.tokens[at].to(head.device)
        moved = logits + e * (controller.change(hidden).to(head.dtype) @ head.T).float().gather(-1, tokens)
    return (target.exp() * (target - moved.log_softmax(-1))).sum(-1).mean()


def observe(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    method: Imagination,
    controller: Controller,
    max_new_tokens: int | None = None,
) -> Observed:
    """Run both branches along the model's own answers; steps after an answer's end are left out."""
    kept: list[tuple[Tensor, ...]] = []
    answers = 0
    limit: ModelInputs = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    for number, inputs in enumerate(batches):
        observer = _Observer(replace(method, imagination=(-1.0, 0.0, 1.0)[number % 3]), controller)
        with torch.inference_mode():
            ids = observer.on(model).generate(**inputs, **limit, do_sample=False, num_beams=1)
        ids = ids[:, inputs["input_ids"].shape[1] :].cpu()
        answers += len(ids)
        live = torch.ones(len(ids), dtype=torch.bool)
        for token, parts in zip(ids.T, observer.steps, strict=True):
            kept.append(tuple(part[live] for part in parts))
            live = live & ~torch.isin(token, _ends(opened(model)))
    if not kept:
        raise InputError("at least one batch of prompts with images is expected, got none; pass model inputs")
    with torch.inference_mode(False):  # tensors of inference mode cannot be trained on
        hidden, tokens, logits, statistic = (torch.cat(parts).clone() for parts in zip(*kept, strict=True))
    seen = Observed(hidden, tokens, logits, statistic, answers)
    _check_linear(opened(model), seen)
    return seen


@dataclass(frozen=True, eq=False)
class _Observer(DecodingMethod):
    """`Imagination`, recording each step: head input, most probable tokens, their logits and T; on the CPU."""

    method: Imagination
    controller: Controller
    steps: list[tuple[Tensor, ...]] = field(default_factory=list)
    _hidden: list[Tensor] = field(default_factory=list)

    is_identity = False

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return self.method.negative_branches

    def bind(self, view: FoldedView) -> Self:
        def record(hidden: Tensor) -> float:
            self._hidden[:] = [hidden[:, -1]]
            return 0.0

        self.controller.hook(view, record)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        T = information(branches[0], branches[1], self.method.beta, SLACK / self.method.gain)[:, -1]
        logits, tokens = branches[0][:, -1].topk(min(KEPT, T.shape[-1]), dim=-1)
        hidden = self._hidden[0][: len(logits)].float()
        statistic = self.method.gain * T.gather(-1, tokens)
        self.steps.append(tuple(part.cpu() for part in (hidden, tokens, logits, statistic)))
        return self.method.combine_logits(branches, step)


def _ends(model: PreTrainedModel) -> Tensor:
    ends = model.generation_config.eos_token_id
    return torch.tensor([] if ends is None else ends, dtype=torch.long).reshape(-1)


def _check_linear(model: PreTrainedModel, seen: Observed) -> None:
    """Raise unless the logits are the head's output itself: a controller does not fit capped or scaled logits."""
    head = model.get_output_embeddings()
    hidden = seen.hidden[:64].to(head.weight)
    own = head(hidden).float().cpu().gather(-1, seen.tokens[:64])
    gap, size = (own - seen.logits[:64]).abs().max().item(), seen.logits[:64].abs().max().item()
    if gap > 0.02 * size + 1e-3:
        raise UnsupportedModelError(
            f"logits that the head makes of its input are expected, got {type(model).__name__}, which caps or scales "
            f"them (off by {gap:.3g}); use Imagination without a controller"
        )
