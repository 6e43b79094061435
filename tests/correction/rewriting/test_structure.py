"""Edits follow the tree of the answer: whole blocks go, siblings and markup stay, and what was valid stays valid."""

import json

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.correction.rewriting import FALLBACK
from halluguard.detectors.precomputed import KnownObjects
from halluguard.records import apply_edits
from halluguard.vocabulary import COCO, normal


def corrected(text, *absent, question=None):
    """The answer corrected by an expert that knows all its objects to be there, but those absent."""
    named = {c.name for c in extract(text, question) if c.kind == "existence" and c.polarity == "asserted"}
    gone = {name for name in named if name in absent or name.split()[-1] in absent}
    vocabulary = {*COCO, *named, *map(normal, absent)}
    answer = correct(text, 1, KnownObjects({1: sorted(named - gone)}, vocabulary=vocabulary), question)
    assert apply_edits(text, answer.edits) == answer.text
    return answer


# text, what is absent, what a careful editor would write (any of these)
CASES = [
    # JSON
    (
        '{"caption": "A dog sits near a bowl.", "objects": ["dog", "bowl"]}',
        ["bowl"],
        ['{"caption": "A dog sits.", "objects": ["dog"]}'],
    ),
    ('["dog", "bowl", "kite"]', ["kite"], ['["dog", "bowl"]']),
    ('```json\n{"objects": ["dog", "kite"]}\n```', ["kite"], ['```json\n{"objects": ["dog"]}\n```']),
    (
        '```json\n[{"label": "dog", "bbox_2d": [1,2,3,4]}, {"label": "cat", "bbox_2d": [5,6,7,8]}]\n```',
        ["cat"],
        ['```json\n[{"label": "dog", "bbox_2d": [1,2,3,4]}]\n```'],
    ),
    # lists and labels
    (
        "1. **Animals**\n   - Dog\n   - Cat\n2. **Toys**\n   - Kite\n3. **Food**\n   - Apple",
        ["kite"],
        ["1. **Animals**\n   - Dog\n   - Cat\n2. **Food**\n   - Apple"],
    ),
    ("- **Umbrella:** It is striped.\n- **Chair:** It is white.", ["umbrella"], ["- **Chair:** It is white."]),
    ("4. **Umbrella**:\n   - An umbrella lies open, painted in orange.", ["umbrella"], [FALLBACK]),
    ("1. A kite is in the air.\n2. A dog runs.\n3. A boy laughs.", ["kite"], ["1. A dog runs.\n2. A boy laughs."]),
    ("* **A red kite** flies above a **green tent**.", ["kite"], ["* There is a **green tent**."]),
    # keywords, titles, tables
    (
        "Keywords: beach, man, kite, dog, sand, blue, outdoor",
        ["dog"],
        ["Keywords: beach, man, kite, sand, blue, outdoor"],
    ),
    (
        "(wooden fence), (red barn), (old truck), (tall grass)",
        ["truck"],
        ["(wooden fence), (red barn), (tall grass)"],
    ),
    ("1girl, solo, dog, cat, sitting", ["dog"], ["1girl, solo, cat, sitting"]),
    ("# Kite at the Beach\n\nA kite flies above a dog.", ["kite"], ["There is a dog."]),
    (
        "Title: Green truck parked outside barn with tin roof\nDescription: A dog sits by a barn.",
        ["truck"],
        [
            "Title: Green truck parked outside barn with tin roof\nDescription: A dog sits by a barn.",  # flagged
            "Title: Barn with tin roof\nDescription: A dog sits by a barn.",
        ],
    ),
    (
        "| Object | Color |\n|---|---|\n| Kite | red |\n| Dog | brown |",
        ["kite"],
        ["| Object | Color |\n|---|---|\n| Dog | brown |"],
    ),
    # thinking stays byte for byte
    (
        "<think>I see a truck and a barn.</think>A truck stands near a barn.",
        ["truck"],
        ["<think>I see a truck and a barn.</think>There is a barn."],
    ),
    (
        "<think>There may be a cat here. I see a cat and a dog.</think>\nA dog is on a bench.",
        ["cat"],
        ["<think>There may be a cat here. I see a cat and a dog.</think>\nA dog is on a bench."],
    ),
    ("<|begin_of_box|>A cat and a dog.<|end_of_box|>", ["cat"], ["<|begin_of_box|>A dog.<|end_of_box|>"]),
    # markup around words
    ("A **cat** and a **dog** sit on a couch.", ["cat"], ["A **dog** sits on a couch."]),
    ("A `cat` and a `dog` sit on a couch.", ["cat"], ["A `dog` sits on a couch."]),
    ("A truck 🚚 stands near a barn 🏚️.", ["truck"], ["There is a barn 🏚️."]),
    (
        'A dog stands under a sign that reads "FREE KITE".',
        ["kite"],
        ['A dog stands under a sign that reads "FREE KITE".'],
    ),
    # sentences
    (
        "A kite flies over a bridge near a tree.",
        ["kite"],
        ["There is a bridge near a tree.", "There is a bridge and a tree."],
    ),
    ("The dog runs. The muffins are coated in a layer of sugar.", ["muffin"], ["The dog runs."]),
    ("A dog runs. There is a yellow kayak in the water, which marks a safe route.", ["kayak"], ["A dog runs."]),
    (
        "The crate is to the left of the bicycle. The crate is also slightly behind the bicycle.",
        ["bicycle"],
        ["There is a crate."],
    ),
    (
        "In the corner there is an object, potentially a lamp or stand, with a thin base.",
        ["lamp"],
        ["In the corner there is an object, potentially a stand, with a thin base."],
    ),
    (
        "It has curly hair, a red cap with white stars, a blue-and-white coat, and gloves.",
        ["cap"],
        ["It has curly hair, a blue-and-white coat, and gloves."],
    ),
    (
        "a brown dog sits next to a red kite two boys run",
        ["kite"],
        ["a brown dog sits two boys run", "There is a brown dog and two boys."],
    ),
    ("A BROWN DOG SITS NEXT TO A RED KITE.", ["kite"], ["A BROWN DOG SITS.", "THERE IS A BROWN DOG."]),
    (
        "The street is busy, with dogs and houses seen behind the fence.",
        ["dog"],
        ["The street is busy, with houses seen behind the fence."],
    ),
    ("A hawk, a cat and an eagle sit on branches.", ["cat"], ["A hawk and an eagle sit on branches."]),
    ("Oxen and dogs pull carts.", ["dog"], ["Oxen pull carts."]),
    ("The town centre of UK, GBR, Europe. A dog and a cat.", ["cat"], ["The town centre of UK, GBR, Europe. A dog."]),
    (
        "The image shows two ducks: a mallard and a rubber toy.",
        ["rubber toy"],
        ["The image shows two ducks: a mallard.", "The image shows two ducks: a mallard and a rubber toy."],
    ),
    (
        "A sailboat with a wooden mast and green sail cover is moored.",
        ["mast"],
        ["A sailboat with a green sail cover is moored."],
    ),
    # a denial turned round inflects its verb
]


