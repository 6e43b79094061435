"""The claims that extraction reads: spans first, then denied, doubted and depicted things, then counts."""

import pytest

from halluguard.correction.claims.extract import extract, extract_many
from halluguard.errors import InputError


def existence(text, query=None):
    return [c for c in extract(text, query) if c.kind == "existence"]


def only(text, name):
    (claim,) = [c for c in existence(text) if c.name == name]
    return claim


TEXTS = [
    "Two dogs and possibly a red car.",
    "",
    "   \n\t ",
    "A man 👨‍👩‍👧 rides a horse\r\n\r\n- a dog\n- a c\u200bat İSTANBUL dog",
    "no.space.The dog;the cat",
    "**A dog** and `a cat`, <script>alert('car')</script>",
    "a" * 5000,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_spans_are_exact_in_the_original_string(text):
    for claim in extract(text):
        assert text[claim.start : claim.end] == claim.phrase
        if claim.trigger:
            assert claim.start <= claim.trigger[0] < claim.trigger[1] <= claim.end


def test_a_text_reads_the_same_alone_and_in_any_batch():
    texts = [t for t in TEXTS if t] * 3
    assert list(extract_many(texts, batch_size=4)) == [extract(t) for t in texts]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("There is no dog.", "dog"),
        ("There are no cars or pedestrians.", "pedestrian"),
        ("This is not a bicycle.", "bicycle"),
        ("I cannot see any dog.", "dog"),
        ("There is neither a dog nor a cat.", "cat"),
        ("A street without cars.", "car"),
        ("A lack of chairs.", "chair"),
        ("None of the dogs.", "dog"),
        ("A man not wearing a tie.", "tie"),
        ("There is no sign of a dog.", "dog"),
        ("No, there is no cat in the image.", "cat"),
    ],
)
def test_denied(text, name):
    assert only(text, name).polarity == "denied"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The cover of the book is not visible.", "book"),
        ("No dog but a cat.", "cat"),
        ("Not only a cat but also a dog.", "cat"),
        ("Not only a cat but also a dog.", "dog"),
        ("No, there is a cat.", "cat"),
        ("A man not wearing a tie.", "man"),
    ],
)
def test_not_denied(text, name):
    assert only(text, name).polarity == "asserted"


@pytest.mark.parametrize(
    ("text", "name", "modality"),
    [
        ("A dog.", "dog", "asserted"),
        ("Possibly a dog.", "dog", "hedged"),
        ("There is what appears to be a dog.", "dog", "hedged"),
        ("It looks like a cat.", "cat", "hedged"),
        ("It may be a dog.", "dog", "hedged"),
        ("The man appears to be enjoying a pizza.", "pizza", "asserted"),
        ("A heron or pelican.", "heron", "disjunctive"),
        ("A statue of a dog.", "dog", "depicted"),
        ("A toy dog.", "dog", "depicted"),
        ("A painting of a horse on the wall.", "horse", "depicted"),
        ("This is a photo of a dog.", "dog", "asserted"),
        ("A man is taking a picture of a pizza.", "pizza", "asserted"),
        ("People are waiting for a bus.", "bus", "irrealis"),
        ("He is preparing to hit the ball.", "ball", "irrealis"),
        ("Is there a dog?", "dog", "question"),
    ],
)
def test_distance(text, name, modality):
    assert only(text, name).modality == modality


def test_or_lists_name_their_alternatives():
    assert only("A heron or pelican.", "heron").alternatives == ("pelican",)


@pytest.mark.parametrize(
    "text", ["A clock tower.", "A train station.", "A horse-drawn carriage.", "An orange and white sail."]
)
def test_a_modifier_claims_no_object(text):
    assert not [c for c in existence(text) if c.category]


@pytest.mark.parametrize(
    ("text", "name", "count", "bound"),
    [
        ("Two dogs.", "dog", 2, "exact"),
        ("A couple of dogs.", "dog", 2, "exact"),
        ("Twenty-five cups.", "cup", 25, "exact"),
        ("1,200 books.", "book", 1200, "exact"),
        ("At least 13 people.", "person", 13, "at_least"),
        ("Two to three dogs.", "dog", 2, "at_least"),
        ("Several cars.", "car", 3, "at_least"),
        ("Two of the three people.", "person", 3, "exact"),
        ("A dozen donuts.", "donut", 12, "exact"),
        ("About ten birds.", "bird", 10, "about"),
        ("- **Cars:** 2", "car", 2, "exact"),
        ("| Thing | Number |\n|---|---|\n| Cup | three |", "cup", 3, "exact"),
        ('{"car": 2}', "car", 2, "exact"),
        ('[{"name": "car", "count": 3, "color": "red"}]', "car", 3, "exact"),
        ("1girl, solo, outdoors", "girl", 1, "exact"),
        ("Two trees.", "tree", 2, "exact"),
    ],
)
def test_counts(text, name, count, bound):
    (claim,) = [c for c in extract(text) if c.kind == "count"]
    assert (claim.name, claim.count, claim.bound) == (name, count, bound)


@pytest.mark.parametrize("text", ["A dog.", "The dogs.", "No dogs.", "A pair of scissors."])
def test_no_count_is_read_where_none_is_claimed(text):
    assert not [c for c in extract(text) if c.kind == "count"]


def test_a_bad_text_in_a_stream_can_be_set_aside():
    first, second, third = extract_many(["A dog.", None, "A cat."], errors="yield")
    assert isinstance(second, InputError)
    assert (first[0].name, third[0].name) == ("dog", "cat")


