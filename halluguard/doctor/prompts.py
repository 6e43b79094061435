"""Probes of the prompt's token ids: chat template, stop token, start token, truncation. Nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from halluguard.chat_templates import template_errors
from halluguard.doctor.report import Finding
from halluguard.doctor.subject import QUESTIONS, Inputs, Subject, noise

LONG = "Describe the image. " * 40
"""A prompt that a tight max_length cuts."""


def ids_of(inputs: Inputs) -> list[int]:
    """Token ids of the first prompt, without padding."""
    ids = inputs["input_ids"][0]
    mask = inputs.get("attention_mask")
    return (ids if mask is None or mask.shape != inputs["input_ids"].shape else ids[mask[0].bool()]).tolist()


def words_of(subject: Subject, ids: Sequence[int]) -> list[int]:
    """Token ids without the image: everything from the first to the last placeholder is left out."""
    marks = set(subject.placeholders)
    at = [i for i, token in enumerate(ids) if token in marks]
    return [*ids[: at[0]], *ids[at[-1] + 1 :]] if at else list(ids)


def frame(subject: Subject, user: bool) -> tuple[list[int], list[int]]:
    """Token ids that stand before and after every question."""
    prepare = subject.inputs if user else subject.reference
    one, other = (words_of(subject, ids_of(prepare([[noise(1)]], [text]))) for text in QUESTIONS)
    before = shared_start(one, other)
    after = shared_start(one[len(before) :][::-1], other[len(before) :][::-1])[::-1]
    return before, after


def shared_start(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The ids with which both begin.

    >>> shared_start([1, 2, 3], [1, 2, 4])
    [1, 2]
    """
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]


def contains(ids: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `ids` contain `part` as one contiguous run."""
    return any(list(ids[i : i + len(part)]) == list(part) for i in range(len(ids) - len(part) + 1))


def has_text(subject: Subject) -> bool:
    """Whether the model reads token ids and a tokenizer made them."""
    if getattr(subject.processor, "tokenizer", None) is None:
        return False
    return "input_ids" in subject.reference([[noise(1)]], [QUESTIONS[0]])


def starts(subject: Subject) -> set[int]:
    """Ids of the start token."""
    text = subject.model.config.get_text_config()
    ids = {getattr(subject.processor.tokenizer, "bos_token_id", None), getattr(text, "bos_token_id", None)}
    return {one for one in ids if isinstance(one, int)}


def truncation(subject: Subject) -> Finding:
    """Fault 15: the ids are a part of what the checkpoint's processor makes of the same prompt."""
    if not has_text(subject):
        return Finding(15, "skipped", "the model reads no text")
    for text in (QUESTIONS[0], LONG):
        user, whole = (ids_of(way([[noise(1)]], [text])) for way in (subject.inputs, subject.reference))
        ending, beginning = whole[-max(1, len(user) - 1) :], whole[: len(user)]
        if len(user) < len(whole) and (user == beginning or user[-len(ending) :] == ending[-len(user) :]):
            reason = f"{len(user)} of {len(whole)} token ids are left of a prompt of {len(text.split())} words"
            return Finding(15, "fault", reason, len(user), len(whole))
    return Finding(15, "ok", f"a prompt of {len(LONG.split())} words keeps its {len(user)} token ids", len(user))


def start_token(subject: Subject) -> Finding:
    """Fault 7: two start tokens in front."""
    if not has_text(subject):
        return Finding(7, "skipped", "the model reads no text")
    ids, own = ids_of(subject.inputs([[noise(1)]], [QUESTIONS[0]])), starts(subject)
    count = next((i for i, token in enumerate(ids) if token not in own), len(ids))
    return Finding(7, "fault" if count > 1 else "ok", f"{count} start tokens in front", count, 1)


def chat_template(subject: Subject) -> Finding:
    """Fault 1: what stands before and after the question is not what the checkpoint's template puts there.

    Text that the user adds before the question, such as a system prompt, is not a fault.
    """
    if not has_text(subject) or getattr(subject.processor, "chat_template", None) is None:
        return Finding(1, "skipped", "the checkpoint has no chat template")
    if 15 in subject.found:
        return Finding(1, "skipped", "the prompt is truncated")
    before, after = frame(subject, user=False)
    user_before, user_after = frame(subject, user=True)
    header = [token for token in before if token not in starts(subject)]
    header = _own_header(subject, header)
    missing = [
        what
        for what, part, there in (("the user's turn", header, user_before), ("the answer", after, user_after))
        if not contains(there, part)
    ]
    if missing:
        opening = " and ".join(f"the start of {what}" for what in missing)
        return Finding(1, "fault", f"the prompt lacks the tokens with which the template marks {opening}", len(missing))
    return Finding(1, "ok", f"the template's {len(header) + len(after)} tokens around the question are there", 0)


def _own_header(subject: Subject, before: list[int]) -> list[int]:
    """The tokens that open the user's turn: those that stay when a system prompt stands in front."""
    processor: Any = subject.processor
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    try:
        text = processor.apply_chat_template([system, user], add_generation_prompt=True)
        ids = words_of(subject, ids_of(dict(processor(images=[noise(1)], text=[text], return_tensors="pt"))))
    except Exception:  # of any class: the template takes no system prompt
        return before
    best: list[int] = []
    for end in range(len(ids)):
        shared = shared_start(before[::-1], ids[:end][::-1])[::-1]
        best = shared if len(shared) > len(best) else best
    return best or before


def stop_token(subject: Subject) -> Finding:
    """Fault 6: the token that ends the assistant's turn in the template does not stop the generation."""
    if not has_text(subject):
        return Finding(6, "skipped", "the model reads no text")
    config, tokenizer = subject.model.generation_config, subject.processor.tokenizer
    configured = subject.stop if subject.stop is not None else config.eos_token_id
    stops = {configured} if isinstance(configured, int) else set(configured or ())
    end = _end_of_turn(subject)
    if end is None:
        return Finding(6, "skipped", "the checkpoint names no token that ends an answer")
    known = f"{tokenizer.convert_ids_to_tokens(end)!r} ends an answer"
    return Finding(6, "ok" if end in stops else "fault", f"{known}, generation stops at {sorted(stops)}", end)


def _end_of_turn(subject: Subject) -> int | None:
    """First special token after an assistant's message in the chat template, or else the tokenizer's end token."""
    processor: Any = subject.processor
    tokenizer = processor.tokenizer
    if getattr(processor, "chat_template", None) is not None:
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A dog."}]},
        ]
        with template_errors(processor):
            text = str(processor.apply_chat_template(messages))
        rest = text[text.rindex("A dog.") + len("A dog.") :] if "A dog." in text else ""
        special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", ()))
        for token in tokenizer(rest, add_special_tokens=False)["input_ids"]:
            if token in special:
                return token
    return tokenizer.eos_token_id
