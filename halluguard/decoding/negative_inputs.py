"""What a method contrasts with: the same question without the picture, or asked otherwise; `pictures.py` has others.

A negative row is any callable `(call) -> model inputs`: it gets the call as the user made it and returns the
inputs of the row, as the user would have passed them to `model.generate`. Its prompt may have another length.
Everything random is drawn from an own generator, once per call, the same for every picture of the batch, so a row
does not change with its neighbours and the global random state is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from halluguard.decoding.engine.batch import BOXES, IMAGE_MASKS, PER_TOKEN, PLACES, TOKEN_TYPES
from halluguard.errors import InputError, UnsupportedModelError


@dataclass(frozen=True)
class Call:
    """One call of a view's `generate`.

    Args:
        model: the caller's model.
        processor: its processor, or None when the view was made without.
        inputs: the model inputs as given, with `attention_mask` filled in; `input_ids` is (B, L).
        images: the pictures (PIL, RGB), when given, in the order of their placeholders.
        pad_id: a token for masked places.
    """

    model: Any
    processor: Any
    inputs: Mapping[str, Any]
    images: Sequence[Image.Image] | None = None
    pad_id: int = 0


class NegativeInputs(Protocol):
    """How a negative row is made: `(call) -> model inputs`."""

    def __call__(self, call: Call) -> dict[str, Any]: ...


def image_token_ids(model: Any) -> list[int]:
    """Ids of the placeholders that pictures and videos fill, as the model's config names them."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    ids = {getattr(model.config, name, None) for name in names}
    ids.add((getattr(model.config, "vocabulary_map", None) or {}).get("<image>"))  # chameleon, emu3
    return sorted(i for i in ids if isinstance(i, int))


def is_picture(name: str, value: Any) -> bool:
    """Whether a model input carries picture data (and not one value per token, nor the start of the answer)."""
    if name == "input_ids" or name in PER_TOKEN or name.startswith("decoder_"):
        return False
    return not isinstance(value, bool | int | float | str | None)


@dataclass(frozen=True)
class NoImage:
    """The prompt without its picture: placeholders deleted, the rest moved together, nothing to encode.

    It equals the text-only prompt of the same tokens: what is left is padded on the left like any shorter prompt
    of a batch (on the right, where an encoder reads it), with positions counted over what is left. Tokens around the
    placeholders (such as vision start and end) stay, unless named in `also`.

    Args:
        also: further token ids to delete with the placeholders.
    """

    also: tuple[int, ...] = ()

    def __call__(self, call: Call) -> dict[str, Any]:
        gone = self._gone(call)
        ids, mask = call.inputs["input_ids"], call.inputs["attention_mask"]
        kept_apart = crossed(call)
        keep = ~gone & mask.bool()
        # A stable sort moves the deleted places to one side and leaves the order of the others. An answer follows
        # a decoder's prompt on the right; encoders count places from the left, whatever is masked.
        order = (~keep if call.model.config.is_encoder_decoder else keep).long().argsort(dim=-1, stable=True)
        kept = keep.gather(1, order)
        inputs: dict[str, Any] = {}
        for name, value in call.inputs.items():
            if name == "input_ids":
                inputs[name] = ids.gather(1, order).masked_fill(~kept, call.pad_id)
            elif name == "attention_mask":
                inputs[name] = kept.to(mask.dtype)
            elif name in IMAGE_MASKS:  # cross-attention models: nothing of the picture is seen
                inputs[name] = torch.zeros_like(value)
            elif name == "position_ids":
                continue  # counted again by the model, from the mask
            elif name in BOXES:
                inputs[name] = value.gather(1, order[..., None].expand_as(value))
            elif name in PER_TOKEN:
                inputs[name] = value.gather(1, order) * kept
            elif kept_apart or not is_picture(name, value):
                inputs[name] = value
        return inputs

    def _gone(self, call: Call) -> Tensor:
        """(B, L) bool: the places a picture fills.

        Raises:
            InputError, UnsupportedModelError: there is no such place, or no text-only prompt is left.
        """
        if "input_ids" not in call.inputs:
            raise UnsupportedModelError(
                f"a prompt with text is expected, and {type(call.model).__name__} takes a picture alone: nothing is "
                "left without it; contrast with another picture (VCD), or pass negative_inputs={...}"
            )
        if call.inputs.get("image_attention_mask") is not None:
            raise UnsupportedModelError(
                f"a family that can read a text alone is expected, got {type(call.model).__name__}, which always takes "
                "pictures: its masked picture is not a text-only prompt; contrast with another picture (VCD)"
            )
        ids = call.inputs["input_ids"]
        hidden = torch.tensor([*image_token_ids(call.model), *self.also], device=ids.device)
        gone = torch.isin(ids, hidden)
        for name in PLACES:
            gone |= call.inputs.get(name, torch.zeros_like(ids)).bool()
        # An encoder may read a picture beside the ids: it then reads the ids alone.
        encoder = call.model.config.is_encoder_decoder
        apart = encoder and any(is_picture(name, value) for name, value in call.inputs.items())
        if not crossed(call) and not apart and not bool(gone.any()):
            raise InputError(
                f"the prompt should hold at least one picture placeholder {hidden.tolist()}, found none; pass inputs "
                "made by the processor from a picture and a text (if the picture of "
                f"{type(call.model).__name__} has no placeholders, there is no row without it: contrast with another "
                "picture, as VCD does)"
            )
        return gone


