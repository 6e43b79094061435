"""Probes of the pixels that reach the model, against those of the checkpoint's own processor.

They hold for any layout of the pixel tensors: the same cards go through both ways, and only the values are compared.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from halluguard.doctor.report import Finding
from halluguard.doctor.subject import QUESTIONS, Inputs, Subject, noise, pixels

GRAINS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Widths of the blocks of the cards that measure resolution, in pixels of a card of 448."""

LEVEL = 8 / 255
"""Largest mean difference that resampling kernels may make, before normalisation."""


def _both(subject: Subject, card: Image.Image) -> tuple[Inputs, Inputs]:
    return subject.inputs([[card]], [QUESTIONS[0]]), subject.reference([[card]], [QUESTIONS[0]])


def _values(subject: Subject, card: Image.Image) -> tuple[Tensor, Tensor] | None:
    return pixels(*_both(subject, card))


def _absent(number: int, subject: Subject) -> Finding | None:
    """The finding where there is nothing to compare."""
    if 2 in subject.found:
        return Finding(number, "skipped", "no image reaches the model")
    if _values(subject, noise(2)) is None:
        return Finding(number, "skipped", "the pixel tensors have another shape than the checkpoint's")
    return None


def _scale(subject: Subject) -> tuple[float, float, float]:
    """a, b and the unexplained share of variance of user = a * reference + b."""
    values = _values(subject, noise(2))
    assert values is not None
    user, own = values
    centred, varied = user - user.mean(), own - own.mean()
    slope = float((centred * varied).sum() / varied.square().sum().clamp_min(1e-12))
    left = centred - slope * varied
    shift = float(user.mean() - slope * own.mean())
    return slope, shift, float(left.square().sum() / centred.square().sum().clamp_min(1e-12))


def normalisation(subject: Subject) -> Finding:
    """Fault 14: the pixels are those of the checkpoint's processor on another scale."""
    absent = _absent(14, subject)
    if absent is not None:
        return absent
    slope, shift, left = _scale(subject)
    reason = f"the pixels are {slope:.3g} times the checkpoint's, plus {shift:.3g}"
    wrong = left < 0.05 and (abs(slope - 1) > 0.1 or abs(shift) > 0.1)
    return Finding(14, "fault" if wrong else "ok", reason, abs(slope - 1) + abs(shift), 0.1)


def channels(subject: Subject) -> Finding:
    """Fault 4: the pixels are those of the same card with red and blue swapped."""
    absent = _absent(4, subject)
    if absent is not None:
        return absent
    card = noise(3)
    red, green, blue = card.split()
    swapped = Image.merge("RGB", (blue, green, red))
    user = pixels(subject.inputs([[card]], [QUESTIONS[0]]), subject.reference([[card]], [QUESTIONS[0]]))
    other = pixels(subject.inputs([[card]], [QUESTIONS[0]]), subject.reference([[swapped]], [QUESTIONS[0]]))
    assert user is not None
    assert other is not None
    right, wrong = _correlation(*user), _correlation(*other)
    reason = f"correlation {right:.2f} with the card in RGB, {wrong:.2f} with the card in BGR"
    return Finding(4, "fault" if wrong > right + 0.1 else "ok", reason, wrong - right, 0.1)


def _correlation(one: Tensor, other: Tensor) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-12))


def resolution(subject: Subject) -> Finding:
    """Fault 3: much less of the image reaches the model than the checkpoint's processor lets through.

    Measured by the number of values, and by the finest blocks whose contrast survives.
    """
    if 2 in subject.found:
        return Finding(3, "skipped", "no image reaches the model")
    user, own = _both(subject, noise(2))
    sizes = [_count(inputs) for inputs in (user, own)]
    if sizes[0] < sizes[1] / 2:
        reason = f"{sizes[0]} pixel values reach the model, the checkpoint's processor makes {sizes[1]}"
        return Finding(3, "fault", reason, sizes[0] / sizes[1], 0.5)
    grains = [_finest(subject, user=True), _finest(subject, user=False)]
    share = (grains[1] / grains[0]) ** 2
    reason = f"blocks of {grains[0]} pixels survive, {grains[1]} with the checkpoint's processor"
    return Finding(3, "fault" if share < 0.5 else "ok", reason, share, 0.5)


def _count(inputs: Inputs) -> int:
    return sum(v.numel() for v in inputs.values() if torch.is_tensor(v) and v.is_floating_point())


def _finest(subject: Subject, user: bool) -> int:
    """Width of the finest blocks that keep at least half of the contrast of the coarsest."""
    prepare = subject.inputs if user else subject.reference
    contrast = {grain: _contrast(prepare([[noise(4, grain=grain)]], [QUESTIONS[0]])) for grain in GRAINS}
    return next((grain for grain in GRAINS if contrast[grain] > 0.5 * contrast[GRAINS[-1]]), GRAINS[-1])


def _contrast(inputs: Inputs) -> float:
    values = [v.flatten().float() for v in inputs.values() if torch.is_tensor(v) and v.is_floating_point()]
    return float(torch.cat(values).std())


def version(subject: Subject) -> Finding:
    """Fault 13: the pixels differ from the checkpoint's in a way that no other fault explains."""
    if subject.found & {2, 3, 4, 14}:
        return Finding(13, "skipped", f"fault {min(subject.found & {2, 3, 4, 14})} explains the pixels")
    user, own = _both(subject, noise(2))
    shapes = [{n: tuple(v.shape) for n, v in i.items() if torch.is_tensor(v) and n != "input_ids"} for i in (user, own)]
    values = pixels(user, own)
    if values is None:
        names = sorted(name for name in shapes[1] if shapes[0].get(name) != shapes[1][name])
        if not names:
            return Finding(13, "skipped", "the image is not given as pixels")
        return Finding(13, "fault", f"{', '.join(names)} have another shape than the checkpoint's processor makes")
    contrast = float(values[1].std().clamp_min(1e-6))
    # a card of uniform noise has a standard deviation of 0.29 in [0, 1]
    difference = float((values[0] - values[1]).abs().mean()) * 0.29 / contrast
    reason = f"mean difference of {difference * 255:.1f} of 255 from the pixels of the checkpoint's processor"
    return Finding(13, "fault" if difference > LEVEL else "ok", reason, difference * 255, LEVEL * 255)
