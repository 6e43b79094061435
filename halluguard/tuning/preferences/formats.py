"""One small function per published form of preference data: an entry in, drafts of rows out.

A form is recognised by the keys of an entry, never by a file's name. To add one, write its function and its line in
`FORMATS`; the first that recognises an entry wins, so forms with rarer keys stand before forms with common ones.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from halluguard.errors import InputError
from halluguard.tuning.captions import PROMPTS


@dataclass(frozen=True)
class Options:
    """Choices that a form leaves to its reader.

    Args:
        aspect, margin: VLFeedback: pairs differ by at least `margin` in this rating; the better one is no less helpful.
        only_wrong: HA-DPO's questions: take only those the model got wrong, as its own loader does. This skews the
            polarity of the chosen answers; report the yes-ratio.
        keep_leaking: LRV-Instruction: keep answers that speak of the text their writer saw ("no mention of").
    """

    aspect: str = "Visual Faithfulness"
    margin: float = 1.0
    only_wrong: bool = False
    keep_leaking: bool = False


@dataclass(frozen=True)
class Draft:
    """A row before its picture is found. Not `pair`: an instruction; `label` given: a rating."""

    image: Any
    image_id: str
    prompt: str
    chosen: str
    rejected: str = ""
    pair: bool = True
    label: bool | None = None
    kind: str = ""
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Skip:
    """A pair left out on purpose."""

    reason: str


Read = Callable[[Mapping[str, Any], str | None, Options, int], Iterable[Draft | Skip]]


@dataclass(frozen=True)
class Format:
    """A form: `recognises` looks at an entry's keys, `read(entry, its key in a mapping, options, seed)` drafts rows."""

    name: str
    keys: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Read
    license: str = "unknown"
    minimal_edit: bool = False


