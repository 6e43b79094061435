"""Demonstrations from a user's own images: answers to compare, and the model's hidden states at each.

The computation behind `vti.Directions.fit`. Everything runs on shared copies of the model, one demonstration at a time:
nothing is left on the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.chat_templates import render_chat
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.engine.steering import last_residuals, principal, vision_tower
from halluguard.decoding.image_transforms import masked_image
from halluguard.decoding.negative_inputs import ModelInputs, generator
from halluguard.errors import InputError, UnsupportedModelError


@dataclass(frozen=True)
class Demonstrations:
    """Images and a prompt, read by a model.

    Args:
        model: any image-text-to-text model.
        processor: its processor.
        images: the images.
        prompt: question about each image.
        masked: share of the patches that are masked in a blinded image.
        seed: seed of the masks.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    images: Sequence[Image]
    prompt: str
    masked: float = 0.99
    seed: int = 0

    def answers(self, max_new_tokens: int, blinded: bool = False) -> list[str]:
        """The model's own greedy answers; with `blinded`, the answers about images with most patches masked."""
        answers, draw = [], generator(self.seed)
        for image in self.images:
            shown = masked_image(image, self.masked, self._grid, draw) if blinded else image
            inputs = self.inputs(shown, "")
            with torch.inference_mode():
                ids = shared_copy_of(self.model).generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            text = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
            answers.append(text.strip())
        return answers

    def residuals(self, answers: Sequence[str]) -> Tensor:
        """(n, layers, H): the hidden states of the decoder's layers at the last token of each answer."""
        pairs = zip(self.images, answers, strict=True)
        return torch.stack([last_residuals(self.model, self.inputs(i, a))[:, 0] for i, a in pairs])

    def vision(self, trials: int) -> Tensor:
        """(layers, tokens, H): the image encoder's direction, from `trials` maskings of each image.

        Raises:
            UnsupportedModelError: the encoder does not take whole images, or its tokens vary in number.
        """
        draw, differences = generator(self.seed), []
        for image in self.images:
            whole = self._vision_states(image)
            blinded = [masked_image(image, self.masked, self._grid, draw) for _ in range(trials)]
            differences.append(torch.stack([self._vision_states(copy) for copy in blinded]).mean(0) - whole)
        if len({difference.shape for difference in differences}) > 1:
            raise UnsupportedModelError(
                "an image encoder with a fixed number of tokens is expected, got one whose number depends on the "
                "image; use vision=0, which steers the text alone"
            )
        layers, tokens, width = differences[0].shape
        per_token = torch.stack(differences).permute(2, 0, 1, 3).flatten(2)  # (tokens, n, layers * H)
        return principal(per_token).reshape(tokens, layers, width).transpose(0, 1)

    def _vision_states(self, image: Image) -> Tensor:
        """(layers, tokens, H) fp32: outputs of the image encoder's layers."""
        tower, layers = vision_tower(shared_copy_of(self.model))
        pixels = self.processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        if pixels.ndim != 4 or len(pixels) != 1:
            raise UnsupportedModelError(
                f"an image encoder that takes whole images is expected, got pixels of shape {tuple(pixels.shape)}; "
                "use vision=0, which steers the text alone"
            )
        states: list[Tensor] = []
        for layer in layers:
            layer.register_forward_hook(
                lambda module, args, output: states.append((output[0] if isinstance(output, tuple) else output)[0])
            )
        with torch.inference_mode():
            tower(pixels.to(self.model.device, self.model.dtype))
        return torch.stack(states).float()

    @property
    def _grid(self) -> int:
        """Patches per side of the image encoder."""
        vision = getattr(self.model.config, "vision_config", None)
        size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
        return size // patch if isinstance(size, int) and isinstance(patch, int) else 24  # LLaVA-1.5's

    def inputs(self, image: Image, answer: str) -> ModelInputs:
        """Model inputs of an image, the prompt and the beginning of its answer."""
        if getattr(self.processor, "apply_chat_template", None) is None:
            raise InputError(
                f"a processor of an image-text-to-text model is expected, got {self.processor!r}; load one with "
                "AutoProcessor"
            )
        text = self.prompt
        if getattr(self.processor, "chat_template", None) is not None:
            content = [{"type": "image"}, {"type": "text", "text": self.prompt}]
            messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
            text = render_chat(self.processor, messages)
        inputs = self.processor(images=[image], text=[text + (f" {answer}" if answer else "")], return_tensors="pt")
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if torch.is_tensor(value)
        }
