"""VTI: visual and textual intervention, by directions computed once.

    h <- |h| normalised( h / |h| + 0.1 strength d_k / |d_k| )         output of the MLP of layer k
    text     d = mean + first principal component, over demonstrations, of
                 residuals(v, x, faithful answer) - residuals(v, x, hallucinated answer)     at the last token
    vision   d = the same, for each token of the image encoder, of
                 mean over trials of states(v with most patches masked) - states(v)

Liu et al. 2025, "Reducing hallucinations in large vision-language models via latent space steering", ICLR, arXiv
2410.15778. Original code: shengliu66/VTI (no licence file found), `vti_utils/`.

Differences from the original: the directions are computed from the caller's own images (`Directions.fit`), with answers
of the caller's or, without them, of the model's own: its answer about the image, and about the image with its patches
masked. The latter is our stand-in for the authors' answers, which GPT wrote. Residuals are read before the final norm;
the type stays the model's (the code casts to half); modules are found by name (the code takes the longest list of
modules).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL.Image import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.demonstrations import Demonstrations
from halluguard.decoding.engine.layers import decoder_layers, depth
from halluguard.decoding.engine.steering import principal, steer, steered, vision_tower
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import generator
from halluguard.errors import InputError, SettingsError
from halluguard.records import DEFAULT_PROMPT
from halluguard.tensor_files import read_tensors

SCALE = 0.1
"""The original's factor between its strengths and the unit vectors that they multiply."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions that VTI steers along.

    Args:
        text: (layers, H), of the decoder.
        vision: (layers, tokens, H), of the image encoder, or None.
    """

    text: Tensor
    vision: Tensor | None = None

    def __repr__(self) -> str:
        """Shapes, and a checksum that tells directions apart in an answer's settings."""
        parts = [part.detach().float().cpu().contiguous() for part in (self.text, self.vision) if part is not None]
        check = zlib.crc32(b"".join(part.numpy().tobytes() for part in parts))
        return f"Directions({', '.join(str(tuple(part.shape)) for part in parts)}, crc32={check:08x})"

    @classmethod
    def fit(
        cls,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        images: Sequence[Image],
        prompt: str = DEFAULT_PROMPT,
        faithful: Sequence[str] | None = None,
        hallucinated: Sequence[str] | None = None,
        *,
        vision: bool = False,
        masked: float = 0.99,
        trials: int = 50,
        seed: int = 0,
        max_new_tokens: int = 128,
    ) -> Self:
        """Compute directions from images.

        Args:
            model: the model to steer.
            processor: its processor.
            images: at least two images; the authors take 50 to 70.
            prompt: question about each image.
            faithful: one answer per image that is true to it; None takes the model's own.
            hallucinated: one answer per image that is not; None takes the model's own about the masked image.
            vision: compute the directions of the image encoder too.
            masked: share of the patches that take the image's mean colour. Code: 0.99.
            trials: masked copies of each image, for `vision`. Code: 50.
            seed: seed of the masks.
            max_new_tokens: limit of the model's own answers, in tokens.
        """
        if len(images) < 2:
            raise InputError(f"at least two images are expected, got {len(images)}; the authors take 50 to 70")
        demonstrations = Demonstrations(model, processor, list(images), prompt, masked, seed)
        good = demonstrations.answers(max_new_tokens) if faithful is None else list(faithful)
        bad = demonstrations.answers(max_new_tokens, blinded=True) if hallucinated is None else list(hallucinated)
        for answers in (good, bad):
            if len(answers) != len(images):
                raise InputError(
                    f"an answer for each of {len(images)} images is expected, got {len(answers)}; give one each"
                )
        difference = demonstrations.residuals(good) - demonstrations.residuals(bad)  # (n, layers, H)
        text = principal(difference.flatten(1)).reshape(difference.shape[1:])
        return cls(text, demonstrations.vision(trials) if vision else None)

    @classmethod
    def random(cls, model: PreTrainedModel, seed: int = 0) -> Self:
        """Random directions of a model's shape: a baseline for fitted ones."""
        draw, config = generator(seed), getattr(model.config, "vision_config", None)
        text = torch.randn(depth(model), model.config.get_text_config().hidden_size, generator=draw, device=draw.device)
        layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
        if not (isinstance(layers, int) and isinstance(width, int)):
            return cls(text)
        return cls(text, torch.randn(layers, 1, width, generator=draw, device=draw.device))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        parts = {"text": self.text} if self.vision is None else {"text": self.text, "vision": self.vision}
        save_file({name: value.contiguous().cpu() for name, value in parts.items()}, str(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote."""
        parts, _ = read_tensors(path, content="directions", advice="make them with Directions.fit(...).save")
        if "text" not in parts or set(parts) - {"text", "vision"}:
            raise InputError(
                f"'text' and perhaps 'vision' are expected in {path}, got {sorted(parts)}; see Directions.fit"
            )
        return cls(parts["text"], parts.get("vision"))


@dataclass(frozen=True, eq=False)
class VTI(DecodingMethod):
    """Steer decoder and image encoder along fixed directions.

    Needs directions made for the model (`Directions.fit`, which reads each demonstration twice, and its image `trials`
    times by the encoder alone). Refused: directions of another model's shape; for the image, encoders whose tokens vary
    in number.

    Args:
        directions: `Directions`, or the file they were saved in.
        text: strength in the decoder. README: 0.9; argparse: 0.8. May be negative; 0 leaves it alone.
        vision: strength in the image encoder. README: 0.9; argparse: 0. Needs `directions.vision` unless 0.

    Example:
        >>> Directions.fit(model, processor, images).save("vti.safetensors")         # doctest: +SKIP
        >>> VTI("vti.safetensors", text=0.9).on(model).generate(**inputs)            # doctest: +SKIP
    """

    PRESETS: ClassVar = {
        "off": Preset({"text": 0.0, "vision": 0.0}),
        "readme": Preset({"text": 0.9, "vision": 0.9}, "README"),
        "omitted arguments": Preset({"text": 0.8, "vision": 0.0}, "argparse"),
    }
    reference = "Liu et al., ICLR 2025, arXiv 2410.15778. Code: shengliu66/VTI"
    cost = Cost(requires="directions, made once with `Directions.fit`")
    law_settings: ClassVar = {"text": 4.0}

    directions: Directions | str | Path | None = None
    text: float = 0.9
    vision: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("text", self.text), ("vision", self.vision)):
            if not abs(value) < float("inf"):
                raise SettingsError(f"{name} must be a finite number, got {value}; use 0 to leave it alone")
        if isinstance(self.directions, str | Path):
            object.__setattr__(self, "directions", Directions.load(self.directions))
        if self.vision and isinstance(self.directions, Directions) and self.directions.vision is None:
            raise SettingsError(
                f"vision must be 0 with directions of the text alone, got {self.vision}; compute them with "
                "Directions.fit(..., vision=True)"
            )

    @classmethod
    def required_settings(cls, model: PreTrainedModel) -> dict[str, Any]:
        return {"directions": Directions.random(model)}

    @classmethod
    def fit(
        cls, model: PreTrainedModel, processor: ProcessorMixin, images: Sequence[Image], prompt: str = DEFAULT_PROMPT
    ) -> Self:
        """The method at its defaults, along text directions computed from images; see `Directions.fit` for more."""
        return cls(Directions.fit(model, processor, images, prompt))

    def bind(self, view: FoldedView) -> Self:
        if not isinstance(self.directions, Directions):
            raise SettingsError(
                "VTI needs directions made for this model, got none; make them on images of your own: "
                "VTI(Directions.fit(model, processor, images)), from halluguard.decoding.methods.vti"
            )
        family = type(view).__name__
        if self.text:
            _steer_along(decoder_layers(view), self.directions.text[:, None, None], self.text, family)
        if self.vision:
            assert self.directions.vision is not None
            _steer_along(vision_tower(view)[1], self.directions.vision[:, None], self.vision, family)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None


def _steer_along(layers: Sequence[nn.Module], directions: Tensor, strength: float, family: str) -> None:
    """Steer each layer's MLP along its direction (layers, 1, tokens or 1, H)."""
    advice = f"they were made for another model than {family}; make them with Directions.fit"
    if len(layers) != len(directions):
        raise InputError(f"directions of {len(layers)} layers are expected, got {len(directions)}: {advice}")

    def change(hidden: Tensor, layer: int) -> Tensor:
        direction = directions[layer].to(hidden.device)
        if direction.shape[-1] != hidden.shape[-1] or direction.shape[-2] not in (1, hidden.shape[-2]):
            shapes = f"of shape {tuple(hidden.shape)} are expected, got shape {tuple(direction.shape)}"
            raise InputError(f"directions that fit hidden states {shapes}: {advice}")
        return steered(hidden, direction, SCALE * strength)

    steer(layers, change)
