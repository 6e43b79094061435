"""A probe on a model's own states that says whether an object is there, taught by a detector's verdicts without labels.

    x(name) = h(image, "Is there a NAME in the image?") - h(the same without the image)     at the last token
    score   = sigmoid( w . (x - mean) / deviation + b )

h is the last hidden state, after the final norm, which the LM head reads. w and b are a logistic regression on the
verdicts of a detector about names of the model's own captions: "supported" against "contradicted"; what is between the
detector's thresholds is dropped. Nobody labels anything. The probe then needs no detector: two short readings of the
model per name. It learns its teacher's errors too, and it belongs to the model that it was taught on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.detectors.self_check import QUESTION, AskedModel, ModelReader, question_about
from halluguard.errors import InputError, SettingsError
from halluguard.images import limit_size
from halluguard.records import Detector
from halluguard.tensor_files import read_tensors

FEWEST = 10
"""Fewest verdicts of each kind that a probe is taught from."""


@dataclass(frozen=True, eq=False)
class ProbeWeights:
    """The learnt weights of a probe, each a vector (H,), and its bias.

    Args:
        weights: of the standardised features.
        mean, deviation: of the features; a feature that never changed has deviation 1.
        bias: added before the sigmoid.
        question: the question that the features are read at, with {name} and {a}.
        teacher: name of the detector that taught it.
    """

    weights: Tensor
    mean: Tensor
    deviation: Tensor
    bias: float
    question: str = QUESTION
    teacher: str = ""

    @classmethod
    def fit(
        cls, features: Tensor, supported: Tensor, penalty: float, question: str = QUESTION, teacher: str = ""
    ) -> Self:
        """Logistic regression, in float64.

        Args:
            features: (n, H).
            supported: (n,) bool.
            penalty: weight of the squared norm of the weights, per example, > 0.
            question, teacher: as of the class.
        """
        x = features.double()
        mean, deviation = x.mean(0), x.std(0)
        deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        x = (x - mean) / deviation
        model = LogisticRegression(C=1 / (penalty * len(x)), solver="newton-cholesky", tol=1e-10, max_iter=1000)
        model.fit(x.numpy(), supported.numpy())
        weights, bias = torch.tensor(model.coef_[0]).float(), float(model.intercept_[0])
        return cls(weights, mean.float(), deviation.float(), bias, question, teacher)

    def score(self, features: Tensor) -> Tensor:
        """Probabilities (n,) of features (n, H)."""
        return (((features - self.mean) / self.deviation) @ self.weights + self.bias).sigmoid()

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        tensors = {name: getattr(self, name).contiguous().cpu() for name in ("weights", "mean", "deviation")}
        tensors["bias"] = torch.tensor([self.bias], dtype=torch.float64)
        save_file(tensors, str(path), {"question": self.question, "teacher": self.teacher})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote.

        Raises:
            InputError: it holds something else.
        """
        advice = "make it with TaughtProbe.teach(...).learnt.save"
        tensors, about = read_tensors(path, content="a taught probe", advice=advice)
        vectors = [tensors.get(name) for name in ("weights", "mean", "deviation")]
        bias = tensors.get("bias")
        shapes = {tuple(vector.shape) for vector in vectors if vector is not None and vector.ndim == 1}
        if len(shapes) != 1 or None in vectors or bias is None or bias.numel() != 1 or "question" not in about:
            raise InputError(f"a taught probe is expected in {str(path)!r}, got {sorted(tensors)}; {advice}")
        weights, mean, deviation = (vector for vector in vectors if vector is not None)
        return cls(weights, mean, deviation, float(bias), about["question"], about.get("teacher", ""))


