"""MARINE: guidance by a prompt that lists what detectors saw.

    s = log_softmax( lp(v, x) + guidance (lp(v, hint + x) - lp(v, x)) ),   lp: log-probabilities

The second branch has the same image, and a prompt that says which objects are there. guidance 0 is plain generation, 1
the second branch alone.

Zhao et al. 2025, "Mitigating object hallucination in large vision-language models via image-grounded guidance", ICML,
arXiv 2402.08680. Original code: Linxi-ZHAO/MARINE (no licence file found), `utils_guidance.py`. The authors list what a
DETR and a tagger both see; a prompt with an empty list is answered plainly.

Differences from the original: the hint stands in front of the question, after the image, in words of our own, where
the code draws one of four templates and lower-cases the question; both branches have masks and caches of their own, in
every batch and beam (in the code the guided branch has no mask, and its cache does not follow the beams).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.methods.icd import PrefixedPrompt
from halluguard.decoding.negative_inputs import Call, NegativeInputs, token_ids
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import InputError

HINT = "The image contains {objects}. "
"""The hint of a prompt; {objects} is a list in words."""

Objects = Sequence[Sequence[str]]
"""Names of the objects of each prompt's image."""


def guided(logits: Tensor, with_hint: Tensor, guidance: float) -> Tensor:
    """Log-probabilities of the guided answer, from logits (..., V) without and with the hint.

    >>> import torch
    >>> guided(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0]), 0.7)
    tensor([-1.5513, -1.1513, -0.7513])
    """
    plain = logits.log_softmax(-1)
    return (plain + guidance * (with_hint.log_softmax(-1) - plain)).log_softmax(-1)


def in_words(names: Sequence[str]) -> str:
    """A list of names in words.

    >>> [in_words(names) for names in (["dog"], ["dog", "cat"], ["dog", "cat", "bus"])]
    ['dog', 'dog and cat', 'dog, cat, and bus']
    """
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


@dataclass(frozen=True)
class HintedPrompt(PrefixedPrompt):
    """The same image and prompt with a list of the image's objects in front of the question.

    Args:
        text: the hint, with {objects}; or token ids of a whole hint for all prompts.
        objects: names for each prompt; a prompt without names stays as it is.
    """

    objects: Objects = field(default=())

    def prefixes(self, call: Call, prompts: int) -> list[list[int]]:
        """Token ids of the hint of each prompt."""
        if not isinstance(self.text, str):
            return [list(self.text)] * prompts
        if len(self.objects) != prompts:
            raise InputError(
                f"one list of objects for each of {prompts} prompts is expected, got {len(self.objects)}; give one each"
            )
        return [token_ids(self.text.format(objects=in_words(n)), call) if n else [] for n in self.objects]


@dataclass(frozen=True)
class MARINE(DecodingMethod):
    """Guide the answer by a prompt that lists the objects of the image.

    Words need a processor with a tokenizer. Refused: models that take an image alone.

    Args:
        objects: for each prompt of the call, the names of the objects that experts see in its image.
        guidance: in [0, 1]; 0 is plain generation. Paper and code: 0.7.
        hint: the hint, with {objects}; or token ids of a whole hint, the same for all prompts.
    """

    PRESETS: ClassVar = {
        "off": Preset({"guidance": 0.0}),
        "authors": Preset({"guidance": 0.7}, "the code's argparse; the tables were made by greedy search"),
    }
    reference = "Zhao et al., ICML 2025, arXiv 2402.08680. Code: Linxi-ZHAO/MARINE"
    cost = Cost(branches=2, encodings=1, requires="the objects of each image (`objects`); the processor's tokenizer")
    law_settings: ClassVar = {"guidance": 1.0}

    objects: Objects = ()
    guidance: float = 0.7
    hint: str | Sequence[int] = HINT

    def __post_init__(self) -> None:
        check_range("guidance", self.guidance, 0, 1, advice="use 0 for plain generation")
        object.__setattr__(self, "objects", tuple(tuple(names) for names in self.objects))
        if not isinstance(self.hint, str):
            object.__setattr__(self, "hint", tuple(self.hint))

    @classmethod
    def required_settings(cls, model: PreTrainedModel) -> dict[str, Any]:
        return {"hint": (20, 21, 22, 23)}

    @property
    def is_identity(self) -> bool:
        return self.guidance == 0 or (isinstance(self.hint, str) and not any(self.objects))

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (HintedPrompt(self.hint, self.objects),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return guided(branches[0], branches[1], self.guidance), None
