"""Measure the accuracy of the colour expert on the sandbox's shipped scenes, with the true boxes.

    python benchmarks/properties.py

Each coloured object is asked for its own colour and for every other colour of the sandbox. Prints one line of JSON:
right, wrong and could-not-tell of both kinds. The scenes are drawn: this shows the mechanics, not the gain on photos.
"""

import json
from collections import Counter
from typing import Any

from halluguard import sandbox
from halluguard.detectors.colour import Colours
from halluguard.records import Box, Question


def main() -> None:
    samples = sandbox.scenes()
    colours = sorted({thing.color for sample in samples for thing in sample.objects if thing.color})
    expert = Colours()
    count: Counter[Any] = Counter()
    for sample in samples:
        asked = [
            (thing.color == colour, Question("attribute", thing.name, colour, Box(thing.name, 1.0, thing.box)))
            for thing in sample.objects
            if thing.color
            for colour in colours
        ]
        asked = [(true, question) for true, question in asked if expert.covers(question)]
        (answers,) = expert.judge([sample.image], [[question for _, question in asked]])
        for (true, _), p in zip(asked, answers, strict=True):
            said = "unsure" if p is None else "yes" if p > 0.5 else "no"
            count["true" if true else "false", said] += 1
    print(
        json.dumps(
            {"scenes": len(samples), "colours": colours, **{f"{a} said {b}": n for (a, b), n in sorted(count.items())}}
        )
    )


if __name__ == "__main__":
    main()
