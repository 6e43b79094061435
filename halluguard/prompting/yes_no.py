"""Tokens that begin the answers yes and no."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from halluguard.errors import UnsupportedModelError


def first_tokens(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Ids of the tokens that begin an answer with `word`, in any case, with or without a leading space.

    Raises:
        UnsupportedModelError: there is none.
    """
    forms = (word, word.capitalize(), word.upper(), f" {word}", f" {word.capitalize()}")
    first = [tokenizer(form, add_special_tokens=False).input_ids[:1] for form in forms]
    ids = {ids[0] for ids in first if ids and str(tokenizer.decode(ids)).strip().lower() == word}
    if not ids:
        raise UnsupportedModelError(
            f"expected a tokenizer with a token for {word!r}, got {type(tokenizer).__name__} without; "
            "compare the answers of batch() instead"
        )
    return sorted(ids)
