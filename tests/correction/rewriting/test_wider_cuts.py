"""Cuts that do not read well give way to wider ones, and what stays agrees with what is left."""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from tests.absent_objects import without


@pytest.mark.parametrize(
    ("text", "objects", "expected"),
    [
        ("Nobody is using a phone.", "person", "Nobody is using a phone."),
        ("There is no one at the dining table, and no dog can be seen.", "person", "No dog can be seen."),
        ("Nobody sits on the bench, but a man walks by.", "person", "A man walks by."),
        ("There is no dog on the couch, only a cat.", "cat", "There is no dog, only a cat."),  # no dog anywhere
        (
            "Neither the boy nor the girl is holding a phone, but the girl has a handbag.",
            "person",
            "Neither the boy nor the girl is holding a phone.",
        ),
    ],
)
def test_a_denial_never_denies_more_than_it_did(text, objects, expected):
    assert correct(text, 1, KnownObjects({1: [objects]})).text == expected


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "A black car is parked here, while a pedestrian with a child walks through the archway, looking up.",
            "archway",
            {
                "A black car is parked here, while a pedestrian with a child walks, looking up.",
                "A black car is parked here, while a pedestrian with a child walks.",
                "A black car is parked here. There is a pedestrian with a child.",
            },
        ),
        ("The door's presence adds depth. A cat sits on a chair.", "door", {"A cat sits on a chair."}),
        ("The dog's bowl is full.", "dog", {"The bowl is full."}),
        (
            "Two boys and a kite are on the beach. The boys hold it by a string.",
            "kite",
            {"Two boys are on the beach."},
        ),
        ("A cat and a dog are on the rug. Both are asleep.", "cat", {"A dog is on the rug."}),
        (
            "There are three animals: a cat, a dog and a horse.",
            "dog",
            {"There are two animals: a cat and a horse."},
        ),
        ("A horse, a cow, and a pig stand behind the fence.", "horse", {"A cow and a pig stand behind the fence."}),
        ("A duck and a goose swim near a boat.", "duck", {"A goose swims near a boat."}),
        (
            "The man wearing a hat and the woman with a scarf are talking.",
            "hat",
            {"The man and the woman with a scarf are talking."},
        ),
        (
            "The horse on the left is larger than the cow on the right.",
            "horse",
            {
                "There is a cow on the right.",
                "The horse on the left is larger than the cow on the right.",
            },  # or flagged
        ),
        (
            "The base of the monument is multi-tiered and adorned with several dark plaques.",
            "plaque",
            {"The base of the monument is multi-tiered."},
        ),
        ("Water is essential for hydration. A dog runs.", "water", {"Water is essential for hydration. A dog runs."}),
    ],
)
def test_the_smallest_sound_cut_is_taken(text, absent, expected):
    assert without(text, absent).text in expected


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("The shelf holds books, as well as cups and a clock.", "book", "The shelf holds cups and a clock."),
        ("A dog, along with a cat and a bird, sits on the mat.", "dog", "A cat and a bird sit on the mat."),
        ("A dog is here. It has a mane, as well as a star on its side.", "mane", "A dog is here. It has a star on its side."),
        ("Both cats are curled up with their tails tucked in.", "tail", "Both cats are curled up."),
        (
            "The closed eyes, furrowed brow, and hand resting on the chin suggest a sense of calm.",
            "hand",
            "The closed eyes and furrowed brow suggest a sense of calm.",
        ),
        (
            'They stand before a backdrop that features the text "2023" and the logo of a school.',
            "logo",
            'They stand before a backdrop that features the text "2023".',
        ),
    ],
)  # fmt: skip
def test_true_members_of_a_list_stay(text, absent, expected):
    assert without(text, absent).text == expected


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "It is a basket or a bowl containing two pieces of orange fruit, possibly melons or cantaloupes.",
            "fruit",
            "It is a basket or a bowl.",
        ),
        ("Two cats sleep on a bed, one with a toy, the other with a collar.", "toy", "Two cats sleep on a bed."),
        (
            "Rafting might not be ideal directly near the dam due to safety concerns. A boat is here.",
            "dam",
            "Rafting might not be ideal due to safety concerns. A boat is here.",
        ),
        (
            "Both cats are sleeping on a pink blanket. One cat is on the left side of the blanket.",
            "cat",
            "There is a pink blanket.",
        ),
    ],
)
def test_what_belongs_to_a_deleted_word_goes_with_it(text, absent, expected):
    assert without(text, absent).text == expected


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("I don't know who the artist is. The image shows a board.", "artist"),
        ("People create art like this for various reasons. A wall is here.", "person"),
    ],
)
def test_what_is_not_said_of_the_image_stays(text, absent):
    assert without(text, absent).text == text


