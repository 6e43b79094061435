"""Make model inputs of conversations, by the model's processor and its chat template.

Families differ in what their processors take: images in one list or in a list per prompt, a placeholder in a bare
prompt or none, prompts for the encoder or for the decoder. Each way is tried in a fixed order, and the first that the
processor accepts and that shows the model its images is taken. Neither the processor nor its tokenizer is written to.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.engine.batch import IMAGE_MASKS
from halluguard.decoding.negative_inputs import image_token_ids, reads_by_encoder
from halluguard.errors import HalluguardError, InputError, UnsupportedModelError, first_line
from halluguard.prompting.conversation import Conversation, Message, images_of

_REFUSALS = (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError, AssertionError)
"""Errors that processors raise for a form of inputs that they do not take."""

_RIGHT_PADDED = (("qformer_input_ids", "qformer_attention_mask"),)
"""Inputs of an encoder beside the decoder, with their masks: it counts positions from the left."""


def model_inputs(
    model: PreTrainedModel, processor: ProcessorMixin, conversations: Sequence[Conversation]
) -> dict[str, Any]:
    """Inputs of `model.generate` for B conversations, on the model's device and in its type.

    Raises:
        InputError: the chat template does not take a conversation as it is.
        UnsupportedModelError: the processor takes the conversations in no known form.
    """
    images = [conversation.images for conversation in conversations]
    errors: list[Exception] = []
    for texts in _prompts(processor, conversations):
        for layout in _layouts(images, bare=chat_template(processor) is None):
            try:
                batch = processed(model, processor, texts, layout)
            except _REFUSALS as error:
                errors.append(error)
                continue
            _check_count(processor, batch, len(conversations))
            if _shows_images(model, batch, images):
                return batch
    if errors:
        raise UnsupportedModelError(
            f"{type(processor).__name__} does not take this prompt with {len(images[0])} image(s) "
            f"({first_line(errors[0])}); check its chat template, or make the inputs yourself and call model.generate"
        ) from errors[0]
    raise UnsupportedModelError(
        f"{type(processor).__name__} leaves no place for the image in the prompt; give it a chat template that has one"
    )


def _check_count(processor: ProcessorMixin, batch: Mapping[str, Any], count: int) -> None:
    ids = batch.get("input_ids")
    if ids is not None and len(ids) != count:
        raise UnsupportedModelError(
            f"expected one prompt per question, and {type(processor).__name__} makes {len(ids)} prompts of {count}: it "
            "asks questions of its own; use the model without a Guard"
        )


def processed(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    texts: Sequence[str],
    images: Sequence[Image | Sequence[Image]] | None,
) -> dict[str, Any]:
    """The processor's inputs of B prompts and their images, padded on the side that the model reads from."""
    encodes = reads_by_encoder(model)
    options: dict[str, Any] = {"return_tensors": "pt"}
    tokenizer = getattr(processor, "tokenizer", None)
    if len(texts) > 1 or getattr(tokenizer, "pad_token", None) is not None:
        options |= {"padding": True, "padding_side": "right" if encodes else "left"}
    bos = getattr(tokenizer, "bos_token", None)
    if bos and all(text.startswith(bos) for text in texts):
        options["add_special_tokens"] = False  # the template has written it
    if images is not None:
        options["images"] = images
    batch = dict(processor(text=list(texts), **options))
    for name, mask in _RIGHT_PADDED:
        if name in batch:
            batch[name], batch[mask] = _to_the_left(batch[name], batch[mask])
    if images is not None and _lacks_token_kinds(model, processor, batch):
        batch["mm_token_type_ids"] = torch.tensor(processor.create_mm_token_type_ids(batch["input_ids"].tolist()))
    return {name: _placed(value, model) for name, value in _for_decoder(model, batch).items()}


def _lacks_token_kinds(model: PreTrainedModel, processor: ProcessorMixin, batch: Mapping[str, Any]) -> bool:
    """Whether the model counts positions by the kinds of tokens, and the processor does not write them by default."""
    takes = "mm_token_type_ids" in inspect.signature(model.forward).parameters
    made = "mm_token_type_ids" in batch or not torch.is_tensor(batch.get("input_ids"))
    return takes and not made and hasattr(processor, "create_mm_token_type_ids")


