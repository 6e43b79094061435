"""What is true beside a false word stays where it is: lists, fields, forms, and what follows or is announced."""

import json

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.detectors.precomputed import KnownObjects


def corrected(text, *absent):
    """The answer corrected by an expert that knows all its objects to be there, but those absent."""
    named = {c.name for c in extract(text) if c.kind == "existence" and c.polarity == "asserted"}
    gone = {name for name in named if name in absent or name.split()[-1] in absent}
    return correct(text, 1, KnownObjects({1: sorted(named - gone)}, vocabulary=named | set(absent)))


def flagged(answer):
    return [edit.before for edit in answer.edits if edit.decision == "flagged"]


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "The cottage is distinguished by its steep gable, blue-painted shutters, and a slate roof.",
            "gable",
            "The cottage is distinguished by its blue-painted shutters and a slate roof.",
        ),
        (
            "A white van is parked in a yard, enclosed by a brick wall and wooden sheds, with two men beside it.",
            "shed",
            "A white van is parked in a yard, enclosed by a brick wall, with two men beside it.",
        ),
        (
            "The lettering on the paper cups and the banners is red.",
            "banner",
            "The lettering on the paper cups is red.",
        ),
        (
            "The texture on the carpet and the curtain looks smooth.",
            "carpet",
            "The texture on the curtain looks smooth.",
        ),
        (
            "The picture features a harbour, a man standing on a small jetty, and several boats and nets.",
            "net",
            "The picture features a harbour, a man standing on a small jetty, and several boats.",
        ),
    ],
)
def test_a_list_that_the_parser_tears_apart_loses_only_its_false_member(text, absent, expected):
    assert corrected(text, absent).text == expected


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "It shows six different lamps, each with a paper label, arranged in two rows.",
            "label",
            "It shows six different lamps, arranged in two rows.",
        ),
        (
            "The verdict is that of a jury, as the text says that the plea is being weighed or rejected by the old judge.",
            "judge",
            "The verdict is that of a jury, as the text says that the plea is being weighed or rejected.",
        ),
        (
            "A red bus fills the left side while a cyclist rides along the street, adding a sense of motion.",
            "bus",
            "A cyclist rides along the street, adding a sense of motion.",
        ),
        (
            "A wooden rowing boat with a red stripe is anchored in shallow water, decorated with a row of lanterns.",
            "water",
            "A wooden rowing boat with a red stripe is anchored, decorated with a row of lanterns.",
        ),
    ],
)
def test_a_phrase_goes_without_the_phrases_beside_it(text, absent, expected):
    assert corrected(text, absent).text == expected


def test_a_participle_goes_with_its_phrase_and_the_place_after_it_stays():
    text = "A narrow rowing boat is anchored, decorated with a row of lanterns, against a row of houses."
    expected = "A narrow rowing boat is anchored against a row of houses."
    assert corrected(text, "lantern").text in (expected, expected.replace(" against", ", against"))


def test_attributes_of_one_of_two_alternatives_stay():
    text = "A woman sits on a small, crooked wooden chair or bench near the street."
    assert corrected(text, "chair").text == text


@pytest.mark.parametrize("text", ["Title: Copper Kettle\n\nA cup is here.", "Title:\nCopper Kettle\n\nA cup is here."])
def test_a_title_is_flagged_and_not_deleted_with_its_label(text):
    answer = corrected(text, "kettle")
    assert answer.text == text
    assert flagged(answer) == ["Kettle"]


def test_a_title_with_a_place_after_a_comma_is_no_list_of_keywords():
    text = "Title: Harbour Lighthouse in Whitby, England\n\nA boat is here."
    answer = corrected(text, "lighthouse")
    assert answer.text == text
    assert flagged(answer)


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("Caption: A close-up of a parrot on a chair", "parrot", "Caption: A close-up of a chair"),
        ('{"content": "A photo of a parrot on a chair."}', "parrot", '{"content": "A photo of a chair."}'),
    ],
)
def test_the_frame_of_a_caption_stays(text, absent, expected):
    assert corrected(text, absent).text == expected


def test_names_on_a_form_are_not_read_as_things():
    text = json.dumps({"supplier": {"site": "Elm Road Plant", "tower": "Green Water Tower", "phone": "555 0101"}})
    assert corrected(text, "plant", "tower").text == text


def test_a_sentence_that_announces_a_list_stays():
    text = "This carved bowl would suit a hall. It could be shown in several places, such as:\n\n- Shelves\n- Tables"
    answer = corrected(text, "bowl")
    assert answer.text == text
    assert flagged(answer) == ["bowl"]


def test_what_is_told_of_a_flagged_thing_is_flagged_too():
    text = (
        "The photo shows a rider resting in a bushy area with poles in the background. "
        'The rider is wearing a green vest with the word "TEAM", a blue cap, and tall boots.'
    )
    answer = corrected(text, "rider")
    assert answer.text == text
    assert flagged(answer) == ["rider", "rider"]


def test_a_sentence_is_flagged_where_two_other_things_would_go_with_it():
    text = (
        "A bronze pillar stands on a terrace, facing a pier over the sea under a clear sky.\n\nKeywords: pier, sea, sky"
    )
    answer = corrected(text, "pillar")
    assert "stands on a terrace, facing a pier" in answer.text
    assert flagged(answer) == ["bronze pillar"]


