"""Probes that run the model twice in ways that must agree: alone or in a batch, first or later, one image or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from halluguard.doctor.prompts import has_text
from halluguard.doctor.report import Finding
from halluguard.doctor.subject import Inputs, Subject, differs, distance, has_image, noise, pixels, takes_images

SHORT, LONGER = "Describe it.", "Describe everything that is in the image, from the left side to the right."


def image_used(subject: Subject) -> Finding:
    """Fault 2: two images give one answer, or two images of one prompt change places."""
    text = "What does the image show?"
    first, second = ([noise(seed)] for seed in (11, 12))
    inputs = [subject.inputs([images], [text]) for images in (first, second)]
    if not any(map(has_image, inputs)):
        if not takes_images(subject.model):
            return Finding(2, "skipped", "this model takes no images")
        return Finding(2, "fault", "the prepared inputs hold no image: the model answers blind", 0)
    if _without_placeholders(subject, inputs[0], subject.reference([first], [text])):
        return Finding(2, "fault", "the prompt has no image placeholder: the model answers blind", 0)
    if subject.found & {10, 15}:
        return Finding(2, "skipped", f"fault {min(subject.found & {10, 15})} keeps the prompt from running")
    fresh = [subject.fresh_logits(one) for one in inputs]
    if not differs(*fresh):
        return Finding(2, "fault", "two different images give the same logits to the last bit", 0)
    own = [subject.logits(one) for one in inputs]
    if not differs(*own) and distance(own[0], fresh[0]) > subject.tolerance(inputs[0]):
        return Finding(2, "fault", "two different images give the same answer in your way of running", 0)
    try:
        order = _order(subject, text)
    except Exception:  # a family of one image per prompt
        order = None
    if order is not None and order[1] < order[0] and order[1] < 0.5:
        return Finding(2, "fault", "the second image of a prompt stands where the first belongs", order[1], order[0])
    return Finding(2, "ok", f"two images change the logits by {distance(*fresh):.3g}", distance(*fresh), 0)


def _without_placeholders(subject: Subject, user: Inputs, own: Inputs) -> bool:
    marks = set(subject.placeholders)
    if not marks or "input_ids" not in user or "input_ids" not in own:
        return False
    counts = [sum(token in marks for token in one["input_ids"].flatten().tolist()) for one in (user, own)]
    return counts[1] > 0 and counts[0] == 0


def _order(subject: Subject, text: str) -> tuple[float, float] | None:
    """Mean differences of the pixels of a prompt with two images from the checkpoint's, in order and swapped."""
    pair = [noise(11), noise(12)]
    user = subject.inputs([pair], [text])
    compared = [pixels(user, subject.reference([images], [text])) for images in (pair, pair[::-1])]
    differences = [float((values[0] - values[1]).abs().mean()) for values in compared if values is not None]
    return (differences[0], differences[1]) if len(differences) == 2 else None


def other_cache(subject: Subject) -> Finding:
    """Fault 9: the answer about an image rests on values computed for the previous image with the same prompt."""
    blocked = subject.found & {2, 10, 15}
    if blocked:
        return Finding(9, "skipped", f"fault {min(blocked)} keeps the probe from running")
    text = "Which things are in the image?"
    first, second = (subject.inputs([[noise(seed)]], [text]) for seed in (13, 14))
    answers = [subject.logits(one) for one in (first, second, first)]
    fresh, limit = subject.fresh_logits(second), subject.tolerance(second)
    gap = distance(answers[1], fresh)
    same = not differs(answers[0], answers[1])
    reason = f"the second image's logits differ by {gap:.2g} from those of a fresh model"
    return Finding(9, "fault" if same and gap > limit else "ok", reason, gap, limit)


def stale_positions(subject: Subject) -> Finding:
    """Fault 5: a prompt gets another answer after another prompt than from a fresh model."""
    blocked = subject.found & {2, 9, 10, 15}
    if blocked:
        return Finding(5, "skipped", f"fault {min(blocked)} keeps the probe from running")
    image_prompt = subject.inputs([[noise(15)]], ["Tell what you see."])
    later: Sequence[tuple[list[Image.Image], str]] = (
        ([], LONGER),
        ([noise(16), noise(17)], LONGER),
        ([noise(16)], LONGER),
    )
    worst, limit, ran = 0.0, 0.0, 0
    for images, text in later:
        try:
            inputs = subject.reference([images], [text]) if not images else subject.inputs([images], [text])
            fresh = subject.fresh_logits(inputs)
        except Exception:  # no prompts without an image, or one image only
            continue
        subject.logits(image_prompt)
        worst, ran = max(worst, distance(subject.logits(inputs), fresh)), ran + 1
        limit = max(limit, subject.tolerance(inputs))
    if not ran:
        return Finding(5, "skipped", "no second prompt could be run")
    reason = f"after an image, another prompt's logits differ by {worst:.2g} from a fresh model's"
    return Finding(5, "fault" if worst > limit else "ok", reason, worst, limit)


def padding(subject: Subject) -> Finding:
    """Fault 8: a short prompt gets another answer in a batch with a long one than alone."""
    blocked = subject.found & {2, 5, 9, 10, 15}
    if blocked:
        return Finding(8, "skipped", f"fault {min(blocked)} keeps the probe from running")
    if not has_text(subject):
        return Finding(8, "skipped", "the model reads no text")
    images, texts = [[noise(18)], [noise(19)]], [SHORT, LONGER]

    def gap(prepare: Callable[..., Inputs], run: Callable[[Inputs], object]) -> float:
        alone, both = run(prepare(images[:1], texts[:1])), run(prepare(images, texts))
        return distance(alone, both[:1])  # type: ignore[arg-type, index]

    limit = subject.tolerance(subject.inputs(images[:1], texts[:1]))
    own = gap(subject.inputs, subject.logits)
    reason = f"beside a long prompt, a short one's logits differ by {own:.2g}"
    if own <= limit:
        return Finding(8, "ok", reason, own, limit)
    family = gap(subject.reference, subject.fresh_logits)
    if own <= 2 * family:
        return Finding(8, "note", f"{reason}; this family does so by itself: use one prompt per batch", own, limit)
    return Finding(8, "fault", reason, own, limit)
