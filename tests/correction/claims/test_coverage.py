"""Coverage counts what was read, and says what was not."""

from halluguard.correction.claims import coverage, from_parse
from halluguard.correction.text import parse_many


def covered(text):
    (parse,) = parse_many([text])
    return coverage(parse, from_parse(parse))


def test_a_plain_sentence_is_read_whole():
    found = covered("A dog sits on a couch.")
    assert (found.text, found.named) == (1.0, 1.0)


def test_another_language_and_broken_json_are_not_read():
    assert covered("A dog is on the couch.\n\nResimde bir köpek ve bir kedi var.").text < 0.6
    assert covered('{"objects": ["dog", "ki').text == 0.0
    assert 0.4 < covered("A dog is on the couch 狗在沙发上面睡觉真可爱啊非常好").text < 0.8


def test_thoughts_do_not_count():
    assert covered("<think>Is it a cat or a dog?</think>A dog.").text == 1.0


def test_nouns_that_no_list_knows_are_not_read():
    assert covered("A zorblax sits beside a dog.").named == 0.5