def rlhf_v(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    """`text` is a JSON string of question, chosen and rejected; `origin_split` is one of model and question type."""
    text = _inner(entry["text"])
    split = entry.get("origin_split")
    kind = str(_inner(split).get("type", "")) if isinstance(split, str) and split.startswith("{") else ""
    image = entry.get("image") or entry.get("image_path")
    name = entry.get("image_path") or _name_of(image)
    yield Draft(image, _stem(name), _question(text["question"]), text["chosen"], text["rejected"], kind=kind)


def rlaif_v(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    image = entry.get("image") or entry.get("image_path")
    name = entry.get("image_path") or _name_of(image)
    kind = str(entry.get("origin_dataset") or "")
    yield Draft(image, _stem(name), _question(entry["question"]), entry["chosen"], entry["rejected"], kind=kind)


def llava_rlhf(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft | Skip]:
    """The last question of `conversations`, with two outputs of which `preference` names the better, 1 or 2."""
    outputs = [_said(entry["output_1"]), _said(entry["output_2"])]
    better = entry["preference"]
    if better not in (1, 2):
        return [Skip("no preference between the two outputs")]
    history, question = _dialogue(entry["conversations"])
    image = entry.get("image")
    chosen, rejected = outputs[better - 1], outputs[2 - better]
    return [Draft(image, _stem(_name_of(image)), question, chosen, rejected, history=history)]


def vl_feedback(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft | Skip]:
    """Pairs of completions whose `aspect` ratings differ enough; `datasets` turns the list of them into lists."""
    image = entry.get("image") or entry.get("img_path")
    found: list[Draft | Skip] = []
    rated = []
    for response, ratings in _completions(entry["completions"]):
        score = _rating(ratings, options.aspect)
        if score is None:
            found.append(Skip(f"an answer without a rating of {options.aspect}"))
        else:
            rated.append((score, _rating(ratings, "Helpfulness"), response))
    for (a, help_a, one), (b, help_b, two) in itertools.combinations(rated, 2):
        if a < b:
            (a, help_a, one), (b, help_b, two) = (b, help_b, two), (a, help_a, one)
        if a - b < options.margin:
            found.append(Skip(f"two answers closer than {options.margin:g} in {options.aspect}"))
        elif help_a is not None and help_b is not None and help_a < help_b:
            found.append(Skip("the more faithful answer is the less helpful one"))
        else:
            found.append(Draft(image, _stem(_name_of(image)), _question(entry["prompt"]), one, two))
    return found


def _completions(value: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        annotations = value["annotations"]
        for number, response in enumerate(value["response"]):
            yield response, _nth(annotations, number)
    else:
        for completion in value:
            yield completion["response"], completion["annotations"]


def _nth(value: Any, number: int) -> Any:
    """Entry `number` of a structure whose leaves, or whose outside, became lists."""
    if isinstance(value, Mapping):
        return {key: _nth(inner, number) for key, inner in value.items()}
    return value[number]


def _rating(annotations: Mapping[str, Any], aspect: str) -> float | None:
    try:
        return float(annotations[aspect]["Rating"])
    except (KeyError, TypeError, ValueError):
        return None


def ha_dpo_descriptions(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    """image id -> three rewrites of the corrected and of the model's own description; the n-th belong together."""
    chosen, rejected = entry["chosen"], entry["rejected"]
    if len(chosen) != len(rejected):
        raise InputError(
            f"chosen and rejected must be as many, got {len(chosen)} and {len(rejected)}; correct the entry"
        )
    image = key if key is not None else entry.get("image_id")
    if image is None:
        raise InputError("expected the image id as the key of the entry, got none; keep the mapping")
    prompt = random.Random(seed).choice(PROMPTS)
    return [Draft(image, str(image), prompt, a, b, kind="description") for a, b in zip(chosen, rejected, strict=True)]


def ha_dpo_questions(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft | Skip]:
    """The key is `reject`, not `rejected`; `correct` says whether the model had it right."""
    if options.only_wrong and entry.get("correct"):
        return [Skip("the model had it right (only_wrong)")]
    image = entry["image_id"]
    return [Draft(image, str(image), _question(entry["question"]), entry["chosen"], entry["reject"], kind="yes/no")]


def povid(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    history, question, chosen = _answered(entry["conversations"])
    _, _, rejected = _answered(entry["rejected_conversations"])
    image = entry.get("image")
    yield Draft(image, _stem(_name_of(image)), question, chosen, rejected, history=history)


def mdpo(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    image = entry["img_path"]
    yield Draft(image, _stem(image), untemplated(entry["prompt"]), _plain(entry["chosen"]), _plain(entry["rejected"]))


def mm_rlhf(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft | Skip]:
    if entry.get("video"):
        return [Skip("a video")]
    image = entry.get("image")
    name = _stem(_name_of(image))
    return [
        Draft(image or None, name, untemplated(entry["prompt"]), _plain(entry["chosen"]), _plain(entry["rejected"]))
    ]


def lrv(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft | Skip]:
    """Instructions. Their writer saw boxes and captions, no picture, and now and then says so."""
    question, told = entry["question"], entry["answer"]
    if not options.keep_leaking and _LEAK.search(f"{question} {told}"):
        return [Skip("text that speaks of captions or boxes (keep_leaking)")]
    kind = "negative" if str(entry["task"]) == "negative" else f"task {entry['task']}"
    return [Draft(entry["image_id"], _stem(entry["image_id"]), _question(question), told, pair=False, kind=kind)]


_LEAK = re.compile(
    r"no mention|not mentioned|bounding box|the description|the caption|X: ?\d+ ?,? ?Y: ?\d+|Width: ?\d+", re.IGNORECASE
)


def hacl(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    image = entry["image"]
    prompt = random.Random(seed).choice(PROMPTS)
    yield Draft(
        image,
        _stem(_name_of(image)),
        prompt,
        _plain(entry["text"]),
        _plain(entry["Hallucination caption"]),
        kind="caption",
    )


def lure(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    """Captions and their hallucinated versions: `caption` and `h_caption`, or `value` and `h_value`."""
    chosen, rejected = ("caption", "h_caption") if "h_caption" in entry else ("value", "h_value")
    image = entry.get("image_id", entry.get("image", entry.get("id")))
    prompt = random.Random(seed).choice(PROMPTS)
    yield Draft(image, _stem(image), prompt, entry[chosen], entry[rejected], kind="caption")


def thumbs(entry: Mapping[str, Any], key: str | None, options: Options, seed: int) -> Iterable[Draft]:
    image = entry.get("image", entry.get("image_path", entry.get("image_id")))
    prompt = entry.get("prompt", entry.get("question"))
    told = next(entry[name] for name in _ANSWERS if name in entry)
    yield Draft(image, _stem(_name_of(image)), _question(prompt), told, label=entry["label"], kind="thumbs")


_ANSWERS = ("completion", "answer", "response")


def _inner(text: Any) -> dict[str, Any]:
    value = json.loads(text) if isinstance(text, str) else text
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object in a string, got {str(text)[:60]!r}; correct the entry")
    return value


def _is_rlhf_v(entry: Mapping[str, Any]) -> bool:
    text = entry.get("text")
    return isinstance(text, str) and text.lstrip().startswith("{") and '"chosen"' in text and '"rejected"' in text


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda entry: all(name in entry for name in names)


def _is_rated(entry: Mapping[str, Any]) -> bool:
    return (
        isinstance(entry.get("label"), bool)
        and ("prompt" in entry or "question" in entry)
        and any(name in entry for name in _ANSWERS)
    )


def _are_lists(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("chosen"), list) and isinstance(entry.get("rejected"), list)


_IMAGE = re.compile(r"\s*<image(?:_?\d+)?>\s*|\s*<ImageHere>\s*")


def _question(text: Any) -> str:
    """The question without image placeholders: the processor sets its own."""
    return _IMAGE.sub(" ", text).strip()


_TEMPLATES = (
    re.compile(r"USER:\s*(?P<q>.*?)\s*ASSISTANT:\s*$", re.DOTALL),
    re.compile(r"<\|im_start\|>user\s*(?P<q>.*?)<\|im_end\|>\s*(?:<\|im_start\|>assistant\s*)?$", re.DOTALL),
    re.compile(r"\[INST\]\s*(?P<q>.*?)\s*\[/INST\]\s*$", re.DOTALL),
    re.compile(r"###\s*Human:\s*(?P<q>.*?)\s*###\s*Assistant:\s*$", re.DOTALL),
    re.compile(r"Human:\s*(?P<q>.*?)\s*Assistant:\s*$", re.DOTALL),
)
_MARKS = re.compile(r"<\|[^|>]*\|>|\[/?INST\]|USER:|ASSISTANT:|###\s*(?:Human|Assistant):|</?s>")
_ENDS = re.compile(r"\s*(?:</s>|<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>)\s*$")


def untemplated(prompt: str) -> str:
    """The question inside a rendered chat template.

    >>> untemplated("A chat. USER: <image>\\nWhat is this? ASSISTANT:")
    'What is this?'

    Raises:
        InputError: marks of a template remain, so that training on it would render a template inside a template.
    """
    for template in _TEMPLATES:
        match = template.search(prompt)
        if match:
            prompt = match["q"]
            break
    if _MARKS.search(prompt):
        raise InputError(
            f"expected one question in the prompt, got template marks in {prompt[:80]!r}; strip them first"
        )
    return _question(prompt)


def _plain(text: Any) -> str:
    return _ENDS.sub("", text).strip()


def _said(turn: Any) -> str:
    return (turn["value"] if isinstance(turn, Mapping) else turn).strip()


def _turns(conversations: Any) -> list[tuple[str, str]]:
    """(speaker, text) of each turn, "human" or "gpt"."""
    turns = []
    for turn in conversations:
        who = str(turn.get("from", turn.get("role", "")))
        turns.append(
            ("human" if who in ("human", "user") else "gpt", _question(turn.get("value", turn.get("content"))))
        )
    return turns


def _paired(turns: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Exchanges of questions and answers, which must take turns."""
    speakers = [who for who, _ in turns]
    if speakers != ["human", "gpt"] * (len(turns) // 2):
        raise InputError(f"expected human and gpt in turn, got {' '.join(speakers) or 'no turns'}; correct the entry")
    texts = [text for _, text in turns]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _dialogue(conversations: Any) -> tuple[tuple[tuple[str, str], ...], str]:
    """(earlier exchanges, last question); a last answer, which the outputs replace, is dropped."""
    turns = _turns(conversations)
    if turns and turns[-1][0] == "gpt":
        turns = turns[:-1]
    if not turns or turns[-1][0] != "human":
        raise InputError("expected a question at the end of the conversation, got none; correct the entry")
    return _paired(turns[:-1]), turns[-1][1]


def _answered(conversations: Any) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """(earlier exchanges, last question, its answer)."""
    exchanges = _paired(_turns(conversations))
    if not exchanges:
        raise InputError("expected a question and an answer, got no turns; correct the entry")
    return exchanges[:-1], *exchanges[-1]


def _name_of(image: Any) -> str:
    if isinstance(image, Mapping):
        return str(image.get("path") or "")
    return "" if image is None or isinstance(image, bytes) else str(image)


def _stem(name: Any) -> str:
    return PurePath(str(name)).name


_NC = "CC BY-NC 4.0"

FORMATS: tuple[Format, ...] = (
    Format("RLHF-V", "text with question, chosen, rejected", _is_rlhf_v, rlhf_v, _NC, minimal_edit=True),
    Format("LLaVA-RLHF", "output_1, output_2, preference", _has("output_1", "output_2", "preference"), llava_rlhf),
    Format("VLFeedback", "prompt, completions", _has("prompt", "completions"), vl_feedback),
    Format("POVID", "conversations, rejected_conversations", _has("conversations", "rejected_conversations"), povid),
    Format("HACL", "text, Hallucination caption", _has("Hallucination caption", "text"), hacl),
    Format(
        "LURE", "caption, h_caption", lambda e: _has("caption", "h_caption")(e) or _has("value", "h_value")(e), lure
    ),
    Format("HA-DPO", "lists chosen, rejected", _are_lists, ha_dpo_descriptions),
    Format("HA-DPO", "question, chosen, reject", _has("question", "chosen", "reject"), ha_dpo_questions),
    Format("RLAIF-V", "question, chosen, rejected", _has("question", "chosen", "rejected"), rlaif_v, _NC),
    Format("mDPO", "img_path, prompt, chosen, rejected", _has("img_path", "prompt", "chosen", "rejected"), mdpo),
    Format("MM-RLHF", "prompt, chosen, rejected", _has("prompt", "chosen", "rejected"), mm_rlhf),
    Format("LRV-Instruction", "image_id, question, answer, task", _has("image_id", "question", "answer", "task"), lrv),
    Format("thumbs", "prompt, completion, label (true or false)", _is_rated, thumbs),
)
