"""An answer on screen: every claim marked, every box in place, and nothing a caption says is ever run."""

import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from halluguard import Answer, Box, Claim, Edit, SettingsError, Verdict
from halluguard.rendering import Region, card, page, pieces
from halluguard.rendering.label_places import LETTER, LINE, PADDING, SHOWN_WIDTH, label_places

DRAFT = 'A dog, a <script>alert(1)</script> and a "cat\' onerror=x".'
CAT = DRAFT.index('"cat')


def answer(image=None):
    return Answer(
        DRAFT,
        "A dog.",
        question="Describe </style><b>it</b>.",
        claims=(Claim("existence", "dog", "dog", 2, 5), Claim("existence", DRAFT[CAT:-1], "cat", CAT, len(DRAFT) - 1)),
        verdicts=(
            Verdict(0, "supported", evidence=(Box("dog", 0.9, (10, 20, 60, 45)),), reason="seen"),
            Verdict(1, "contradicted", reason='" onmouseover="alert(1)'),
        ),
        edits=(Edit(5, len(DRAFT) - 1, DRAFT[5:-1], "", (1,), "<i>no cat</i>"),),
        image=image or Image.new("RGB", (100, 50), "gray"),
    )


def test_pieces_put_together_are_the_draft():
    shown = pieces(answer())
    assert "".join(piece.text for piece in shown) == DRAFT
    assert [piece.text for piece in shown if piece.decision == "supported"] == ["dog"]
    assert "".join(piece.text for piece in shown if piece.removed) == DRAFT[5:-1]


def test_boxes_are_in_percent_of_the_image():
    (region,) = card(answer()).regions
    assert (region.left, region.top, region.width, region.height) == (10, 40, 50, 50)


class Markup(HTMLParser):
    """Collects what a browser would see as tags and attributes."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_box_below_the_threshold_is_not_shown_as_found():
    weak = Box("dog", 0.3, (0, 0, 5, 5))
    checked = answer()
    verdicts = (replace(checked.verdicts[0], evidence=(*checked.verdicts[0].evidence, weak)), checked.verdicts[1])
    judged = replace(checked, verdicts=verdicts, settings={"thresholds": {"high": 0.5, "low": 0.2}})
    assert [region.left for region in card(judged).regions] == [10]


def test_no_text_becomes_markup():
    hostile = {"title": "<b>", "head": ["<i>"], "rows": [["<u>"]], "note": "<s>"}
    seen = Markup()
    seen.feed(page([answer()], title="<script>", tables=[hostile]))
    assert not seen.tags & {"script", "b", "i", "u", "s"}
    assert not {name for name in seen.attributes if name.startswith("on")}


def test_the_page_asks_nothing_of_the_network():
    html = page([answer()])
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", html)


def test_the_image_with_boxes_has_the_size_of_the_original():
    drawn = answer().draw()
    assert drawn.size == (100, 50)
    assert drawn.getpixel((10, 44)) != (128, 128, 128)


def test_saving_writes_a_page_or_the_record(tmp_path):
    checked = answer()
    checked.save(tmp_path / "a.html")
    checked.save(tmp_path / "a.json")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert Answer.from_json((tmp_path / "a.json").read_text()) == checked


def test_without_a_image_the_way_out_is_named():
    with pytest.raises(SettingsError, match="pass image="):
        Answer("a", "a").draw()


@pytest.mark.parametrize("seed", range(20))
def test_labels_stay_inside_the_image_and_apart(seed):
    rng = random.Random(seed)
    ratio = rng.choice([0.5, 1.0, 2.0])
    boxes = [
        Region(left, rng.uniform(0, 60), rng.uniform(20, 100 - left), 30, rng.choice(["cup", "potted plant"]), "unsure")
        for left in (rng.uniform(0, 75) for _ in range(6))
    ]
    spots = []
    for box, (line, right) in zip(boxes, label_places(boxes, ratio), strict=True):
        width = 100 * (LETTER * len(box.label) + PADDING) / SHOWN_WIDTH
        height = 100 * LINE * ratio / SHOWN_WIDTH
        left = box.left + box.width - width if right else box.left
        assert left + width <= 100 or box.width < width, (
            "it ends at the right edge of its box, where that is room enough"
        )
        spots.append((left, box.top + line * height, left + width, box.top + (line + 1) * height))
    for i, a in enumerate(spots):
        for b in spots[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 1e-9 or b[3] <= a[1] + 1e-9


def test_a_piece_names_its_verdict():
    checked = answer()
    assert [(piece.text, piece.verdict) for piece in pieces(checked) if piece.decision] == [
        ("dog", 0),
        (DRAFT[CAT:-1], 1),
    ]
