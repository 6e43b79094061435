"""Make the inputs of negative branches: the same prompt without its image, other words, or inputs of the caller's.

`image_transforms.py` has the branches that see another image. A maker is any callable `(call) -> model inputs`: it
gets the call as the user made it, and returns the inputs of the branch as the user would pass them to `model.generate`.
Its prompt may have another length. Random numbers come from a generator of the maker's own, drawn once per call and
alike for every image of the batch, so that a branch does not depend on the rest of the batch and the global random
state is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.engine.batch import BOXES, IMAGE_MASKS, PER_TOKEN, PLACES, TOKEN_TYPES, ModelInputs
from halluguard.errors import InputError, UnsupportedModelError


@dataclass(frozen=True)
class Call:
    """One call of a view's `generate`.

    Args:
        model: the caller's model.
        processor: its processor, or None when the view was made without one.
        inputs: the model inputs as given, with `attention_mask` filled in; `input_ids` is (B, L).
        images: the images (RGB), when given, in the order of their placeholders: one list, or a list per prompt.
        pad_id: token for masked positions.
    """

    model: PreTrainedModel
    processor: ProcessorMixin | None
    inputs: Mapping[str, Any]
    images: Sequence[Image | Sequence[Image]] | None = None
    pad_id: int = 0


class NegativeInputs(Protocol):
    """Maker of the inputs of a negative branch: `(call) -> model inputs`."""

    def __call__(self, call: Call) -> ModelInputs: ...


def image_token_ids(model: PreTrainedModel) -> list[int]:
    """Ids of the placeholders that images and videos fill, as the model's config names them."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    ids = {getattr(model.config, name, None) for name in names}
    ids.add((getattr(model.config, "vocabulary_map", None) or {}).get("<image>"))  # chameleon, emu3
    return sorted(i for i in ids if isinstance(i, int))


def visual_token_ids(model: PreTrainedModel) -> list[int]:
    """`image_token_ids`, and the tokens beside the placeholders that are embedded with the image (Ovis2)."""
    return image_token_ids(model) + list(getattr(model.config, "visual_indicator_token_ids", None) or ())


def reads_by_encoder(model: PreTrainedModel) -> bool:
    """Whether an encoder reads the prompt, that of the model or of its inner language model (BLIP-2 on T5)."""
    return bool(model.config.is_encoder_decoder or getattr(model.config.get_text_config(), "is_encoder_decoder", False))


def is_image_input(name: str, value: object) -> bool:
    """Whether a model input carries image data (and not one value per token, nor the start of the answer)."""
    if name == "input_ids" or name in PER_TOKEN or name.startswith("decoder_"):
        return False
    return not isinstance(value, bool | int | float | str | None)


def crossed(call: Call) -> bool:
    """Whether the family shows its decoder the image by cross-attention."""
    return any(call.inputs.get(name) is not None for name in IMAGE_MASKS)


@dataclass(frozen=True)
class NoImage:
    """The prompt without its image: placeholders deleted, the remaining tokens moved together, nothing to encode.

    It equals the text-only prompt of the same tokens: it is padded on the left like any shorter prompt of a batch (on
    the right, where an encoder reads it), with positions counted over the remaining tokens. Tokens around the
    placeholders, such as vision start and end, stay unless named in `also`.

    Args:
        also: further token ids to delete with the placeholders.
    """

    also: tuple[int, ...] = ()

    def __call__(self, call: Call) -> ModelInputs:
        deleted = self._deleted(call)
        ids, mask = call.inputs["input_ids"], call.inputs["attention_mask"]
        kept_apart = crossed(call)
        keep = ~deleted & mask.bool()
        # A stable sort moves the deleted places to one side and leaves the order of the others. An answer follows
        # a decoder's prompt on the right; encoders count places from the left, whatever is masked.
        order = (~keep if reads_by_encoder(call.model) else keep).long().argsort(dim=-1, stable=True)
        kept = keep.gather(1, order)
        if not reads_by_encoder(call.model) and not kept_apart and "position_ids" not in call.inputs:
            width = max(1, int(kept.sum(-1).max()))  # the longest prompt without its image
            order, kept = order[:, -width:], kept[:, -width:]
        inputs: ModelInputs = {}
        for name, value in call.inputs.items():
            if name == "input_ids":
                inputs[name] = ids.gather(1, order).masked_fill(~kept, call.pad_id)
            elif name == "attention_mask":
                inputs[name] = kept.to(mask.dtype)
            elif name in IMAGE_MASKS:  # cross-attention models: nothing of the image is seen
                inputs[name] = torch.zeros_like(value)
            elif name in TOKEN_TYPES:  # those that framed an image are text now (Molmo 2)
                inputs[name] = torch.zeros_like(kept, dtype=value.dtype)
            elif name == "position_ids":
                continue  # counted again by the model, from the mask
            elif name in BOXES:
                inputs[name] = value.gather(1, order[..., None].expand_as(value))
            elif name in PER_TOKEN:
                inputs[name] = value.gather(1, order) * kept
            elif kept_apart or not is_image_input(name, value):
                inputs[name] = value
        return inputs

    def _deleted(self, call: Call) -> Tensor:
        """(B, L) bool: the tokens that an image fills.

        Raises:
            InputError, UnsupportedModelError: there is no such token, or no text-only prompt remains.
        """
        family = type(call.model).__name__
        if "input_ids" not in call.inputs:
            raise UnsupportedModelError(
                f"a prompt with text is expected, and {family} takes an image alone: nothing remains without it; "
                "contrast with another image (VCD), or pass negative_inputs={...}"
            )
        if call.inputs.get("image_attention_mask") is not None:
            raise UnsupportedModelError(
                f"a family that can read a text alone is expected, got {family}, which always takes images: its masked "
                "image is not a text-only prompt; contrast with another image (VCD)"
            )
        ids = call.inputs["input_ids"]
        placeholders = torch.tensor([*visual_token_ids(call.model), *self.also], device=ids.device)
        deleted = torch.isin(ids, placeholders)
        for name in PLACES:
            deleted |= call.inputs.get(name, torch.zeros_like(ids)).bool()
        # An encoder may read an image beside the ids: it then reads the ids alone.
        encoder = call.model.config.is_encoder_decoder
        apart = encoder and any(is_image_input(name, value) for name, value in call.inputs.items())
        if not crossed(call) and not apart and not bool(deleted.any()):
            raise InputError(
                f"at least one image placeholder {placeholders.tolist()} is expected in the prompt, got none; pass "
                f"inputs that the processor made from an image and a text (if {family} shows its image without "
                "placeholders, there is no branch without it: contrast with another image, as VCD does)"
            )
        return deleted


