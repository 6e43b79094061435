"""An expert that scores what it is told, for verdicts without a model."""

import pytest

from halluguard.errors import ExpertError
from halluguard.records import Box


class Scripted:
    """Answers from a table: phrase -> scores. A list of phrases it has no words for can be given as `blind`."""

    name = "scripted"
    needs_image = False
    thresholds = (0.5, 0.3)

    def __init__(self, scores, blind=(), fails=()):
        self.scores, self.blind, self.fails, self.calls = scores, set(blind), set(fails), []

    def covers(self, phrase):
        return phrase not in self.blind

    def detect(self, images, phrases):
        self.calls.append((list(images), [list(words) for words in phrases]))
        if self.fails & set(images):
            raise ExpertError("out of order")
        found = []
        for words in phrases:
            boxes = []
            for i, word in enumerate(words):
                for n, score in enumerate(self.scores.get(word, ())):
                    boxes.append(Box(word, score, (20.0 * n, 0.0, 20.0 * n + 10, 10.0), i))
            found.append(boxes)
        return found


@pytest.fixture
def scripted():
    return Scripted
