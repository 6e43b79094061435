"""VTI: visual and textual intervention, by directions computed once.

    h <- |h| normalised( h / |h| + 0.1 strength d_k / |d_k| )         what the MLP of layer k returns
    text     d = mean + first principal component, over demonstrations, of
                 residuals(v, x, faithful answer) - residuals(v, x, hallucinated answer)     at the last token
    vision   d = the same, for each token of the picture encoder, of
                 mean over trials of states(v with most patches masked) - states(v)

Liu et al. 2025, "Reducing hallucinations in large vision-language models via latent space steering", ICLR, arXiv
2410.15778. Original code: shengliu66/VTI (no licence file found), `vti_utils/`.

We differ: the directions are read from the caller's own pictures (`Directions.fit`), with answers of the caller's, or,
where none are given, of the model's own: what it writes about the picture, and about the picture with its patches
masked - our stand-in for the authors' answers, which GPT wrote. Residuals are read before the final norm; the type
stays the model's (the code casts to half); modules are found by name (the code takes the longest list of modules).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step
from halluguard.decoding.demonstrations import Demonstrations
from halluguard.decoding.engine.layers import decoder_layers
from halluguard.decoding.engine.steering import principal, steer, steered, vision_tower
from halluguard.errors import InputError, SettingsError
from halluguard.records import DEFAULT_PROMPT

SCALE = 0.1
"""Of the original, between its strengths and the unit vectors they multiply."""


@dataclass(frozen=True, eq=False)
class Directions:
    """What VTI steers along.

    Args:
        text: (layers, H) of the decoder.
        vision: (layers, tokens, H) of the picture encoder, or None.
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
        model: Any,
        processor: Any,
        images: Sequence[Any],
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
        """Read directions from pictures.

        Args:
            images: n >= 2 pictures (PIL); the authors take 50 to 70.
            prompt: asked about each.
            faithful, hallucinated: n answers each that say what is there, and that say what is not; None: the
                model's own, about the picture and about the masked picture.
            vision: read those of the picture encoder too.
            masked: share of the patches that take the picture's mean colour. Code: 0.99.
            trials: masked copies of a picture, for vision. Code: 50.
            seed: of the masks. max_new_tokens: of the model's own answers.
        """
        if len(images) < 2:
            raise InputError(f"at least two pictures are expected, got {len(images)}; the authors take 50 to 70")
        demos = Demonstrations(model, processor, list(images), prompt, masked, seed)
        good = demos.answers(max_new_tokens) if faithful is None else list(faithful)
        bad = demos.answers(max_new_tokens, blinded=True) if hallucinated is None else list(hallucinated)
        for answers in (good, bad):
            if len(answers) != len(images):
                raise InputError(f"an answer for each of {len(images)} pictures is expected, got {len(answers)}")
        difference = demos.residuals(good) - demos.residuals(bad)  # (n, layers, H)
        found = principal(difference.flatten(1)).reshape(difference.shape[1:])
        return cls(found, demos.vision(trials) if vision else None)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        parts = {"text": self.text} if self.vision is None else {"text": self.text, "vision": self.vision}
        save_file({name: value.contiguous().cpu() for name, value in parts.items()}, str(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        try:
            parts = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise InputError(f"directions are expected in {path}, which cannot be read ({error}); make them") from error
        if "text" not in parts or set(parts) - {"text", "vision"}:
            raise InputError(
                f"'text' and perhaps 'vision' are expected in {path}, got {sorted(parts)}; see Directions.fit"
            )
        return cls(parts["text"], parts.get("vision"))


@dataclass(frozen=True, eq=False)
class VTI(DecodingMethod):
    """Steer decoder and picture encoder along fixed directions.

    Needs directions made for the model (`Directions.fit`) and named MLPs. Cost: one row a forward, no more; `fit`
    reads each demonstration twice, and its picture `trials` times by the encoder alone. Refused: directions of another
    model's shape; for the picture, encoders whose tokens vary in number.

    Args:
        directions: `Directions`, or the file they were saved in.
        text: strength in the decoder. README: 0.9; argparse: 0.8. May be negative; 0 leaves it alone.
        vision: strength in the picture encoder. README: 0.9; argparse: 0. Needs `directions.vision` unless 0.

    Example:
        >>> Directions.fit(model, processor, images).save("vti.safetensors")         # doctest: +SKIP
        >>> VTI("vti.safetensors", text=0.9).on(model).generate(**inputs)            # doctest: +SKIP
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"text": 0.0, "vision": 0.0},
        "readme": {"text": 0.9, "vision": 0.9},
        "omitted arguments": {"text": 0.8, "vision": 0.0},
    }

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
                f"vision must be 0 with directions of the text alone, got {self.vision}; read them with "
                "Directions.fit(..., vision=True)"
            )

    @property
    def is_identity(self) -> bool:
        return self.text == 0 and self.vision == 0

    def bind(self, twin: Any) -> Self:
        if not isinstance(self.directions, Directions):
            raise SettingsError(
                "VTI needs directions made for this model, got none; make them on pictures of your own: "
                "VTI(Directions.fit(model, processor, images)), from halluguard.decoding.methods.vti"
            )
        parts: list[tuple[Any, Tensor, float]] = []
        if self.text:
            parts.append((decoder_layers(twin), self.directions.text[:, None, None], self.text))
        if self.vision:
            assert self.directions.vision is not None
            parts.append((vision_tower(twin)[1], self.directions.vision[:, None], self.vision))
        for layers, found, strength in parts:
            made = f"they were made for another model than {type(twin).__name__}; make them with Directions.fit"
            if len(layers) != len(found):
                raise InputError(f"directions of {len(layers)} layers are expected, got {len(found)}: {made}")

            def change(
                hidden: Tensor, layer: int, found: Tensor = found, strength: float = strength, made: str = made
            ) -> Tensor:
                direction = found[layer].to(hidden.device)
                if direction.shape[-1] != hidden.shape[-1] or direction.shape[-2] not in (1, hidden.shape[-2]):
                    shapes = f"{tuple(hidden.shape)} are expected, got {tuple(direction.shape)}"
                    raise InputError(f"directions that fit hidden states {shapes}: {made}")
                return steered(hidden, direction, SCALE * strength)

            steer(layers, change)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None

    @classmethod
    def fit(cls, model: Any, processor: Any, images: Sequence[Any], prompt: str = DEFAULT_PROMPT) -> Self:
        """The method at its defaults, along text directions read from pictures; see `Directions.fit` for more."""
        return cls(Directions.fit(model, processor, images, prompt))
