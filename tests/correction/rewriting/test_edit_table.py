"""The edit table: what a careful editor would write, case by case. X is an object that the image does not hold."""

import re

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.attributes import kind_of
from halluguard.correction.rewriting.rewrite import FALLBACK
from halluguard.records import Box, apply_edits
from halluguard.vocabulary import COCO, category


class Things:
    """Find a given number of objects of each COCO category, side by side."""

    name = "things"
    needs_image = False
    thresholds = (0.5, 0.3)

    def __init__(self, things):
        self.things = things

    def covers(self, phrase):
        return phrase in COCO

    def detect(self, images, phrases):
        return [
            [
                Box(word, 0.9, (20.0 * n, 0.0, 20.0 * n + 10, 10.0), i)
                for i, word in enumerate(words)
                for n in range(self.things.get(word, 0))
            ]
            for words in phrases
        ]


class Properties:
    """Knows what is true of what: {("car", "blue"), ("cup", "left of", "plate")}. Judges colours and sides."""

    name = "properties"
    needs_image = False

    def __init__(self, true):
        self.true = true

    def covers(self, question):
        return question.kind == "relation" or kind_of(question.value) == "colour"

    def judge(self, images, questions):
        return [[0.95 if self._holds(q) else 0.02 for q in asked] for asked in questions]

    def _holds(self, q):
        return ((q.name, q.value) if q.kind == "attribute" else (q.name, q.value, q.other_name)) in self.true


def objects(text):
    """ "2 dog, person" -> {"dog": 2, "person": 1}"""
    found = {}
    for part in filter(None, text.split(", ")):
        many, name = re.match(r"(\d+ )?(.*)", part).groups()
        found[name] = int(many or 1)
    return found


def corrected(text, there, true=(), question=None, **options):
    answer = correct(text, "image", Things(objects(there)), question, properties=Properties(set(true)), **options)
    assert apply_edits(text, answer.edits) == answer.text
    assert not answer.edits or all(edit.verdicts and edit.reason for edit in answer.edits)
    again = correct(answer.text, "image", Things(objects(there)), question, properties=Properties(set(true)), **options)
    assert again.text == answer.text, "a second pass changed the text"
    return answer.text


# number in the table, text, what is there, expected
TABLE = [
    (1, "There is a dog, a cat, and a bird.", "dog, bird", "There is a dog and a bird."),
    (1, "a dog, a cat, and a bird", "dog, bird", "a dog and a bird"),
    (2, "A fork and a knife are on the counter.", "knife", "A knife is on the counter."),
    (2, "A fork and two knives are on the counter.", "2 knife", "Two knives are on the counter."),
    (3, "There is a dog, a cat, a horse and a bird.", "dog, cat, horse", "There is a dog, a cat and a horse."),
    (3, "There is a dog, a cat, a horse, and a bird.", "dog, cat, horse", "There is a dog, a cat, and a horse."),
    (3, "There is a dog, a cat, and a bird.", "dog, cat", "There is a dog and a cat."),
    (3, "A dog and a cat.", "dog", "A dog."),
    (4, "A man is standing near a cat and a dog.", "person", "A man is standing."),
    (4, "The scene is calm. There are a cat and a dog.", "person", "The scene is calm."),
    (5, "The table holds many items, including a cup.", "dining table", "The table holds many items."),
    (5, "The desk has many things, such as a cup and a book.", "dining table", "The desk has many things."),
    (6, "A man with a backpack walking down the street.", "person", "A man walking down the street."),
    (6, "A man with a backpack is walking.", "person", "A man is walking."),
    (7, "A man is sitting on a bench.", "person", "A man is sitting."),
    (7, "A man is smiling, and a cup is placed on a bench.", "person, cup", "A man is smiling. There is a cup."),
    (8, "A table, which is covered with bowls and cups, is in the room.", "dining table", "A table is in the room."),
    (9, "A man is wearing a backpack and a tie.", "person, tie", "A man is wearing a tie."),
    (10, "The street is quiet. There are two dogs.", "", "The street is quiet."),
    (11, "A table stands here. There are two bottles on the table.", "dining table", "A table stands here."),
    (12, "There are two bottles on the table.", "dining table", "There is a table."),
    (13, "The street is quiet. There are two cars. One is red, the other is blue.", "", "The street is quiet."),
    (13, "It is quiet. There are two cars. One car is red, and the other car is blue.", "", "It is quiet."),
    (14, "A man stands. There is a car. It is parked nearby.", "person", "A man stands."),
    (14, "A man stands. There are two dogs. They are running.", "person", "A man stands."),
    (15, "Three dogs are running.", "2 dog", "Two dogs are running."),
    (15, "There are 13 books.", "12 book", "There are 12 books."),
    (15, "There are two dogs.", "3 dog", "There are three dogs."),
    (15, "A couple of dogs are running.", "dog", "One dog is running."),
    (16, "Two dogs are running.", "dog", "One dog is running."),
    (17, "There are several people.", "person", "There is a person."),
    (18, "At least 13 people are here.", "15 person", "At least 13 people are here."),
    (18, "Several people are here.", "7 person", "Several people are here."),
    (22, "Yes, there is a dog.", "cat", "No, there is no dog."),
    (22, "Yes, there are two dogs in the image.", "cat", "No, there are no dogs in the image."),
    (22, "Yes, I can see a dog.", "cat", "No, there is no dog."),
    (23, "No, there is no cat.", "cat", "Yes, there is a cat."),
    (23, "No, there is no elephant in the image.", "elephant", "Yes, there is an elephant in the image."),
    (23, "No, there are no cats.", "2 cat", "Yes, there are cats."),
    (25, "There is no dog.", "cat", "There is no dog."),
    (25, "A man walks with possibly a dog.", "person", "A man walks."),
    (25, "A man is standing on the street, possibly near a dog.", "person", "A man is standing on the street."),
    (26, "There is a cat or dog.", "dog", "There is a cat or dog."),
    (27, "A car and a group of people are in the street.", "car", "A car is in the street."),
    (27, "A car is parked near a group of people.", "car", "A car is parked."),
    (28, "The dog's bowl is full.", "bowl", "The bowl is full."),
    (29, "There is not only a cat but also a dog.", "cat", "There is a cat."),
    (30, "A cow statue is near the clock tower.", "person", "A cow statue is near the clock tower."),
    (30, "A horse-drawn carriage.", "person", "A horse-drawn carriage."),
    (31, "There is a dog. There is a cat.", "person", FALLBACK),
    (32, "# Things\r\n\r\n- A  dog 🐕\r\n- a cat\r\n- **A bird**!\n", "dog, bird", "# Things\r\n\r\n- A  dog 🐕\r\n- **A bird**!\n"),
    (32, 'He said "a dog".\n\nA man  waits with a cat .', "dog, person", 'He said "a dog".\n\nA man  waits.'),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "there", "expected"), TABLE, ids=[f"{n}-{t[:40]}" for n, t, *_ in TABLE])
