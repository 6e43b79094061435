"""PTI: steer the keys and values of the prompt once, before the answer begins.

    x <- |x| normalised( x / |x| + strength (1 + max(0, cos(x, -d))) d / |d| )     x: a key or a value of one head
    image directions d    on all image tokens
    text directions d     on the last token but one of the prompt
    The last token of the prompt and the answer see the steered keys and values; nothing else of the prompt does.

Zhang et al. 2026, CVPR, arXiv 2604.25642. Original code: huaiyi66/PTI (Apache-2.0), `cache_utils/cache_steer.py`. The
code steers as above, keys after their rotation; the paper prints x + strength d. The code reads the prompt without its
last token, steers, and generates. So what it calls the last token is the last but one.

    image  d = principal( mean over image tokens of  cache(objects alone) - cache(background alone) )
    text   d = principal( cache(v, question + list of objects) - cache(v, question + text without objects) )
               at the last token
    principal: mean + first principal component over images, per layer

Differences from the original: objects are boxes of the caller's detector (the code has COCO's masks), on black; the
text without objects is the caller's, and without one it is the question alone; the directions are a safetensors file
(the authors' are pickled). Not taken over: the authors' directions for LLaVA, which hold for one layout of the prompt.
Directions of keys hold for the layout of the prompt that they were computed with, because keys are rotated by their
places; those of values hold for any.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.demonstrations import Demonstrations
from halluguard.decoding.engine.compatibility import cache_name
from halluguard.decoding.engine.heads import heads_of
from halluguard.decoding.engine.layers import READS_LOGITS, depth
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.engine.steering import principal, steered
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.engine.wrapped_attention import Attention, wrap_attention
from halluguard.decoding.methods.vista import strength
from halluguard.decoding.negative_inputs import ModelInputs, generator, image_token_ids
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import InputError, SettingsError, UnsupportedModelError
from halluguard.records import XYXY
from halluguard.tensor_files import read_tensors

PROMPT = "Describe this image in detail."
"""Question of the demonstrations. Code."""

Parts = Literal["both", "image", "text"]


def steered_states(states: Tensor, direction: Tensor, lam: float) -> Tensor:
    """States (..., D) of one head turned towards a direction (..., D), more where they point away from it.

    >>> steered_states(torch.tensor([3.0, 4.0]), torch.tensor([0.0, -2.0]), 0.6)
    tensor([ 4.5309, -2.1144])
    """
    return steered(states, direction, strength(states, direction, lam))


@dataclass(frozen=True, eq=False)
class PromptDirections:
    """Directions that PTI steers along, each (layers, key heads, D).

    Args:
        image_keys, image_values: of image tokens.
        text_keys, text_values: of the last token but one of the prompt.
    """

    image_keys: Tensor
    image_values: Tensor
    text_keys: Tensor
    text_values: Tensor

    def __repr__(self) -> str:
        """The shape, and a checksum that tells directions apart in an answer's settings."""
        check = zlib.crc32(b"".join(part.float().cpu().contiguous().numpy().tobytes() for part in vars(self).values()))
        return f"PromptDirections({tuple(self.image_keys.shape)}, crc32={check:08x})"

    @classmethod
    def fit(
        cls,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        images: Sequence[Image.Image],
        boxes: Sequence[Sequence[XYXY]],
        objects: Sequence[Sequence[str]],
        rest: Sequence[str] | None = None,
        *,
        prompt: str = PROMPT,
    ) -> Self:
        """Compute directions from images and the boxes of their objects; four readings of the prompt per image.

        Args:
            model: the model to steer.
            processor: its processor.
            images: images; the authors take 100. Those without boxes are skipped; at least two must have some.
            boxes: the boxes of each image's objects, in pixels.
            objects: the names of each image's objects.
            rest: one caption per image, from which the words for objects were cut; None adds no text to the question.
            prompt: question about each image. Steer with directions of a prompt of the same layout.
        """
        texts = [""] * len(images) if rest is None else list(rest)
        if not len(images) == len(boxes) == len(objects) == len(texts):
            raise InputError(
                f"boxes, objects and texts for each of {len(images)} images are expected, got {len(boxes)}, "
                f"{len(objects)} and {len(texts)}; give one of each"
            )
        rows = [row for row in zip(images, boxes, objects, texts, strict=True) if row[1]]
        if len(rows) < 2:
            raise InputError(f"at least two images with boxes are expected, got {len(rows)}; the authors take 100")
        differences = []
        for image, own, names, text in rows:
            seen = Demonstrations(model, processor, [image], prompt)
            named = replace(seen, prompt=f"{prompt} {', '.join(names)}")
            unnamed = replace(seen, prompt=f"{prompt} {text}".strip())
            alone, around = (_cached(model, seen.inputs(part, "")) for part in parted(image, own))
            with_names, without = (_cached(model, one.inputs(image, "")) for one in (named, unnamed))
            differences.append(
                [
                    *(a[0] - b[0] for a, b in zip(alone, around, strict=True)),
                    *(a[1] - b[1] for a, b in zip(with_names, without, strict=True)),
                ]
            )
        shape = differences[0][0].shape
        return cls(
            *(principal(torch.stack(parts, 1).flatten(2)).reshape(shape) for parts in zip(*differences, strict=True))
        )

    @classmethod
    def random(cls, model: PreTrainedModel, seed: int = 0) -> Self:
        """Random directions of a model's shape: a baseline for fitted ones."""
        config = model.config.get_text_config(decoder=True)
        heads = heads_of(model)
        key_heads = getattr(config, "num_key_value_heads", None) or heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        draw = generator(seed)
        return cls(
            *(torch.randn(depth(model), key_heads, width, generator=draw, device=draw.device) for _ in fields(cls))
        )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        save_file({name: value.contiguous().cpu() for name, value in vars(self).items()}, str(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote."""
        parts, _ = read_tensors(path, content="directions", advice="make them with PromptDirections.fit(...).save")
        names = {field.name for field in fields(cls)}
        if set(parts) != names:
            raise InputError(f"{sorted(names)} are expected in {path}, got {sorted(parts)}; see PromptDirections.fit")
        return cls(**parts)


def parted(image: Image.Image, boxes: Sequence[XYXY]) -> tuple[Image.Image, Image.Image]:
    """Two images on black: the pixels inside the boxes, and the pixels outside all boxes."""
    inside = Image.new("L", image.size)
    for x1, y1, x2, y2 in boxes:
        inside.paste(255, (int(x1), int(y1), max(int(x1) + 1, round(x2)), max(int(y1) + 1, round(y2))))
    black, shown = Image.new("RGB", image.size), image.convert("RGB")
    return Image.composite(shown, black, inside), Image.composite(black, shown, inside)


def _cached(model: PreTrainedModel, inputs: ModelInputs) -> list[tuple[Tensor, Tensor]]:
    """The mean over image tokens and the last token, of keys and of values, each (layers, key heads, D) fp32."""
    with torch.inference_mode():
        output = shared_copy_of(model).generate(
            **inputs, max_new_tokens=1, do_sample=False, num_beams=1, return_dict_in_generate=True
        )
    name = cache_name(output)
    layers: list[Any] = [] if name is None else getattr(output[name], "layers", [])
    ids = inputs["input_ids"][0]
    image = torch.isin(ids, torch.tensor(image_token_ids(model), device=ids.device))
    whole: list[Any] = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    shapes = {part.shape for pair in whole for part in pair if torch.is_tensor(part)}
    holds_all = bool(whole) and len(shapes) == 1 and None not in whole[0] and next(iter(shapes))[2] == len(ids)
    if not holds_all or not bool(image.any()):
        raise UnsupportedModelError(
            "a cache with the keys and values of all tokens, image tokens among them, is expected in every layer, and "
            f"that of {type(model).__name__} is another; {READS_LOGITS}"
        )
    both = [torch.stack([part[0] for part in parts]).float() for parts in zip(*whole, strict=True)]
    return [(states[:, :, image].mean(2).clone(), states[:, :, -1].clone()) for states in both]


@dataclass(frozen=True, eq=False)
class PTI(DecodingMethod):
    """Steer the keys and values of the image's tokens, and of the last token but one of the prompt, once.

    Needs directions made for the model (`PromptDirections.fit`). After the prompt, no token costs anything. Refused:
    directions of another model's shape, models without image tokens in the prompt, caches that keep no copy of each
    layer's own keys (quantised ones, layers that share keys).

    Args:
        directions: `PromptDirections`, or the file they were saved in.
        keys: strength on keys, >= 0; 0 leaves them alone. README, LLaVA-1.5: 0.1.
        values: strength on values, >= 0; 0 leaves them alone. README, LLaVA-1.5: 0.6.
        parts: what is steered: "image" tokens, the token of the "text", or "both".

    Example:
        >>> PromptDirections.fit(model, processor, images, boxes, objects).save("pti.safetensors")  # doctest: +SKIP
        >>> PTI("pti.safetensors").on(model).generate(**inputs)                                     # doctest: +SKIP
    """

    PRESETS: ClassVar = {
        "off": Preset({"keys": 0.0, "values": 0.0}),
        "llava": Preset({"keys": 0.1, "values": 0.6, "parts": "both"}, "README, LLaVA-1.5-7B; argparse has no default"),
        "image": Preset({"keys": 0.1, "values": 0.6, "parts": "image"}, "the same; an ablation of the paper"),
        "text": Preset({"keys": 0.1, "values": 0.6, "parts": "text"}, "the same; an ablation of the paper"),
    }
    reference = "Zhang et al., CVPR 2026, arXiv 2604.25642. Code: huaiyi66/PTI"
    cost = Cost(requires="directions, made once with `PromptDirections.fit`; image tokens in the prompt")
    law_settings: ClassVar = {"keys": 2.0, "values": 4.0}

    directions: PromptDirections | str | Path | None = None
    keys: float = 0.1
    values: float = 0.6
    parts: Parts = "both"

    def __post_init__(self) -> None:
        for name in ("keys", "values"):
            check_range(name, getattr(self, name), 0, advice="use 0 to leave them alone")
        if self.parts not in get_args(Parts):
            raise SettingsError(f"parts must be one of {get_args(Parts)}, got {self.parts!r}; choose one")
        if isinstance(self.directions, str | Path):
            object.__setattr__(self, "directions", PromptDirections.load(self.directions))

    @classmethod
    def required_settings(cls, model: PreTrainedModel) -> dict[str, Any]:
        return {"directions": PromptDirections.random(model)}

    def bind(self, view: FoldedView) -> PTI:
        if not isinstance(self.directions, PromptDirections):
            raise SettingsError(
                "PTI needs directions made for this model, got none; make them on images of your own: "
                "PTI(PromptDirections.fit(model, processor, images, boxes, objects)), from "
                "halluguard.decoding.methods.pti"
            )
        wrap_attention(view, _Steering(self, self.directions, view))
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None


class _Steering:
    """The steering of one call.

    The reading of the prompt runs plainly; then its last token, and the tokens of an answer that has begun, attend once
    more to the steered keys and values, which stay in the cache.
    """

    def __init__(self, method: PTI, directions: PromptDirections, view: FoldedView) -> None:
        self.method, self.directions, self.view = method, directions, view
        self.kept: dict[int, tuple[int, Tensor]] = {}  # layer -> a steered column and its value, to be found again
        self.read: list[Tensor] = []  # the values of the layers before this one, in the reading of the prompt

    def __call__(self, attention: Attention) -> Tensor:
        layout, output = self.view.layout, attention.plain()
        if attention.layer == 0:
            self.read.clear()
        if not layout.prefill:
            self._check_kept(attention)
            return output
        image = layout.image_tokens(attention.key.shape[2])
        key = self._steered("keys", attention.key, attention.layer, image)
        value = self._steered("values", attention.value, attention.layer, image)
        last = layout.length - layout.prompt + 1
        output[:, -last:] = attention.of_last(last, layout.length, key, value).to(output.dtype)
        if any(attention.value.data_ptr() == other.data_ptr() for other in self.read):
            raise UnsupportedModelError(
                f"every layer is expected to have keys and values of its own, but layers of {type(self.view).__name__} "
                f"share them; {READS_LOGITS}"
            )
        self.read.append(attention.value)
        attention.key.copy_(key)
        attention.value.copy_(value)
        column = layout.prompt - 2 if self.method.parts == "text" else int(image[0].long().argmax())
        self.kept[attention.layer] = column, value[0, 0, column].clone()
        return output

    def _steered(self, kind: Literal["keys", "values"], states: Tensor, layer: int, image: Tensor) -> Tensor:
        """States (B, key heads, K, D) with the columns of the image and of the text steered."""
        method, lam = self.method, getattr(self.method, kind)
        steered_ones = states.clone()
        of_image, of_text = (self._direction(f"{part}_{kind}", layer, states) for part in ("image", "text"))
        if not lam:
            return steered_ones
        if method.parts != "text":
            turned = steered_states(states, of_image[:, None], lam)
            steered_ones = turned.where(image[:, None, :, None], steered_ones)
        column = self.view.layout.prompt - 2
        if method.parts != "image" and column >= 0:
            steered_ones[:, :, column] = steered_states(steered_ones[:, :, column], of_text, lam)
        return steered_ones

    def _direction(self, name: str, layer: int, states: Tensor) -> Tensor:
        """The direction of a layer, as (key heads, D)."""
        directions: Tensor = getattr(self.directions, name)
        own = (states.shape[1], states.shape[3])
        if layer >= len(directions) or directions.shape[1:] != own or len(directions) != depth(self.view):
            raise InputError(
                f"directions of {depth(self.view)} layers of shape {own} are expected, got {tuple(directions.shape)}: "
                f"they were made for another model than {type(self.view).__name__}; make them with PromptDirections.fit"
            )
        return directions[layer].to(states.device)

    def _check_kept(self, attention: Attention) -> None:
        """Check at the first token of the answer that the cache has kept the steered vectors."""
        column, expected = self.kept.pop(attention.layer, (0, None))
        if expected is None:
            return
        seen = attention.value.shape[2]
        if seen < self.view.layout.length or not torch.equal(attention.value[0, 0, column], expected):
            raise UnsupportedModelError(
                f"a cache that keeps the steered keys and values is expected, and that of {type(self.view).__name__} "
                "does not; use the default cache, or a method that reads logits only, such as VCD"
            )
