"""Formats of published training data: one small function per format, from an entry to drafts of rows.

A format is recognised by the keys of an entry, never by a file's name. To add one, write its function and its line in
`FORMATS`; the first that recognises an entry wins, so formats with rarer keys stand before formats with common ones.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from halluguard.errors import InputError
from halluguard.tuning.preferences.chats import ANSWERS, chat, is_chat, is_llama_factory, is_ms_swift, is_trl_pair
from halluguard.tuning.preferences.drafts import (
    DraftRow,
    Drafts,
    Fields,
    Format,
    Skip,
    Source,
    images_under,
    name_of,
    stem,
)
from halluguard.tuning.preferences.messages import (
    answer_of,
    exchanges,
    last_question,
    question_of,
    untemplated,
    without_end,
)


def rlhf_v(source: Source) -> Drafts:
    """`text` is a JSON string of question, chosen and rejected, `origin_split` a JSON string of model and type."""
    text = _json(source.fields["text"])
    split = source.fields.get("origin_split")
    kind = str(_json(split).get("type", "")) if isinstance(split, str) and split.startswith("{") else ""
    yield source.pair(question_of(text["question"]), text["chosen"], text["rejected"], kind=kind)


def rlaif_v(source: Source) -> Drafts:
    entry = source.fields
    kind = str(entry.get("origin_dataset") or "")
    yield source.pair(question_of(entry["question"]), entry["chosen"], entry["rejected"], kind=kind)


def llava_rlhf(source: Source) -> Drafts:
    """The last question of `conversations`, with two outputs; `preference` (1 or 2) says which is better."""
    outputs = [answer_of(source.fields["output_1"]), answer_of(source.fields["output_2"])]
    better = source.fields["preference"]
    if better not in (1, 2):
        yield Skip("no preference between the two outputs")
        return
    history, question = last_question(source.fields["conversations"])
    yield source.pair(question, outputs[better - 1], outputs[2 - better], history=history)


def vl_feedback(source: Source) -> Drafts:
    """Pairs of completions whose `aspect` ratings differ enough; `datasets` turns the list of them into lists."""
    options, rated = source.options, []
    for response, ratings in _completions(source.fields["completions"]):
        score = _rating(ratings, options.aspect)
        if score is None:
            yield Skip(f"an answer without a rating of {options.aspect}")
        else:
            rated.append((score, _rating(ratings, "Helpfulness"), response))
    for pair in itertools.combinations(rated, 2):
        (a, help_a, better), (b, help_b, worse) = pair if pair[0][0] >= pair[1][0] else pair[::-1]
        if a - b < options.margin:
            yield Skip(f"two answers closer than {options.margin:g} in {options.aspect}")
        elif help_a is not None and help_b is not None and help_a < help_b:
            yield Skip("the more faithful answer is the less helpful one")
        else:
            yield source.pair(question_of(source.fields["prompt"]), better, worse)


def _completions(value: Any) -> Iterator[tuple[str, Fields]]:
    if isinstance(value, Mapping):
        for number, response in enumerate(value["response"]):
            yield response, _nth(value["annotations"], number)
    else:
        for completion in value:
            yield completion["response"], completion["annotations"]


def _nth(value: Any, number: int) -> Any:
    """The record at index `number` of a list of records, which may be stored as a record of lists."""
    if isinstance(value, Mapping):
        return {key: _nth(inner, number) for key, inner in value.items()}
    return value[number]


def _rating(annotations: Fields, aspect: str) -> float | None:
    try:
        return float(annotations[aspect]["Rating"])
    except (KeyError, TypeError, ValueError):
        return None


def ha_dpo_descriptions(source: Source) -> Drafts:
    """image id -> three rewrites each of the corrected and of the model's description, paired by position."""
    chosen, rejected = source.fields["chosen"], source.fields["rejected"]
    if len(chosen) != len(rejected):
        raise InputError(
            f"chosen and rejected must be equally many, got {len(chosen)} and {len(rejected)}; correct the entry"
        )
    image = source.key if source.key is not None else source.fields.get("image_id")
    if image is None:
        raise InputError(
            "an entry needs its image id, as its key or as image_id, got neither; use the file as published"
        )
    for better, worse in zip(chosen, rejected, strict=True):
        named = {"images": (image,), "image_id": str(image)}
        yield source.pair(source.drawn_prompt, better, worse, **named, kind="description")


def ha_dpo_questions(source: Source) -> Drafts:
    """The rejected answer is under `reject`; `correct` says whether the model answered rightly."""
    entry = source.fields
    if source.options.only_wrong and entry.get("correct"):
        yield Skip("the model had it right (only_wrong)")
        return
    named = {"images": (entry["image_id"],), "image_id": str(entry["image_id"])}
    yield source.pair(question_of(entry["question"]), entry["chosen"], entry["reject"], **named, kind="yes/no")


def povid(source: Source) -> Drafts:
    *history, (question, chosen) = exchanges(source.fields["conversations"])
    rejected = exchanges(source.fields["rejected_conversations"])[-1][1]
    yield source.pair(question, chosen, rejected, history=tuple(history))