def test_objects_and_numbers(case, text, there, expected):
    assert corrected(text, there) == expected


# text, what is there, what is true of it, expected
PROPERTIES = [
    (19, "There is a red car.", "car", [("car", "blue")], "There is a blue car."),
    (19, "There is an orange car.", "car", [("car", "red")], "There is a red car."),
    (19, "There is a red car.", "car", [("car", "orange")], "There is an orange car."),
    (19, "The car is red.", "car", [("car", "blue")], "The car is blue."),
    (19, "There is a red car.", "car", [], "There is a car."),
    (20, "A red and white umbrella.", "umbrella", [("umbrella", "red")], "A red umbrella."),
    (20, "A red and white umbrella.", "umbrella", [("umbrella", "white")], "A white umbrella."),
    (20, "A red, white and blue kite.", "kite", [("kite", "red"), ("kite", "blue")], "A red and blue kite."),
    (21, "A cup is to the left of a bowl.", "cup, bowl", [("cup", "right of", "bowl")], "A cup is to the right of a bowl."),
    (
        21,
        "A cup is to the left of a bowl, and the bowl is to the right of the cup.",
        "cup, bowl",
        [("cup", "right of", "bowl"), ("bowl", "left of", "cup")],
        "A cup is to the right of a bowl, and the bowl is to the left of the cup.",
    ),
    (21, "A dog is behind a cat.", "dog, cat", [("dog", "in front of", "cat")], "A dog is in front of a cat."),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "there", "true", "expected"), PROPERTIES, ids=[p[1] for p in PROPERTIES])
def test_properties_and_sides(case, text, there, true, expected):
    assert corrected(text, there, true) == expected


# question, answer, what is there, what is true of it, expected
REPLIES = [
    (24, "Is there a dog in the image?", "Yes", "cat", [], "No"),
    (24, "Is there a dog in the image?", "Yes.", "cat", [], "No."),
    (24, "Is there a dog in the image?", "no", "dog", [], "yes"),
    (24, "Is there a dog in the image?", "Yes", "dog", [], "Yes"),
    (24, "Is there a dog in the image?", "Yes, it is.", "cat", [], "No, it is not."),
    (24, "Is there a dog in the image?", "No, there isn't.", "dog", [], "Yes, there is."),
    (24, "Is there a dog in the image?", "Yes, in the background.", "cat", [], "No."),
    (24, "Are there two dogs?", "Yes", "3 dog", [], "No"),
    (24, "Is the car red?", "Yes, the car is red.", "car", [("car", "blue")], "No, the car is blue."),
    (24, "Is the car red?", "Yes, the car is red.", "car", [], "No, the car is not red."),
    (24, "Is the car red?", "No", "car", [("car", "red")], "Yes"),
    (24, "Is the cup on the table?", "Yes", "cup, dining table", [], "No"),
    (22, "Is there a dog?", "Yes, there is a dog and a cat.", "cat", [], "No, there is a cat."),
]


@pytest.mark.parametrize(
    ("case", "question", "text", "there", "true", "expected"), REPLIES, ids=[f"{q} {a}" for _, q, a, *_ in REPLIES]
)
def test_replies(case, question, text, there, true, expected):
    assert corrected(text, there, true, question) == expected


def test_every_case_of_the_table_is_here():
    assert {n for n, *_ in [*TABLE, *PROPERTIES, *REPLIES]} == set(range(1, 33))
    assert all(category(name) == name for _, _, there, _ in TABLE for name in objects(there))