class TaughtProbe(AskedModel):
    """A model's own states as a detector without boxes: every phrase gets the probability that the teacher supports it.

    Args:
        model, processor: the image-text-to-text model that the probe was taught on, and its processor.
        learnt: what it has learnt, or the file it was saved in.
        name: name in verdicts; default that of the model.
        thresholds: scores at which support ends and contradiction begins, (high, low); between them is "unsure". Fit
            them with `halluguard calibrate`.

    Example:
        >>> probe = TaughtProbe.teach(model, processor, images, names, detector)       # doctest: +SKIP
        >>> probe.learnt.save("probe.safetensors")                                      # doctest: +SKIP
        >>> Guard(model, processor, detector=TaughtProbe(model, processor, "probe.safetensors"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        learnt: ProbeWeights | str | Path,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] = (0.6, 0.4),
    ) -> None:
        self.learnt = learnt if isinstance(learnt, ProbeWeights) else ProbeWeights.load(learnt)
        self.reader = ModelReader(model, processor, name)
        self.name, self.thresholds = f"probe:{self.reader.name}", thresholds
        width = model.config.get_text_config().hidden_size
        if len(self.learnt.weights) != width:
            raise InputError(
                f"a probe of states of width {width} is expected, got {len(self.learnt.weights)}: it was taught on "
                f"another model than {self.reader.name}; teach one with TaughtProbe.teach"
            )

    @classmethod
    def teach(
        cls,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        images: Sequence[Image],
        names: Sequence[Sequence[str]],
        detector: Detector,
        *,
        penalty: float = 0.3,
        question: str = QUESTION,
        **options: Any,
    ) -> Self:
        """Teach a probe by a detector's verdicts.

        Args:
            model, processor: the model to read.
            images: images; a few hundred.
            names: for each image the names that the model's own caption says are there.
            detector: the teacher; its thresholds decide its verdicts.
            penalty: weight of the squared norm of the weights, per example, > 0.
            question: as of `ProbeWeights`.
            **options: name and thresholds of the class.

        Raises:
            InputError: fewer than `FEWEST` names are supported, or contradicted.
        """
        if not penalty > 0:
            raise SettingsError(f"penalty must be > 0, got {penalty}; the default is 0.3")
        rows = verdicts(images, names, detector)
        kinds = [supported for _, _, supported in rows]
        if min(sum(kinds), len(kinds) - sum(kinds)) < FEWEST:
            raise InputError(
                f"at least {FEWEST} supported and {FEWEST} contradicted names are expected, got {sum(kinds)} and "
                f"{len(kinds) - sum(kinds)}; give more images"
            )
        reader = ModelReader(model, processor)
        features = torch.stack([features_of(reader, images[i], name, question) for i, name, _ in rows])
        learnt = ProbeWeights.fit(features, torch.tensor(kinds), penalty, question, detector.name)
        return cls(model, processor, learnt, **options)

    def _score(self, image: Image, phrase: str) -> float:
        return float(self.learnt.score(features_of(self.reader, image, phrase, self.learnt.question)[None]))


def features_of(reader: ModelReader, image: Image, phrase: str, question: str) -> Tensor:
    """(H,) fp32 on the CPU: the last hidden state at the end of the question, with the image minus without it."""
    text = question_about(phrase, question)
    shown, _ = limit_size(image)
    with_image, without = (reader.read(one, text).states[-1] for one in (shown, None))
    return (with_image - without).cpu()


def verdicts(
    images: Sequence[Image], names: Sequence[Sequence[str]], detector: Detector
) -> list[tuple[int, str, bool]]:
    """(index of the image, name, whether it is supported), for the names about which the detector is sure."""
    high, low = getattr(detector, "thresholds", (0.5, 0.5))
    covered = [[name for name in dict.fromkeys(own) if detector.covers(name)] for own in names]
    rows = []
    for i, (own, boxes) in enumerate(zip(covered, detector.detect(images, covered), strict=True)):
        for at, name in enumerate(own):
            score = max((box.score for box in boxes if box.phrase == at), default=0.0)
            if score >= high or score < low:
                rows.append((i, name, score >= high))
    return rows