@dataclass(frozen=True)
class TextOnly:
    """A text-only prompt in place of the prompt with its image, such as the chat template makes for a text.

    `NoImage` leaves the tokens that frame an image in the template (a line break, tokens for its start and end). This
    is for templates that ask differently without an image.

    Args:
        text: the whole prompt, one for all or one for each; words (read by the processor's tokenizer, with no special
            tokens added), or token ids.

    Example:
        >>> branch = TextOnly("USER: Describe the image. ASSISTANT:")  # Imagination(-0.5, negative=branch)
    """

    text: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

    def __call__(self, call: Call) -> ModelInputs:
        if "input_ids" not in call.inputs or call.model.config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"a decoder-only model with a prompt is expected, got {type(call.model).__name__}; contrast with "
                "another image (VCD), or pass negative_inputs={...}"
            )
        prompts = self._prompts(call, len(call.inputs["input_ids"]))
        length = max(map(len, prompts))
        padding = [length - len(prompt) for prompt in prompts]
        device = call.inputs["input_ids"].device
        ids = torch.tensor([[call.pad_id] * n + p for n, p in zip(padding, prompts, strict=True)], device=device)
        mask = torch.tensor([[0] * n + [1] * (length - n) for n in padding], device=device)
        made: ModelInputs = {"input_ids": ids, "attention_mask": mask}
        for name, value in call.inputs.items():
            if name in IMAGE_MASKS:  # cross-attention models: nothing of the image is seen
                made[name] = value.new_zeros(value.shape[0], length, *value.shape[2:])
                made |= {name: value for name, value in call.inputs.items() if is_image_input(name, value)}
            elif name in TOKEN_TYPES:
                made[name] = torch.zeros_like(ids)
        return made

    def _prompts(self, call: Call, count: int) -> list[list[int]]:
        texts: list[Any] = [self.text] if isinstance(self.text, str) else list(self.text)
        if texts and all(isinstance(token, int) for token in texts):
            texts = [texts]
        if len(texts) not in (1, count) or not all(texts):
            raise InputError(f"one text or one for each of {count} prompts is expected, got {self.text!r}; give words")
        return [token_ids(text, call) for text in texts] * (count // len(texts))


@dataclass(frozen=True)
class ExplicitInputs:
    """Model inputs that the caller made: they replace those of the original branch; None leaves one out."""

    inputs: Mapping[str, Any]

    def __call__(self, call: Call) -> ModelInputs:
        unknown = sorted(set(self.inputs) - set(call.inputs) - set(PER_TOKEN) - {"input_ids"})
        if unknown:
            raise InputError(
                f"negative_inputs should name inputs of the original branch {sorted(call.inputs)}, got {unknown}; "
                "remove them, or pass them to the original branch too"
            )
        merged = {**call.inputs, **self.inputs}
        if "input_ids" in self.inputs and "attention_mask" not in self.inputs:
            raise InputError("negative_inputs with input_ids need their attention_mask too, got none; add it")
        return merged


def token_ids(text: str | Sequence[int], call: Call) -> list[int]:
    """Words as the processor's tokenizer reads them, with no special tokens added; token ids unchanged."""
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
    """A new random generator, so that every image, step and beam gets the same draw."""
    return torch.Generator().manual_seed(seed)