@pytest.mark.parametrize(
    ("text", "objects", "expected"),
    [
        (
            "1. **Giraffe** - standing\n2. **Zebra** - grazing\n3. **Elephant** - drinking\n\n"
            "So there are three animals in total.",
            ("giraffe", "zebra"),
            "1. **Giraffe** - standing\n2. **Zebra** - grazing\n\nSo there are two animals in total.",
        ),
        (
            "A giraffe, two zebras and an elephant stand here. In total, there are 4 animals.",
            ("giraffe", "zebra"),
            "A giraffe and two zebras stand here. In total, there are 3 animals.",
        ),
        ("- cup\n- fork\n- knife\n\nA total of three objects.", ("cup", "fork", "knife"), None),
    ],
)
def test_a_total_of_what_the_text_lists_follows_the_list(text, objects, expected):
    assert correct(text, 1, KnownObjects({1: list(objects)})).text == (expected or text)


def test_a_total_that_is_no_sum_of_the_list_is_flagged():
    answer = correct(
        "A giraffe and a zebra stand here. In total, there are 9 animals.", 1, KnownObjects({1: ["zebra"]})
    )
    assert answer.text == "A zebra stands here. In total, there are 9 animals."
    assert [edit.before for edit in answer.edits if edit.decision == "flagged"] == ["9 animals"]


@pytest.mark.parametrize(
    ("text", "objects", "expected"),
    [
        ("A man walks by. There might be a dog, but it's hard to tell.", "person", "A man walks by."),
        (
            "A man walks by. It looks like there could be a backpack, although I'm not sure.",
            "person",
            "A man walks by.",
        ),
        ("A cat sleeps. I see what may be a bicycle, but I cannot be certain.", "cat", "A cat sleeps."),
    ],
)
def test_doubt_goes_with_the_guess_that_it_is_about(text, objects, expected):
    assert correct(text, 1, KnownObjects({1: [objects]})).text == expected


@pytest.mark.parametrize(
    ("text", "objects", "expected"),
    [
        (
            "A bowl containing apples, bananas, and oranges sits on the counter.",
            ("bowl", "apple", "orange"),
            "A bowl containing apples and oranges sits on the counter.",
        ),
        (
            "The desk holds a laptop, a coffee mug, a wireless mouse and a keyboard, all neatly arranged.",
            ("laptop", "cup"),
            "The desk holds a laptop and a coffee mug, all neatly arranged.",
        ),
        (
            "The bathroom contains a toilet with its lid closed, a sink, and a bathtub with a curtain.",
            ("toilet",),
            "The bathroom contains a toilet with its lid closed and a bathtub with a curtain.",
        ),
        (
            "Inside the bowl: noodles, half a boiled egg, sliced carrots and a pair of chopsticks resting on the rim.",
            ("bowl",),
            "Inside the bowl: noodles, half a boiled egg and a pair of chopsticks resting on the rim.",
        ),
        (
            "In the kitchen, a cup, a fork, and a knife lie on the counter.",
            ("cup",),
            "In the kitchen, a cup lies on the counter.",
        ),
        ("A dog, a cat, and a bird sit on a fence.", ("cat",), "A cat sits on a fence."),
        (
            "Two skiers stand on the slope, one adjusting her goggles and the other holding a snowboard.",
            ("person",),
            "Two skiers stand on the slope, one adjusting her goggles.",
        ),
        (
            "The plate holds a sandwich (ham, cheese, and lettuce), fries, a carrot, and a small bowl of ketchup.",
            ("sandwich",),
            "The plate holds a sandwich (ham, cheese, and lettuce) and fries.",
        ),
        (
            "The scene is calm; only a lone sheep grazes by the fence, and a bird perches on its back.",
            ("sheep",),
            "The scene is calm; only a lone sheep grazes by the fence.",
        ),
        (
            "The dog's collar is red, and its leash is held by a woman in a green coat.",
            ("person",),
            "There is a woman in a green coat.",
        ),
    ],
)
def test_lists_and_clauses_that_the_parser_tears_apart(text, objects, expected):
    assert correct(text, 1, KnownObjects({1: list(objects)})).text == expected