def crossed(call: Call) -> bool:
    """Whether the family shows its decoder the picture by cross-attention."""
    return any(call.inputs.get(name) is not None for name in IMAGE_MASKS)


@dataclass(frozen=True)
class TextOnly:
    """A prompt of words alone in the place of the prompt with its picture, such as the chat template makes for a text.

    `NoImage` leaves what frames a picture in the template (a line break, tokens for its start and end); this is for
    templates that ask differently without one.

    Args:
        text: the whole prompt, one for all or one for each; words (the processor's tokenizer reads them, with no
            special tokens added), or token ids.

    Example:
        >>> Imagination(-0.5, negative=TextOnly("USER: Describe the image. ASSISTANT:"))  # doctest: +SKIP
    """

    text: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

    def __call__(self, call: Call) -> dict[str, Any]:
        if "input_ids" not in call.inputs or call.model.config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"a decoder-only model with a prompt is expected, got {type(call.model).__name__}; contrast with "
                "another picture (VCD), or pass negative_inputs={...}"
            )
        rows = self._rows(call, len(call.inputs["input_ids"]))
        length = max(map(len, rows))
        like = {"dtype": torch.long, "device": call.inputs["input_ids"].device}
        ids = torch.tensor([[call.pad_id] * (length - len(row)) + row for row in rows], **like)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], **like)
        made = {"input_ids": ids, "attention_mask": mask}
        for name, value in call.inputs.items():
            if name in IMAGE_MASKS:  # cross-attention models: nothing of the picture is seen
                made[name] = value.new_zeros(value.shape[0], length, *value.shape[2:])
                made |= {name: value for name, value in call.inputs.items() if is_picture(name, value)}
            elif name in TOKEN_TYPES:
                made[name] = torch.zeros_like(ids)
        return made

    def _rows(self, call: Call, prompts: int) -> list[list[int]]:
        given: list[Any] = [self.text] if isinstance(self.text, str) else list(self.text)
        if given and all(isinstance(token, int) for token in given):
            given = [given]
        if len(given) not in (1, prompts) or not all(given):
            raise InputError(
                f"one text or one for each of {prompts} prompts is expected, got {self.text!r}; give words"
            )
        return [token_ids(row, call) for row in given] * (prompts // len(given))


@dataclass(frozen=True)
class ExplicitInputs:
    """Model inputs the caller made: they replace those of the original row; None leaves one out."""

    inputs: Mapping[str, Any]

    def __call__(self, call: Call) -> dict[str, Any]:
        unknown = sorted(set(self.inputs) - set(call.inputs) - set(PER_TOKEN) - {"input_ids"})
        if unknown:
            raise InputError(
                f"negative_inputs should name inputs of the original row {sorted(call.inputs)}, got {unknown}; "
                "remove them, or pass them to the original row too"
            )
        merged = {**call.inputs, **self.inputs}
        if "input_ids" in self.inputs and "attention_mask" not in self.inputs:
            raise InputError("negative_inputs with input_ids need their attention_mask too, got none; add it")
        return merged


def token_ids(text: str | Sequence[int], call: Call) -> list[int]:
    """Words as the processor's tokenizer reads them, with no special tokens added; token ids as they are."""
    if not isinstance(text, str):
        return list(text)
    tokenizer = getattr(call.processor, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            f"a processor with a tokenizer is needed to read words, got {type(call.processor).__name__}; give it to "
            ".on(model, processor), or pass the text as token ids"
        )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def generator(seed: int) -> torch.Generator:
    """A generator of its own: the same draw for every picture, step and beam, and the global state untouched."""
    return torch.Generator().manual_seed(seed)