@pytest.mark.parametrize(("text", "absent", "right"), CASES, ids=[text[:50] for text, *_ in CASES])
def test_what_a_careful_editor_would_write(text, absent, right):
    assert corrected(text, *absent).text in right


@pytest.mark.parametrize(
    ("text", "objects", "right"),
    [
        ("We won't find a dog here.", ["dog"], "We will find a dog here."),
        ("The image does not contain any cars.", ["car"], "The image contains some cars."),
        ("The scene did not include a bus.", ["bus"], "The scene included a bus."),
    ],
)
def test_a_denial_turned_round_inflects_its_verb(text, objects, right):
    assert correct(text, 1, KnownObjects({1: objects})).text == right


def test_json_stays_json_whatever_is_absent():
    text = '{"title": "A dog, a kite", "items": [{"label": "dog"}, {"label": "kite"}], "note": "A dog and a kite.", "n": 2}'
    for absent in (["dog"], ["kite"], ["dog", "kite"]):
        left = json.loads(corrected(text, *absent).text)
        assert {item["label"] for item in left["items"]} == {"dog", "kite"} - set(absent)


@pytest.mark.parametrize(
    ("text", "absent", "words"),
    [
        ("A man waits by a fence. His dog sleeps.", ["man"], ["man"]),
        ("The rice balls look fresh. They are wrapped with seaweed in a dish.", ["ball"], ["balls"]),
        ("The machine is designed for harvesting the crops and is priced at 77000 rubles.", ["machine"], ["machine"]),
        ("Title: A supermarket at dusk\nDescription: A dog runs.", ["supermarket"], ["supermarket"]),
    ],
)
def test_what_cannot_be_cut_cleanly_is_flagged_and_left(text, absent, words):
    answer = corrected(text, *absent)
    flags = [edit for edit in answer.edits if edit.decision == "flagged"]
    assert answer.text == text
    assert [edit.before for edit in flags] == words
    for edit in flags:
        assert edit.after == edit.before == text[edit.start : edit.end]
        assert edit.verdicts
        assert "left as it was: " in edit.reason
        assert all(answer.verdicts[i].decision == "contradicted" for i in edit.verdicts)


def test_items_far_from_the_cut_stay_byte_for_byte():
    text = "Two pets:\n\n* a  dog 🐕\n* a cat\n* **a bird**!\n\nAnd UK, GBR,  Europe."
    assert corrected(text, "cat").text == text.replace("* a cat\n", "")
