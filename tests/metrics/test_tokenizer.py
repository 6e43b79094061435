"""The tokens are nltk's; the quick table never changes them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halluguard.metrics.reading import read_captions
from halluguard.metrics.tokenizer import sentences, tokenize, tokenize_by_rules

ODD = """
car dog a no 3 3.5 1,000 u.s e.g mr st etc b stewart administrators cannot gonna wanna 'tis man's dogs' isn't they're
o'clock boat.there '' `` " ' ( ) [ ] . .. ... ! ? : ; , - -- – — “ ” ’ ‘ « » @ # $ % & * < > { } / \\ é 日本 _ d'ye
more'n lemme 1. -3 p.m 's n't x ß gotta mid-air couch/chair
(two (left) (left), (left). him/her. (st. (st). (a/b), (it's (man's) (cannot) cannot/do (wanna), (3). u/s. etc/x. 1),
"""
PIECES = [*ODD.split(), "\n", "\t", " ", "  ", "\n\n", "\u00a0", "\u2028", "\r", ""]


@st.composite
def odd_texts(draw):
    pieces = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9))
    blanks = draw(st.lists(st.sampled_from(["", " "]), min_size=len(pieces), max_size=len(pieces)))
    return "".join(piece + blank for piece, blank in zip(pieces, blanks, strict=True)).lower()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(odd_texts() | st.text(max_size=30).map(str.lower))
def test_the_table_gives_what_the_rules_give(text):
    assert tokenize(text) == tokenize_by_rules(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a dog.", ["a", "dog", "."]),
        ("a dog. a cat", ["a", "dog", ".", "a", "cat"]),
        ("the man's dog isn't here", ["the", "man", "'s", "dog", "is", "n't", "here"]),
        ("a couch/chair and a boat.there", ["a", "couch/chair", "and", "a", "boat.there"]),
        ('he said "stop." two dogs', ["he", "said", "``", "stop", ".", "''", "two", "dogs"]),
        ("(a dog.) a cat", ["(", "a", "dog", ".", ")", "a", "cat"]),
        ("mr. smith at 5 p.m. with dogs", ["mr.", "smith", "at", "5", "p.m.", "with", "dogs"]),
        ("no. 5. the dog...", ["no", ".", "5.", "the", "dog", "..."]),
        ("mid-air, it's three o'clock", ["mid-air", ",", "it", "'s", "three", "o'clock"]),
        ("dogs' bowls", ["dogs", "'", "bowls"]),
        ("a table.\n\nthere is", ["a", "table", ".", "there", "is"]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_words_of_captions(text, tokens):
    assert tokenize(text) == tokens


def test_closing_marks_stay_with_their_sentence():
    assert sentences("(a dog.) a cat. 'no!' said he") == ["(a dog.)", "a cat.", "'no!'", "said he"]


@pytest.mark.reference
def test_published_captions_give_nltks_tokens(reference_data, nltk_with_data):
    for path in sorted((reference_data / "captions").glob("*.jsonl")):
        for image_id, caption in read_captions(path):
            text = caption.lower()
            assert tokenize(text) == nltk_with_data.word_tokenize(text), f"{path.name}, image {image_id}"


@pytest.mark.reference
def test_odd_texts_give_nltks_tokens(nltk_with_data):
    rng = random.Random(0)
    for _ in range(3000):
        pieces = [rng.choice(PIECES) + rng.choice(["", " "]) for _ in range(rng.randint(1, 9))]
        text = "".join(pieces).lower()
        assert tokenize_by_rules(text) == nltk_with_data.word_tokenize(text), repr(text)
