"""The law of detectors: what is said of an image and a phrase does not depend on what else is asked with them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halluguard import sandbox
from halluguard.detectors.closed_set import ClosedSetDetector
from halluguard.detectors.ensemble import Ensemble
from halluguard.detectors.grounded_answers import Place
from halluguard.detectors.precomputed import KnownObjects
from halluguard.detectors.self_check import SelfCheck
from halluguard.detectors.written_boxes import WrittenBoxes
from halluguard.detectors.zero_shot import ZeroShotDetector
from tests.decoding.engine.test_coverage import load
from tests.detectors.conftest import KINDS, picture, tiny_family
from tests.detectors.test_closed_set import processor, tiny
from tests.detectors.test_written_boxes import Processor

NAMES = ["book", "cat", "dog", "person", "traffic light"]
SIZES = [(64, 64), (96, 80), (80, 96), (64, 64)]
CLOSED = ["detr", "conditional_detr", "deformable_detr", "rt_detr", "d_fine", "dab-detr"]
WRITTEN = ["florence2", "qwen3_vl", "molmo2"]


def built(kind, grounding_processor):
    if kind in KINDS:
        return ZeroShotDetector(*tiny_family(kind, grounding_processor), floor=0.0, nms=1.0, rows_per_pass=4)
    if kind in CLOSED:
        return ClosedSetDetector(tiny(kind), processor(kind), floor=0.0, nms=1.0, rows_per_pass=4)
    if kind in WRITTEN:
        small = load("architectures").tiny(kind)
        detector = WrittenBoxes(small.model, Processor(small), floor=0.0, max_tokens=4)
        # Random answers hold no box; here every answer is one, so that they can be compared.
        detector.dialect = replace(detector.dialect, read=_whole)
        return detector
    return SelfCheck(*sandbox.load_mllm())


def _whole(text, size):
    wide = 1 + sum(map(ord, text)) % size[0]
    return [Place(0, max(1, len(text)), (0.0, 0.0, float(wide), float(size[1])))]


@pytest.fixture(scope="module", params=[*KINDS, *CLOSED, *WRITTEN, "self-check"])
def detector(request, grounding_processor):
    return built(request.param, grounding_processor)


def seen(boxes, phrase):
    """Scores of a phrase and corners as shares of the largest image, in the detector's order."""
    return [(box.score, *(np.array(box.xyxy or (0, 0, 0, 0)) / 96)) for box in boxes if box.phrase == phrase]


def alone(detector, answers, image, name):
    if (image, name) not in answers:
        (boxes,) = detector.detect([picture(*SIZES[image], image)], [[name]])
        answers[image, name] = seen(boxes, 0)
    return answers[image, name]


@pytest.fixture(scope="module")
def answers():
    """(detector, image, name) -> what the detector says of them alone."""
    return {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)), min_size=1, max_size=4
    )
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_company_never_changes_what_is_said(detector, answers, rows):
    own = answers.setdefault(id(detector), {})
    rows = [(image, [name for name in names if detector.covers(name)]) for image, names in rows]
    together = detector.detect([picture(*SIZES[i], i) for i, _ in rows], [names for _, names in rows])
    for (image, names), boxes in zip(rows, together, strict=True):
        for phrase, name in enumerate(names):
            here, apart = seen(boxes, phrase), alone(detector, own, image, name)
            assert len(here) == len(apart)
            assert np.allclose(np.sort(here, axis=0), np.sort(apart, axis=0), atol=2e-5, rtol=0)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.lists(st.sampled_from(NAMES), max_size=4)), max_size=4))
def test_lists_and_ensembles_keep_the_law_too(rows):
    known = KnownObjects({1: ["dog", "person"], 2: []})
    for expert in (known, Ensemble([known, known], "mean")):
        together = expert.detect([i for i, _ in rows], [names for _, names in rows])
        for (image, names), boxes in zip(rows, together, strict=True):
            for phrase, name in enumerate(names):
                (own,) = expert.detect([image], [[name]])
                assert seen(boxes, phrase) == seen(own, 0)
