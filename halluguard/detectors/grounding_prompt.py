"""Put phrases into one caption, as the Grounding DINO family reads them ("dog. traffic light."), and read the scores.

    score(phrase, box) = mean over the phrase's own tokens t of sigmoid(logit(box, t))

is the rule of the official COCO evaluation (IDEA-Research/GroundingDINO, demo/test_ap_on_coco.py). The labels that
processors decode are not used: they merge phrases ("dog. traffic light.") and lose words.

A full stop or question mark separates phrases, and tokens of one phrase do not see those of another, but only if the
tokenizer has [CLS] [SEP] . ? at the ids 101, 102, 1012, 1029, which both implementations have in their code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from halluguard.errors import ExpertError, UnsupportedModelError
from halluguard.vocabulary import normal

SEPARATORS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
Pool = Literal["mean", "max"]


def clean(phrase: str) -> str:
    """A phrase as it can stand in a caption: a name (`vocabulary.normal`) without separators or invisible characters.

    >>> clean("St. Bernard dogs?"), clean("fire\\u200b hydrant")
    ('st bernard dog', 'fire hydrant')
    """
    visible = "".join(c if c.isprintable() else " " * c.isspace() for c in phrase)
    return normal(re.sub(r"[.?\[\]]", " ", visible).strip())


def check_separators(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a tokenizer whose separators have other ids than the models know: phrases would silently mix."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SEPARATORS}
    if ids != SEPARATORS:
        raise UnsupportedModelError(
            f"{name} needs a tokenizer with the ids {SEPARATORS}, which keep phrases apart; got {ids}; "
            "use the tokenizer of bert-base-uncased"
        )


def length(phrase: str, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens of a cleaned phrase with its separator; None if the tokenizer does not know all its words."""
    ids = tokenizer(phrase, add_special_tokens=False)["input_ids"]
    unknown = not ids or tokenizer.unk_token_id in ids or set(ids) & set(SEPARATORS.values())
    return None if unknown else len(ids) + 1


def chunks(lengths: Mapping[str, int], most: int) -> list[list[str]]:
    """Cleaned phrases in as few captions as they fit, in the order given; no phrase is cut.

    Args:
        lengths: phrase -> its tokens, with the separator.
        most: tokens of a caption, with [CLS] and [SEP].

    >>> chunks({"cat": 2, "dog": 2, "traffic light": 3}, 7)
    [['cat', 'dog'], ['traffic light']]
    """
    captions: list[list[str]] = []
    room = 0
    for phrase, needed in lengths.items():
        if needed > room:
            captions.append([])
            room = most - 2
        captions[-1].append(phrase)
        room -= needed
    return captions


def caption(phrases: Sequence[str]) -> str:
    """One caption of cleaned phrases.

    >>> caption(["dog", "traffic light"])
    'dog. traffic light.'
    """
    return ". ".join(phrases) + "."


def spans(ids: Sequence[int], phrases: Sequence[str]) -> list[tuple[int, int]]:
    """(first, last + 1) of each phrase's tokens in the ids of `caption(phrases)`, padded or not.

    Raises:
        ExpertError: the separators do not give one span per phrase.
    """
    marks = [i for i, token in enumerate(ids) if token in SEPARATORS.values()]
    between = [(a + 1, b) for a, b in pairwise(marks) if b > a + 1]
    if len(between) != len(phrases):
        raise ExpertError(
            f"expected {len(phrases)} phrases in the caption {caption(phrases)!r}, got {len(between)} from its tokens; "
            "leave out marks that separate phrases"
        )
    return between


def phrase_scores(logits: Tensor, ids: Sequence[int], phrases: Sequence[str], pool: Pool = "mean") -> Tensor:
    """(Q, T) logits of boxes and tokens -> (Q, P) scores of boxes and phrases in [0, 1]."""
    probabilities = logits.float().sigmoid().cpu()
    columns = [probabilities[:, a:b] for a, b in spans(ids, phrases)]
    return torch.stack([c.mean(-1) if pool == "mean" else c.amax(-1) for c in columns], dim=-1)
