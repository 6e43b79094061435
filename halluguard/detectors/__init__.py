"""Detectors and property experts: they find or know the objects of an image, behind one protocol.

    name: str                             name and revision, as they appear in verdicts
    needs_image: bool                     False for a detector that knows the answers beforehand
    covers(phrase) -> bool                whether it can judge the phrase; if not, claims are unverifiable, never absent
    detect(images, phrases) -> boxes      B images and B lists of phrases -> B lists of `Box`

How to add a detector: write one file with one class that has these four members. It inherits nothing, and nothing else
has to be edited:

    class MyDetector:
        name = "my-detector"
        needs_image = True

        def covers(self, phrase):
            return phrase in self.labels

        def detect(self, images, phrases):
            return [
                [Box(label=row[i], score=score, xyxy=xyxy, phrase=i) for i, score, xyxy in my_model(image, row)]
                for image, row in zip(images, phrases, strict=True)
            ]

Verdicts are right if three promises hold: boxes are in pixels of the given image and point to the *index* of their
phrase; everything above the detector's own floor is returned, because thresholds are the caller's; and a failure raises
`ExpertError`, it never comes back as an empty list.

This package exports what needs no torch. Import detectors that load it from their files: `zero_shot.ZeroShotDetector`,
`closed_set.ClosedSetDetector`, `groundingdino_py.GroundingDinoPy`, `questions.VisualQuestions`, and
`checkpoints.load_detector`, which loads any detector by its name.
"""

from halluguard.detectors.box_files import KnownBoxes
from halluguard.detectors.colour import Colours
from halluguard.detectors.ensemble import Ensemble, PropertyEnsemble
from halluguard.detectors.precomputed import KnownObjects
from halluguard.detectors.spatial import SpatialRelations
from halluguard.records import Box, Detector, PropertyExpert, Question

__all__ = [
    "Box",
    "Colours",
    "Detector",
    "Ensemble",
    "KnownBoxes",
    "KnownObjects",
    "PropertyEnsemble",
    "PropertyExpert",
    "Question",
    "SpatialRelations",
]
