"""Experts that look (or know) what is in a picture, all behind one protocol.

    name: str                             which expert speaks, with its revision; appears in every verdict
    needs_image: bool                     False for an expert that knows the answers beforehand
    covers(phrase) -> bool                whether it can judge the phrase; what it cannot is unverifiable, never absent
    detect(images, phrases) -> boxes      B images and B lists of phrases in, B lists of `Box` out

A new expert is one new file with one class that has these four; it inherits nothing and edits no list:

    class MyExpert:
        name = "my-expert"
        needs_image = True

        def covers(self, phrase):
            return phrase in self.labels

        def detect(self, images, phrases):
            return [[Box(label=words[i], score=s, xyxy=b, phrase=i) for i, s, b in look(image, words)]
                    for image, words in zip(images, phrases, strict=True)]

Three promises make its verdicts right: boxes are in pixels of the image as given and point to the *index* of the phrase
they answer; everything above the expert's own floor comes back, thresholds are the caller's; and what goes wrong raises
`ExpertError`, it never comes back as an empty list.
"""

from halluguard.detectors.precomputed import KnownBoxes, KnownObjects
from halluguard.records import Box, Detector, PropertyExpert, Question

__all__ = ["Box", "Detector", "KnownBoxes", "KnownObjects", "PropertyExpert", "Question"]