def properties(text, query=None):
    return [(c.name, c.attribute, c.polarity) for c in extract(text, query) if c.kind == "attribute"]


def relations(text):
    return [(c.name, c.relation, c.other_name, c.polarity) for c in extract(text) if c.kind == "relation"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red and white umbrella.", [("umbrella", "red", "asserted"), ("umbrella", "white", "asserted")]),
        ("The car is blue and old.", [("car", "blue", "asserted"), ("car", "old", "asserted")]),
        ("A table made of wood.", [("table", "wooden", "asserted")]),
        ("A light blue car.", [("car", "blue", "asserted")]),
        ("The dog is not brown.", [("dog", "brown", "denied")]),
        ("There is a man. He is smiling.", [("man", "smiling", "asserted")]),
        ("A dog that is black is here.", [("dog", "black", "asserted")]),
        ("A man sitting on a bench.", [("man", "sitting", "asserted")]),
        ("An orange shirt.", [("shirt", "orange", "asserted")]),
        ("A red-haired woman.", []),
        ("A blue-and-white coat.", [("coat", "blue", "asserted"), ("coat", "white", "asserted")]),
        ("There is an umbrella. It is striped.", [("umbrella", "striped", "asserted")]),
        ("An umbrella lies open, painted in orange.", [("umbrella", "orange", "asserted")]),
        ("Green trees and a white house.", [("tree", "green", "asserted"), ("house", "white", "asserted")]),
        ("A lively, cozy kitchen with a delicious pizza.", []),
    ],
)
def test_properties_of_a_closed_list(text, expected):
    assert properties(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cup on a table.", [("cup", "on", "table", "asserted")]),
        ("Behind the lamp is a mirror.", [("mirror", "behind", "lamp", "asserted")]),
        ("To the left of the car stands a man.", [("man", "left of", "car", "asserted")]),
        ("There is a cup to the left of a plate.", [("cup", "left of", "plate", "asserted")]),
        ("A car is parked next to a truck.", [("car", "next to", "truck", "asserted")]),
        ("Two dogs are lying on top of the couch.", [("dog", "on", "couch", "asserted")]),
        ("A woman stands in front of a car.", [("woman", "in front of", "car", "asserted")]),
        ("There is a man. He is holding a bat.", [("man", "holding", "bat", "asserted")]),
        ("The cup is not on the table.", [("cup", "on", "table", "denied")]),
        ("Next to the car stands a red bicycle.", [("bicycle", "next to", "car", "asserted")]),
        ("In front of the house are two children.", [("child", "in front of", "house", "asserted")]),
        ("Two men stand. They are wearing helmets.", [("man", "wearing", "helmet", "asserted")]),
        ("A dog in the background of the image.", []),
        ("A car on the street.", []),
    ],
)
def test_relations_between_two_things(text, expected):
    assert relations(text) == expected


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Yes", "Is there a dog in the image?", ("dog", "asserted", None, None, None)),
        ("No, there is no dog.", "Is there a dog in the image?", ("dog", "denied", None, None, None)),
        ("Yes.", "Are there two dogs?", ("dog", "asserted", 2, None, None)),
        ("No, it is blue.", "Is the car red?", ("car", "denied", None, "red", None)),
        ("Yes", "Is the cup on the table?", ("cup", "asserted", None, None, "table")),
        ("Yes, there is a dog.", None, ("dog", "asserted", None, None, None)),
    ],
)
def test_yes_and_no_claim_what_was_asked(text, query, expected):
    (claim,) = [c for c in extract(text, query) if c.kind == "answer"]
    assert (claim.name, claim.polarity, claim.count, claim.attribute, claim.other_name) == expected
    assert claim.phrase in ("Yes", "No")


@pytest.mark.parametrize(
    ("text", "query"),
    [("Yes", None), ("No dogs are visible.", None), ("Yes", "What is this?"), ("A dog.", "Is there a dog?")],
)
def test_no_answer_claim_where_nothing_was_answered(text, query):
    assert not [c for c in extract(text, query) if c.kind == "answer"]


def test_a_definite_mention_points_to_the_first_one():
    first, other, again = [c for c in existence("A man and a dog. The man smiles.") if c.name in ("man", "dog")]
    assert (first.same_as, other.same_as, again.same_as) == (None, None, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"relations": [["man", "riding", "horse"]]}', [("man", "riding", "horse")]),
        (
            '{"triples": [["cup", "to the left of", "plate"], ["dog", "near", "bench"]]}',
            [("cup", "left of", "plate"), ("dog", "near", "bench")],
        ),
        ('[{"subject": "woman", "predicate": "is holding", "object": "umbrella"}]', [("woman", "holding", "umbrella")]),
        ('{"relationships": ["cup on table"]}', [("cup", "on", "table")]),
        ('{"objects": ["man", "horse", "on"]}', []),
    ],
)
def test_relations_written_in_json(text, expected):
    found = [(c.name, c.relation, c.other_name) for c in extract(text) if c.kind == "relation"]
    assert found == expected


def test_a_relation_is_as_doubtful_as_its_ends():
    relations = [c for c in extract("A cup is next to a fork or a spoon.") if c.kind == "relation"]
    assert {(c.other_name, c.modality) for c in relations} == {("fork", "disjunctive"), ("spoon", "disjunctive")}
