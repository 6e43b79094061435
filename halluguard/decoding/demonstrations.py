"""Demonstrations from a user's own pictures: a faithful answer, a hallucinated one, and what a model makes of both.

The recipe behind `vti.Directions.fit`. Everything runs on twins, one demonstration at a time: nothing is left on the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from halluguard.decoding.engine.shared_copy import twin_of
from halluguard.decoding.engine.steering import last_residuals, principal, vision_tower
from halluguard.decoding.image_transforms import masked_picture
from halluguard.decoding.negative_inputs import generator
from halluguard.errors import InputError, UnsupportedModelError


@dataclass(frozen=True)
class Demonstrations:
    """Pictures and a prompt, read by a model.

    Args:
        model, processor: any image-text-to-text model and its processor.
        images: pictures (PIL). prompt: asked about each.
        masked: share of the patches that are masked in a blinded picture. seed: of the masks.
    """

    model: Any
    processor: Any
    images: Sequence[Image.Image]
    prompt: str
    masked: float = 0.99
    seed: int = 0

    def answers(self, max_new_tokens: int, blinded: bool = False) -> list[str]:
        """The model's own, greedy; `blinded`: about the pictures with most patches masked."""
        found, draw = [], generator(self.seed)
        for image in self.images:
            seen = masked_picture(image, self.masked, self._grid, draw) if blinded else image
            inputs = self._inputs(seen, "")
            with torch.inference_mode():
                ids = twin_of(self.model).generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            text = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
            found.append(text.strip())
        return found

    def residuals(self, answers: Sequence[str]) -> Tensor:
        """(n, layers, H): at the last token of each answer."""
        pairs = zip(self.images, answers, strict=True)
        return torch.stack([last_residuals(self.model, self._inputs(i, a))[:, 0] for i, a in pairs])

    def vision(self, trials: int) -> Tensor:
        """(layers, tokens, H): the picture encoder's direction, from `trials` maskings of each picture.

        Raises:
            UnsupportedModelError: the encoder takes something else than whole pictures, or its tokens vary in number.
        """
        draw, differences = generator(self.seed), []
        for image in self.images:
            whole = self._vision_states([image])
            spoilt = [masked_picture(image, self.masked, self._grid, draw) for _ in range(trials)]
            differences.append(torch.stack([self._vision_states([s]) for s in spoilt]).mean(0) - whole)
        if len({d.shape for d in differences}) > 1:
            raise UnsupportedModelError("a picture encoder of a fixed number of tokens is expected; use vision=0")
        layers, tokens, width = differences[0].shape
        per_token = torch.stack(differences).permute(2, 0, 1, 3).flatten(2)  # (tokens, n, layers * H)
        return principal(per_token).reshape(tokens, layers, width).transpose(0, 1)

    def _vision_states(self, images: list[Image.Image]) -> Tensor:
        tower, layers = vision_tower(twin_of(self.model))
        pixels = self.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        if pixels.ndim != 4 or len(pixels) != len(images):
            raise UnsupportedModelError(
                f"a picture encoder that takes whole pictures is expected, got pixels of shape {tuple(pixels.shape)}; "
                "use vision=0, which steers the text alone"
            )
        taken: list[Tensor] = []
        for layer in layers:
            layer.register_forward_hook(
                lambda module, args, output: taken.append((output[0] if isinstance(output, tuple) else output)[0])
            )
        with torch.inference_mode():
            tower(pixels.to(self.model.device, self.model.dtype))
        return torch.stack(taken).float()

    @property
    def _grid(self) -> int:
        vision = getattr(self.model.config, "vision_config", None)
        size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
        return size // patch if isinstance(size, int) and isinstance(patch, int) else 24  # LLaVA-1.5's

    def _inputs(self, image: Image.Image, answer: str) -> dict[str, Any]:
        """Model inputs of a picture, the prompt and the beginning of its answer."""
        if getattr(self.processor, "apply_chat_template", None) is None:
            raise InputError(f"a processor of an image-text-to-text model is expected, got {self.processor!r}; load it")
        text = self.prompt
        if getattr(self.processor, "chat_template", None) is not None:
            content = [{"type": "image"}, {"type": "text", "text": self.prompt}]
            text = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        made = self.processor(images=[image], text=[text + (f" {answer}" if answer else "")], return_tensors="pt")
        model = self.model
        return {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in made.items()
            if torch.is_tensor(value)
        }