def _to_the_left(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and mask with the padding moved to the right."""
    order = (~mask.bool()).long().argsort(dim=-1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


def _for_decoder(model: PreTrainedModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs under the model's names: where the encoder reads images alone, the prompt is the decoder's."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if model.config.is_encoder_decoder and model.main_input_name != "input_ids" and "input_ids" in inputs:
        inputs["decoder_input_ids"] = inputs.pop("input_ids")
        mask = inputs.pop("attention_mask", None)
        if mask is not None and not bool(mask.all()):
            inputs["decoder_attention_mask"] = mask
        inputs.pop("token_type_ids", None)
    return inputs


def _placed(value: Any, model: PreTrainedModel) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_placed(item, model) for item in value)
    if not torch.is_tensor(value):
        return value
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def _layouts(images: Sequence[Sequence[Image]], bare: bool) -> Iterator[Sequence[Image | Sequence[Image]] | None]:
    """The forms in which processors take images: a list per prompt, or one list.

    A processor that places the image in a bare prompt itself puts it in front of the text, and some put the images of a
    list behind it (IDEFICS): there one image per prompt goes into one list.
    """
    if not any(images):
        yield None
        return
    nested = [list(of_prompt) for of_prompt in images]
    flat = [image for of_prompt in images for image in of_prompt]
    flat_first = bare and all(len(of_prompt) == 1 for of_prompt in images)
    yield flat if flat_first else nested
    yield nested if flat_first else flat


def _shows_images(model: PreTrainedModel, batch: Mapping[str, Any], images: Sequence[Sequence[Image]]) -> bool:
    """Whether every prompt with images has a place for them, in a family that places images by token ids."""
    ids = batch.get("input_ids")
    placeholders = image_token_ids(model)
    if ids is None or not placeholders or any(name in batch for name in IMAGE_MASKS):
        return True
    if not torch.is_tensor(ids):
        return True
    at = torch.isin(ids, torch.tensor(placeholders, device=ids.device))
    _check_places(model, batch, int(at.sum()), max(map(len, images)))
    placed = at.any(-1).tolist()
    if model.config.is_encoder_decoder and not any(placed):
        return True  # the encoder reads the image beside the ids
    return all(place for place, of_prompt in zip(placed, images, strict=True) if of_prompt)


def _check_places(model: PreTrainedModel, batch: Mapping[str, Any], places: int, images: int) -> None:
    """Raise where a processor of a querying transformer wrote the places of one image for several (BLIP-2).

    The model would drop the other images, or show them to the next prompt of the batch.
    """
    queries, pixels = getattr(model.config, "num_query_tokens", None), batch.get("pixel_values")
    if images == 1 or not isinstance(queries, int) or not torch.is_tensor(pixels) or pixels.ndim != 4:
        return
    if places and places != queries * len(pixels):
        raise InputError(
            f"expected one image in each prompt, as the processor of {type(model).__name__} writes places for one, got "
            f"{images}; ask about one image at a time"
        )


def _prompts(processor: ProcessorMixin, conversations: Sequence[Conversation]) -> Iterator[list[str]]:
    """The conversations as prompts of the chat template, or without one as bare texts, then with placeholders."""
    if chat_template(processor) is not None:
        yield [rendered(processor, conversation) for conversation in conversations]
        return
    for conversation in conversations:
        if len(conversation.messages) > 1:
            raise InputError(
                f"expected one question, as {type(processor).__name__} has no chat template, got "
                f"{len(conversation.messages)} messages; set processor.chat_template, or ask in one message"
            )
    bare = [conversation.question for conversation in conversations]
    yield bare
    token = getattr(processor, "image_token", None)
    if isinstance(token, str):
        counts = [len(conversation.images) for conversation in conversations]
        yield [token * count + text for text, count in zip(bare, counts, strict=True)]


def chat_template(processor: ProcessorMixin) -> Any:
    """The chat template of a processor, else of its tokenizer; None where there is none."""
    template = getattr(processor, "chat_template", None)
    return template if template is not None else getattr(getattr(processor, "tokenizer", None), "chat_template", None)


def rendered(processor: ProcessorMixin, conversation: Conversation) -> str:
    """One conversation as the chat template writes it.

    Raises:
        InputError: the template refuses it, or leaves out a message.
    """
    refusal = ""
    for as_text in (False, True):  # some templates take a message without images as a text only
        messages = [_in_template_form(message, as_text) for message in conversation.messages]
        try:
            prompt = processor.apply_chat_template(
                messages, chat_template=chat_template(processor), add_generation_prompt=True
            )
        except (TemplateError, *_REFUSALS) as error:
            if isinstance(error, HalluguardError):
                raise
            refusal = refusal or first_line(error)
            continue
        missing = _left_out(prompt, conversation)
        if missing is None:
            return prompt
        refusal = refusal or f"it leaves out {missing!r}"
    advice = (
        "move the system prompt into the first question"
        if conversation.messages[0].role == "system"
        else ("let user and assistant take turns")
    )
    raise InputError(
        f"expected a conversation that the chat template of {type(processor).__name__} takes, and it does not "
        f"({refusal}); {advice}"
    )


def _in_template_form(message: Message, as_text: bool) -> dict[str, Any]:
    if as_text and not message.images:
        return {"role": message.role, "content": message.text}
    content: list[dict[str, str]] = []
    for part in message.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            content += [{"type": "image"}] * len(images_of(part))
    return {"role": message.role, "content": content}


def _left_out(prompt: str, conversation: Conversation) -> str | None:
    """A text of the conversation that the prompt lacks; None where all are there."""
    texts = [part.strip() for message in conversation.messages for part in message.parts if isinstance(part, str)]
    return next((text[:40] for text in texts if prompt.count(text) < texts.count(text)), None)
