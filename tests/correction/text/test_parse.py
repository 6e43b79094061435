"""The parse: long runs are cut, unreadable texts and other languages are refused in one sentence."""

from dataclasses import replace

import pytest

from halluguard.correction.claims import extract, mentions
from halluguard.correction.text.budget import Budget
from halluguard.correction.text.reading import cut, parse_each, parse_many
from halluguard.errors import InputError


@pytest.mark.parametrize("run", ["(", "['", "a", "dog(", "猫"])
def test_a_run_without_spaces_is_read_in_pieces(run):
    """Ten thousand brackets took ten seconds: the tokenizer's time grows with the square of a run."""
    long = run * 4000
    assert max(end - start for start, end in cut(f"A dog is on {long} a couch.")) < 400
    assert cut("A dog is on a couch.") == [(0, 20)]
    pieces = cut(f"{long} {long}")
    assert "".join(f"{long} {long}"[start:end] for start, end in pieces) == f"{long} {long}"
    text = f"A cat sits here. {'(' * 1000} A dog is on a couch."
    assert {claim.phrase for claim in extract(text)} >= {"cat", "dog", "couch"}


@pytest.mark.parametrize(
    "bad", [None, 3, b"dog", "dog \ud800", "a" * 200_001], ids=["none", "int", "bytes", "surrogate", "long"]
)
def test_unreadable_text_gets_one_sentence(bad):
    with pytest.raises(InputError, match="an answer"):
        extract(bad)


@pytest.mark.parametrize(
    "text",
    [
        "Das Bild zeigt einen Hund und eine Katze auf der Bank.",
        "L'image montre un chien et un chat sur le banc dans la rue.",
        "La imagen muestra un perro y un gato en el banco de la calle.",
        "图片中有一只狗和一只猫。",
        "На изображении собака и кошка.",
    ],
)
def test_other_languages_are_refused_in_a_sentence(text):
    with pytest.raises(InputError, match="must be English"):
        extract(text)


def test_mentions_are_found_once_for_a_parse_and_its_copies():
    parse = next(parse_many(["A dog sits on a couch."]))
    found = mentions.find(parse)
    assert [mention.name for mention in found] == ["dog", "couch"]
    assert mentions.find(replace(parse, budget=Budget())) is found
    assert mentions.find(next(parse_many(["A cat sits."]))) != found


@pytest.mark.parametrize(("english", "words"), [(True, 9), (False, 0)])
def test_the_language_of_sentences_of_an_english_text_is_not_looked_at_again(english, words):
    german = "Das Bild zeigt einen Hund und eine Katze."
    (parse,) = parse_each([(german, Budget())], english=english)
    assert len(parse) == words
