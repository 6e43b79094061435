"""Fit, store and apply a policy: the setting of a pipeline whose output keeps a promise at a stated confidence.

    policy = Policy.fit(captions, images, truth, detector, risks={"chair_s": 0.05})
    policy.save("policy.json")
    outcomes = policy.apply(new_captions, new_images, detector)

`risk.py` has the tests and their sources. docs/guarantees.md explains the promise and its limits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from halluguard._version import __version__
from halluguard.calibration.losses import LossCounter, Losses
from halluguard.calibration.outcomes import Drafts, ObjectReader, Outcome, Setting
from halluguard.calibration.policy_inputs import (
    agreements_of,
    check_labels,
    check_path,
    checked_units,
    default_path,
    mean_of,
)
from halluguard.calibration.risk import Certificate, Risk, certify, check_enough, refuse
from halluguard.calibration.signature import Signature, language, signature
from halluguard.correction.verification import Thresholds
from halluguard.errors import InputError, SettingsError
from halluguard.io import read_json, write_text
from halluguard.metrics.chair import ChairScorer, Protocol
from halluguard.metrics.ground_truth import ById, image_key
from halluguard.metrics.vocabulary import Vocabulary
from halluguard.records import Detector, ImageOrKey, PropertyExpert

if TYPE_CHECKING:
    from spacy.language import Language

VERSION = 1
Captions = Sequence[str] | Mapping[float, Sequence[str]]
"""N captions; or imagination setting -> N captions of the same images, the plain ones (0) first."""


@dataclass(frozen=True)
class Tested:
    """A setting of the path with its figures on the calibration images.

    Args:
        setting: the setting.
        certified: True if the promise was shown for it.
        means: loss -> its mean; None if it is undefined on all images.
        p_values: risk -> p-value of its test.
        images: risk -> number of images on which the risk is defined.
    """

    setting: Setting
    certified: bool
    means: Mapping[str, float | None]
    p_values: Mapping[str, float]
    images: Mapping[str, int]


@dataclass(frozen=True)
class Policy:
    """A setting, the promise on its output, and the basis of the promise.

    Args:
        setting: setting of the pipeline.
        risks: name of a risk -> its limit.
        confidence: chance that the promise holds, over the draw of the calibration images.
        images: number of calibration images (or groups).
        captions: number of captions of these images.
        signature: the detector and the vocabulary.
        captioner: declared name of the model that wrote the captions; "" if none was declared.
        protocol: CHAIR's rules that read object words.
        second_look: True if the pipeline looks a second time before it contradicts.
        path: all settings, plainest first, in the order that was declared before the labels were read.
        level: significance level of each test.
        language: name and version of the spaCy pipeline.
        halluguard: version of halluguard.
        agreements: detector scores of the calibration images, for `watching.ShiftMonitor`.
    """

    setting: Setting
    risks: Mapping[str, float]
    confidence: float
    images: int
    captions: int
    signature: Signature
    captioner: str = ""
    protocol: Protocol = "fixed"
    second_look: bool = True
    path: tuple[Tested, ...] = ()
    level: float = 0.05
    language: str = ""
    halluguard: str = __version__
    agreements: tuple[float, ...] = field(default=(), repr=False)

    @classmethod
    def fit(
        cls,
        captions: Captions,
        images: Sequence[ImageOrKey],
        truth: ById[Iterable[str]],
        detector: Detector,
        *,
        risks: Mapping[str, float] | Sequence[Risk],
        confidence: float = 0.95,
        keys: Sequence[object] | None = None,
        groups: Sequence[str] | None = None,
        questions: Sequence[str | None] | None = None,
        path: Sequence[Setting] | None = None,
        captioner: str = "",
        detector_name: str = "",
        protocol: Protocol = "fixed",
        vocabulary: Vocabulary | None = None,
        properties: Sequence[PropertyExpert] = (),
        second_look: bool = True,
        nlp: Language | None = None,
    ) -> Self:
        """Find the setting that loses the fewest true objects, among those for which these images show the promise.

        Args:
            captions: N captions; or imagination setting -> N captions, the plain ones first.
            images: N images, or keys of images for a detector that needs none.
            truth: image key -> names of the objects that are there.
            detector: the detector, or ensemble, that will run.
            risks: name of a loss (`risk.PROMISES`) -> its limit, or `Risk`s.
            confidence: chance that the promise holds, over the draw of the images, in (0, 1).
            keys: N keys of the images in `truth`; default `images`, if these are keys.
            groups: N names of the independent units; default the images. Captions of one unit are never counted as
                independent.
            questions: as in `correct_many`.
            path: settings from plain to strictest; default `default_path`. They must not be chosen by looking at the
                labels.
            captioner: the model that wrote the captions.
            detector_name: name of the detector that made the file of detections.
            protocol, vocabulary: rules that read object words; see `metrics.chair`.
            properties, second_look, nlp: as in `correct_many`.

        Raises:
            PromiseError: these images do not show the promise; the message states how many would, if any number would.
            InputError: the labels and captions do not fit together.

        >>> from halluguard.detectors.precomputed import KnownObjects
        >>> truth = {i: ["dog"] for i in range(80)}
        >>> detector = KnownObjects(truth)
        >>> policy = Policy.fit(["A dog and a cat."] * 80, list(truth), truth, detector, risks={"chair_s": 0.05})
        >>> policy.setting.words(), policy.images
        ('contradicted below 0.05', 80)
        """
        reader = ObjectReader(protocol, vocabulary)
        promises = (
            [Risk({name: 1.0}, limit) for name, limit in risks.items()] if isinstance(risks, Mapping) else list(risks)
        )
        by_imagination = captions if isinstance(captions, Mapping) else {None: captions}
        plain = next(iter(by_imagination.values()), ())
        named = [image_key(key) for key in (keys if keys is not None else images)]
        check_labels(plain, named, truth, groups)
        settings = tuple(path) if path else default_path(detector, [key for key in by_imagination if key is not None])
        check_path(settings, by_imagination)
        counter = LossCounter(ChairScorer(truth, protocol, vocabulary=vocabulary), named, plain, groups)
        check_enough(promises, len(counter.units), confidence)
        drafts = {
            key: Drafts(
                texts,
                images,
                detector,
                questions,
                reader=reader,
                properties=properties,
                second_look=second_look,
                nlp=nlp,
            )
            for key, texts in by_imagination.items()
        }
        return cls.from_outcomes(
            settings,
            [drafts[setting.imagination].at(setting) for setting in settings],
            counter,
            promises,
            confidence=confidence,
            signature=signature(detector, reader.words, detector_name, [expert.name for expert in properties]),
            captioner=captioner,
            second_look=second_look and detector.needs_image,
        )

    @classmethod
    def from_outcomes(
        cls,
        path: Sequence[Setting],
        outcomes: Sequence[Sequence[Outcome]],
        counter: LossCounter,
        risks: Sequence[Risk],
        *,
        confidence: float,
        signature: Signature,
        captioner: str = "",
        second_look: bool = False,
    ) -> Self:
        """Fit the policy of a pipeline that was run at every setting.

        Args:
            path: the settings, from plain to strictest.
            outcomes: result for each caption, per setting.
            counter: counter of the losses of the same captions.
            risks, confidence, captioner, second_look: as in `fit`.
            signature: identity of the detector and the vocabulary.

        Raises:
            PromiseError, InputError: as for `fit`.
        """
        checked = checked_units(counter, outcomes)
        losses = [{name: row[checked] for name, row in counter(one).items()} for one in outcomes]
        certificate = certify(losses, risks, confidence)
        if not certificate.passed:
            raise refuse(certificate, risks, int(checked.sum()), confidence)

        def preference(i: int) -> tuple[float, float, int]:
            """Sort key: fewest true objects lost, then fewest images withheld, then the plainest setting."""
            return mean_of(losses[i]["lost"]) or 0.0, mean_of(losses[i]["withheld"]) or 0.0, i

        chosen = min(certificate.passed, key=preference)
        return cls(
            setting=path[chosen],
            risks={risk.name: risk.limit for risk in risks},
            confidence=confidence,
            images=int(checked.sum()),
            captions=len(counter.plain),
            signature=signature,
            captioner=captioner,
            protocol=counter.scorer.protocol,
            second_look=second_look,
            path=tuple(_tested(i, path[i], losses[i], certificate) for i in range(len(path))),
            level=certificate.level,
            language=language(),
            agreements=agreements_of(counter, outcomes[chosen], checked),
        )

    def apply(
        self,
        captions: Sequence[str],
        images: Sequence[ImageOrKey],
        detector: Detector,
        *,
        questions: Sequence[str | None] | None = None,
        captioner: str = "",
        imagination: float | None = None,
        detector_name: str = "",
        vocabulary: Vocabulary | None = None,
        properties: Sequence[PropertyExpert] = (),
        nlp: Language | None = None,
    ) -> list[Outcome]:
        """Run the policy's setting on new captions: released captions are corrected, withheld ones get a reason.

        Args:
            captions, images, detector, questions, properties, nlp: as in `fit`.
            captioner, imagination, detector_name, vocabulary: values that `check` compares.

        Raises:
            SettingsError: the promise does not cover these captions; see `check`.
        """
        self.check(
            detector,
            captioner=captioner,
            imagination=imagination,
            detector_name=detector_name,
            vocabulary=vocabulary,
            experts=[expert.name for expert in properties],
        )
        drafts = Drafts(
            captions,
            images,
            detector,
            questions,
            reader=ObjectReader(self.protocol, vocabulary),
            properties=properties,
            second_look=self.second_look,
            nlp=nlp,
        )
        return drafts.at(self.setting)

    def check(
        self,
        detector: Detector,
        *,
        captioner: str = "",
        imagination: float | None = None,
        detector_name: str = "",
        vocabulary: Vocabulary | None = None,
        experts: Sequence[str] = (),
    ) -> None:
        """Raise an error if the promise does not cover the given detector and captions.

        Args:
            detector: the detector that will run.
            captioner, imagination, detector_name, vocabulary: as in `fit`.
            experts: names of the other experts that will run.

        Raises:
            SettingsError: another detector, vocabulary, captioner, imagination setting or version of the code.
        """
        now = signature(detector, ObjectReader(self.protocol, vocabulary).words, detector_name, experts)
        imagined = self.setting.imagination
        problems = [
            *self.signature.differences(now),
            _differs("captions of", self.captioner, captioner, "--captioner") if self.captioner else "",
            _differs("captions at imagination", imagined, imagination, "--imagination") if imagined is not None else "",
            _differs("halluguard", self.halluguard, __version__),
            _differs("the language pipeline", self.language, language()),
        ]
        for problem in filter(None, problems):
            raise SettingsError(f"the policy does not cover this: it was calibrated with {problem}")

    def thresholds(self, detector: Detector) -> Thresholds:
        """The thresholds that the policy runs with."""
        return self.setting.thresholds(detector)

    @property
    def promise(self) -> str:
        """The promise, in one sentence."""
        clauses = "; ".join(_risk(name, limit).words() for name, limit in self.risks.items())
        return f"At {100 * self.confidence:g} % confidence: {clauses}."

    @property
    def rests_on(self) -> str:
        """The assumptions of the promise, in one sentence."""
        return (
            f"It rests on {self.images} labelled images from which the new ones do not differ except by chance, on "
            f"captions of {self.captioner or 'the same source'}, on {self.signature.words()}, and on halluguard "
            f"{self.halluguard} with {self.setting.words()}."
        )

    @property
    def digest(self) -> str:
        """Hash of the content, 16 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The policy as JSON values."""
        return {"version": VERSION, "promise": self.promise, "rests_on": self.rests_on, **asdict(self)}

    def to_json(self) -> str:
        """The policy as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the file that `halluguard audit --policy` reads."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: the file is of another kind or version, or was edited and is inconsistent.
        """
        try:
            data = dict(read_json(path, finite=True))
            if data.pop("version", None) != VERSION:
                raise ValueError(f"not a policy of version {VERSION}")
            lacking = {"promise", "rests_on", "setting", "signature", "path", "agreements"} - data.keys()
            if lacking:
                raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
            promise, _ = data.pop("promise"), data.pop("rests_on")
            data["setting"] = Setting(**data["setting"])
            data["signature"] = Signature(
                **{**data["signature"], "experts": tuple(map(str, data["signature"]["experts"]))}
            )
            data["path"] = tuple(Tested(**{**row, "setting": Setting(**row["setting"])}) for row in data["path"])
            data["agreements"] = tuple(float(value) for value in data["agreements"])
            policy = cls(**data)
            if policy.promise != promise or not any(t.certified and t.setting == policy.setting for t in policy.path):
                raise ValueError("its promise or setting differs from the certified one")
        except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"cannot read a policy from {str(path)!r} ({error}); write it with halluguard calibrate --risk"
            ) from error
        return policy


def _tested(index: int, setting: Setting, losses: Losses, certificate: Certificate) -> Tested:
    return Tested(
        setting=setting,
        certified=index in certificate.passed,
        means={name: mean_of(row) for name, row in losses.items()},
        p_values={name: float(f"{p[index]:.6g}") for name, p in certificate.p_values.items()},
        images={name: counts[index] for name, counts in certificate.counts.items()},
    )


def _risk(name: str, limit: float) -> Risk:
    return Risk.parse(f"{name}={limit!r}")


def _differs(what: str, then: object, now: object, option: str = "") -> str:
    if then == now:
        return ""
    advice = f"; declare it with {option} if it is the same" if option and not now else ""
    return f"{what} {then}, and this is {now or 'undeclared'}{advice or '; calibrate again'}"