def rendered_pairs(source: Source) -> Drafts:
    """mDPO and MM-RLHF: texts, perhaps rendered by a chat template."""
    entry = source.fields
    yield source.pair(untemplated(entry["prompt"]), without_end(entry["chosen"]), without_end(entry["rejected"]))


def lrv(source: Source) -> Drafts:
    """Instructions. Their writer saw boxes and captions but no image, which some answers mention."""
    entry = source.fields
    if not source.options.keep_leaking and _LEAK.search(f"{entry['question']} {entry['answer']}"):
        yield Skip("text that speaks of captions or boxes (keep_leaking)")
        return
    kind = "negative" if str(entry["task"]) == "negative" else f"task {entry['task']}"
    image = entry["image_id"]
    yield DraftRow((image,), stem(image), question_of(entry["question"]), entry["answer"], kind=kind)


_LEAK = re.compile(
    r"no mention|not mentioned|bounding box|the description|the caption|X: ?\d+ ?,? ?Y: ?\d+|Width: ?\d+", re.IGNORECASE
)


def hacl(source: Source) -> Drafts:
    entry = source.fields
    chosen, rejected = without_end(entry["text"]), without_end(entry["Hallucination caption"])
    yield source.pair(source.drawn_prompt, chosen, rejected, kind="caption")


def lure(source: Source) -> Drafts:
    """Captions and their hallucinated versions: `caption` and `h_caption`, or `value` and `h_value`."""
    entry = source.fields
    chosen, rejected = ("caption", "h_caption") if "h_caption" in entry else ("value", "h_value")
    image = entry.get("image_id", entry.get("image", entry.get("id")))
    named = {"images": () if image is None else (image,), "image_id": stem(image)}
    yield source.pair(source.drawn_prompt, entry[chosen], entry[rejected], **named, kind="caption")


def thumbs(source: Source) -> Drafts:
    entry = source.fields
    images = source.images or images_under(entry, "image_id")
    question = question_of(entry.get("prompt", entry.get("question")))
    answer = next(entry[name] for name in ANSWERS if name in entry)
    yield DraftRow(
        images, stem(name_of(next(iter(images), None))), question, answer, label=entry["label"], kind="thumbs"
    )


def _json(text: Any) -> dict[str, Any]:
    value = json.loads(text) if isinstance(text, str) else text
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object in a string, got {str(text)[:60]!r}; correct the entry")
    return value


def _is_rlhf_v(entry: Fields) -> bool:
    text = entry.get("text")
    return isinstance(text, str) and text.lstrip().startswith("{") and '"chosen"' in text and '"rejected"' in text


def _has(*names: str) -> Callable[[Fields], bool]:
    return lambda entry: all(name in entry for name in names)


def _is_lure(entry: Fields) -> bool:
    return {"caption", "h_caption"} <= entry.keys() or {"value", "h_value"} <= entry.keys()


def _is_rated(entry: Fields) -> bool:
    has_prompt = "prompt" in entry or "question" in entry
    plain = not isinstance(entry.get("prompt"), list)
    return isinstance(entry.get("label"), bool) and has_prompt and plain and any(name in entry for name in ANSWERS)


def _are_lists_of_texts(entry: Fields) -> bool:
    texts = [entry.get("chosen"), entry.get("rejected")]
    return all(isinstance(value, list) and all(isinstance(text, str) for text in value) for value in texts)


_NC = "CC BY-NC 4.0"
_PAIR = ("prompt", "chosen", "rejected")

FORMATS: tuple[Format, ...] = (
    Format("RLHF-V", "text with question, chosen, rejected", _is_rlhf_v, rlhf_v, _NC, minimal_edit=True),
    Format("LLaVA-RLHF", "output_1, output_2, preference", _has("output_1", "output_2", "preference"), llava_rlhf),
    Format("VLFeedback", "prompt, completions", _has("prompt", "completions"), vl_feedback),
    Format("POVID", "conversations, rejected_conversations", _has("conversations", "rejected_conversations"), povid),
    Format("ms-swift", "messages, rejected_response", is_ms_swift, chat),
    Format("LLaMA-Factory", "conversations or instruction, chosen, rejected", is_llama_factory, chat),
    Format("TRL", "images, prompt, chosen, rejected", is_trl_pair, chat),
    Format("HACL", "text, Hallucination caption", _has("Hallucination caption", "text"), hacl),
    Format("LURE", "caption, h_caption", _is_lure, lure),
    Format("HA-DPO", "lists chosen, rejected", _are_lists_of_texts, ha_dpo_descriptions),
    Format("HA-DPO", "question, chosen, reject", _has("question", "chosen", "reject"), ha_dpo_questions),
    Format("RLAIF-V", "question, chosen, rejected", _has("question", "chosen", "rejected"), rlaif_v, _NC),
    Format("mDPO", "img_path, prompt, chosen, rejected", _has("img_path", *_PAIR), rendered_pairs),
    Format("MM-RLHF", "prompt, chosen, rejected", _has(*_PAIR), rendered_pairs),
    Format("LRV-Instruction", "image_id, question, answer, task", _has("image_id", "question", "answer", "task"), lrv),
    Format("thumbs", "prompt, completion, label (true or false)", _is_rated, thumbs),
    Format("conversations", "messages, or prompt and completion, or instruction and output", is_chat, chat),
)
