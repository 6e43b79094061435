"""The words that the tokenizer remembers change no parse, and their number is bounded."""

from halluguard.correction.text import parse_many, pipeline
from halluguard.correction.text import word_memory as module
from halluguard.correction.text.reading import _word_memory
from halluguard.correction.text.word_memory import WordMemory

TEXT = "The U.K. fire-fighters don't like 3.5cm dogs; a dog (one!) sits near the fire-fighters."


def test_parses_are_equal_before_and_after_words_are_learned():
    _word_memory.cache_clear()
    first, *others = parse_many([TEXT] * 5, batch_size=1)
    assert {"The", "fire-fighters"} & _word_memory(pipeline())._learned
    assert all(parse == first for parse in others)


def test_words_are_learned_when_they_come_twice_and_never_too_many(monkeypatch):
    cut = []

    class Language:
        tokenizer = cut.append

    monkeypatch.setattr(module, "MAX_WORDS", 3)
    memory = WordMemory(Language)
    memory.learn(["a dog", "a cat", "x" * 31 + " " + "x" * 31])
    assert cut == ["a"]
    memory.learn(["dog and dog and cat"])
    assert sorted(cut) == ["a", "and", "cat", "dog"]
    memory.learn(["red red red"])
    assert "red" not in cut, "no more than the limit, and one call"