@pytest.mark.parametrize("text", ["Rinse your beard with warm water.", "Carefully wash your beard and dry it."])
def test_instructions_about_what_is_the_readers_are_no_claims(text):
    assert not [c for c in extract(text) if c.name == "beard"]
    assert [c for c in extract("The man touches his beard.") if c.name == "beard"]


def test_words_for_some_of_a_deleted_group_go_with_it():
    text = "A man waits. There are many bottles. Some are green."
    assert corrected(text, "bottle").text == "A man waits."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The couch—with a cat on it—stands by the wall.", "The couch stands by the wall."),
        ("The couch – next to a cat – is brown.", "The couch is brown."),
    ],
)
def test_dashes_around_a_phrase_go_with_it(text, expected):
    assert corrected(text, "cat").text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "There are three people and two cats, for a total of five living beings.",
            "three people, for a total of three",
        ),
        ("There are a dog, a horse and a cat, three animals in total.", "a dog and a horse, two animals in total."),
    ],
)
def test_the_total_of_a_sentence_follows_its_list(text, expected):
    assert expected in corrected(text, "cat").text


@pytest.mark.parametrize("absent", ["car", "bus", "bicycle"])
@pytest.mark.parametrize(
    ("text", "of_two"),
    [
        ("A car, a bus and a bicycle are on the road.", "{0} and {1} are on the road."),
        ("A man with a car, a bus and a bicycle walks by.", "A man with {0} and {1} walks by."),
        ("In the foreground, a car, a bus and a bicycle can be seen.", "In the foreground, {0} and {1} can be seen."),
        ("The room is full, with a car, a bus, and a bicycle.", "The room is full, with {0} and {1}."),
    ],
)
def test_a_list_of_three_keeps_the_other_two_wherever_it_stands(text, of_two, absent):
    left = [f"a {name}" for name in ("car", "bus", "bicycle") if name != absent]
    expected = of_two.format(*left)
    assert corrected(text, absent).text == expected[0].upper() + expected[1:]


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("cup", "A bus, along with an umbrella, is on the street."),
        ("umbrella", "A bus, along with a cup, is on the street."),
        ("bus", "A cup and an umbrella are on the street."),
    ],
)
def test_the_list_after_along_with_is_a_list_of_its_own(absent, expected):
    assert corrected("A bus, along with a cup and an umbrella, is on the street.", absent).text == expected


def test_several_known_things_are_not_left_where_one_of_them_went():
    text = "The image shows a cat and a dog. Both animals look relaxed."
    answer = corrected(text, "dog")
    assert (answer.text, flagged(answer)) == (text, ["dog"])


@pytest.mark.parametrize("closing", ["It is a sunny day.", "It seems like late autumn."])
def test_a_remark_on_the_day_does_not_go_with_the_thing_before_it(closing):
    assert corrected(f"A man rides a bike. A dog runs beside him. {closing}", "dog").text.endswith(closing)


def test_what_is_stated_again_has_the_number_of_its_noun():
    text = "Plates of food, glasses of wine and a vase of flowers are on the table."
    stated = corrected(text, "table", "vase").text
    assert stated == "There are some plates of food and some glasses of wine."


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("The dog, along with a cat, is resting.", "cat", "The dog is resting."),
        ("On the table, there is a cup; to its right, a spoon.", "spoon", "On the table, there is a cup."),
        (
            "The kitchen has a white refrigerator on the left and a black oven on the right.",
            "oven",
            "The kitchen has a white refrigerator on the left.",
        ),
        ("Not only is there a dog, but there is also a cat.", "cat", "There is a dog."),
        ("A cat sits on top of a car parked next to a bicycle.", "bicycle", "A cat sits on top of a car."),
        ("The corner is completed by a bench, and a dog sleeps.", "bench", "A dog sleeps."),
    ],
)
def test_nothing_is_left_of_a_phrase_that_says_nothing_alone(text, absent, expected):
    assert corrected(text, absent).text == expected


@pytest.mark.parametrize("absent", ["dog", "cat"])
def test_both_does_not_stand_for_one(absent):
    text = "A large dog is standing behind a smaller cat, and both are looking at a bird."
    answer = corrected(text, absent)
    assert "both" not in answer.text.lower() or flagged(answer) == [absent]


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "A bowl of soup, a spoon, and a slice of bread are arranged on a tray.",
            "spoon",
            "A bowl of soup and a slice of bread are arranged on a tray.",
        ),
        ("A dog with a red collar and a cat are lying here.", "cat", "A dog with a red collar is lying here."),
        (
            "The room includes a couch with two cushions, a table with a vase on top, and a lamp in the corner.",
            "lamp",
            "The room includes a couch with two cushions and a table with a vase on top.",
        ),
        ("The only vehicle here is a truck.", "truck", "There is a vehicle."),
    ],
)
def test_lists_whose_members_have_things_of_their_own(text, absent, expected):
    assert corrected(text, absent).text == expected


def test_next_to_which_does_not_lose_its_noun():
    text = "A cat is looking at itself in the mirror, next to which there is a hair dryer."
    assert "which" not in corrected(text, "mirror").text or corrected(text, "mirror").text == text


def test_a_possessive_does_not_come_before_what_is_stated_again():
    text = "The photo was taken in a park where a man is feeding ducks, and his bicycle is leaning against a tree."
    assert corrected(text, "duck").text == text


def test_each_stands_for_the_noun_before_its_comma():
    text = "The hall faces the spectators.\n\n- The chart has sections, each numbered for quick reference."
    assert corrected(text, "spectator").text.endswith("each numbered for quick reference.")
