"""Rows of the training tools: TRL, LLaMA-Factory, ms-swift, and conversations in general."""

from __future__ import annotations

from typing import Any

from halluguard.errors import InputError
from halluguard.tuning.preferences.drafts import DraftRow, Drafts, Fields, Source, images_under, name_of, stem
from halluguard.tuning.preferences.messages import (
    Exchange,
    answer_of,
    images_in,
    last_question,
    question_of,
    turns_of,
)

CONVERSATIONS = ("messages", "conversations", "conversation", "prompt")
QUESTIONS = ("prompt", "instruction", "query", "question")
ANSWERS = ("completion", "answer", "response", "output")
REJECTED = ("rejected", "rejected_response", "rejected_messages")


def chat(source: Source) -> Drafts:
    """A pair, a rating, or one instruction for each answer of a conversation.

    A question is a text or messages, an answer a text, a turn, or messages.
    """
    entry = source.fields
    history, question, answer = _dialogue(entry)
    images = source.images or tuple(image for value in entry.values() for image in images_in(value))
    image_id = stem(name_of(next(iter(images), None)))
    about: dict[str, Any] = {"images": images, "image_id": image_id, "kind": "chat"}
    rejected = next((entry[key] for key in REJECTED if entry.get(key)), None)
    label = entry.get("label", entry.get("kto_tag"))
    if answer is None:
        raise InputError(f"expected an answer, got the keys {', '.join(sorted(entry))}; correct the entry")
    if rejected is not None:
        negatives = images_under(entry, "rejected_images")
        yield source.pair(question, answer, answer_of(rejected), history=history, negative_images=negatives, **about)
    elif isinstance(label, bool):
        yield DraftRow(prompt=question, chosen=answer, label=label, history=history, **about)
    elif any(str(key).startswith("reject") for key in entry):
        raise InputError("a rejected answer is empty or under an unknown key; give it as 'rejected'")
    else:
        every = [*history, (question, answer)]
        for number, (prompt, completion) in enumerate(every):
            yield DraftRow(prompt=prompt, chosen=completion, history=tuple(every[:number]), **about)


def _dialogue(entry: Fields) -> tuple[tuple[Exchange, ...], str, str | None]:
    """(earlier exchanges, last question, its good answer)."""
    key = next((key for key in CONVERSATIONS if isinstance(entry.get(key), list)), None)
    answer: str | None = None
    if key is not None:
        system = [{"role": "system", "content": entry["system"]}] if entry.get("system") else []
        conversation = [*system, *entry[key]]
        history, question = last_question(conversation)
        if turns_of(conversation)[-1][0] == "gpt":
            answer = answer_of(conversation)
    elif isinstance(entry.get("chosen"), list) and "prompt" not in entry:  # TRL's implicit prompt
        history, question = last_question(entry["chosen"])
        if (history, question) != last_question(entry["rejected"]):
            raise InputError("chosen and rejected must share their prompt, got two; correct the entry")
    else:
        prompt = next((entry[key] for key in QUESTIONS if key in entry), None)
        history = tuple((question_of(q), str(a)) for q, a in entry.get("history") or ())
        question = question_of("\n".join(text for text in (entry.get("system"), prompt, entry.get("input")) if text))
    good = next((entry[key] for key in ("chosen", *ANSWERS) if entry.get(key)), None)
    return history, question, answer if good is None else answer_of(good)


def is_ms_swift(entry: Fields) -> bool:
    return "rejected_response" in entry or "rejected_messages" in entry


def is_llama_factory(entry: Fields) -> bool:
    has_prompt = "instruction" in entry or any(isinstance(entry.get(key), list) for key in CONVERSATIONS[:3])
    return has_prompt and {"chosen", "rejected"} <= entry.keys()


def is_trl_pair(entry: Fields) -> bool:
    """Whether an entry is a pair in TRL's form: images in a list, or messages instead of texts."""
    if not {"chosen", "rejected"} <= entry.keys():
        return False
    messages = any(
        isinstance(entry.get(name), list) and any(isinstance(turn, dict) for turn in entry[name])
        for name in ("prompt", "chosen", "rejected")
    )
    return messages or {"images", "prompt"} <= entry.keys()


def is_chat(entry: Fields) -> bool:
    """Whether an entry is a conversation, an instruction or a query of a form that no other rule knows."""
    has_messages = any(isinstance(entry.get(key), list) for key in CONVERSATIONS)
    return has_messages or "instruction" in entry or "query" in entry or {"prompt", "completion"} <= entry.keys()
