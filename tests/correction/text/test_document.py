"""An answer as a tree: thoughts, JSON, markdown, labels and keyword lists, each with its exact place."""

import pytest

from halluguard.correction.text import parse_many, read_document
from halluguard.correction.text.markup import clean


def leaves(text):
    return [(block.kind, text[block.start : block.end]) for block in read_document(text).leaves()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog sits.", [("prose", "A dog sits.")]),
        ("# Kite at the Beach\n\nA kite flies.", [("label", "Kite at the Beach"), ("prose", "A kite flies.")]),
        ("- **Dogs:** none\n- **Cars:** 2", [("label", "Dogs"), ("term", "none"), ("label", "Cars"), ("term", "2")]),
        ("Keywords: beach, Red Kite", [("label", "Keywords"), ("term", "beach"), ("term", "Red Kite")]),
        ("1girl, solo, dog, sitting", [("term", "1girl"), ("term", "solo"), ("term", "dog"), ("term", "sitting")]),
        ("(red barn), (old truck), (grass)", [("term", "red barn"), ("term", "old truck"), ("term", "grass")]),
        ("#dog #cat #park", [("term", "dog"), ("term", "cat"), ("term", "park")]),
        ("1. **Toys**\n   - Kite\n   - Ball", [("label", "Toys"), ("term", "Kite"), ("term", "Ball")]),
        ("There are two animals: a dog and a cat.", [("prose", "There are two animals: a dog and a cat.")]),
        ("A dog, a cat, and a bird.", [("prose", "A dog, a cat, and a bird.")]),
        ("| Object | Seen |\n|---|---|\n| Dog | yes |", [("cell", w) for w in ("Object", "Seen", "Dog", "yes")]),
        ("> A dog\n> and a cat.", [("prose", "A dog\n> and a cat.")]),
        ('{"caption": "A dog sits.", "n": 3, "objects": ["dog"]}', [("prose", "A dog sits."), ("term", "dog")]),
        ('```json\n["dog", "kite"]\n```', [("term", "dog"), ("term", "kite")]),
        ('Here it is:\n\n{"objects": ["dog"]}', [("prose", "Here it is:"), ("term", "dog")]),
        ("---\ntitle: A dog\ntags: dog, cat\n---\nA dog sits.", None),
        ('{"objects": ["dog", "ki', []),
        ("```python\nprint('dog')\n```", []),
        ("Text: SALE\nA dog sits.", [("label", "Text"), ("written", "SALE"), ("prose", "A dog sits.")]),
    ],
)
def test_blocks_hold_exactly_their_words(text, expected):
    found = leaves(text)
    assert expected is None or found == expected
    for block in read_document(text).leaves():
        assert block.outer[0] <= block.start < block.end <= block.outer[1]


@pytest.mark.parametrize(
    "text",
    [
        "<think>I see a cat.</think>A dog sits.",
        "<thinking>\nA cat?\n</thinking>\n\nA dog sits.",
        "<reasoning>A cat.</reasoning>A dog sits.",
        "◁think▷A cat.◁/think▷A dog sits.",
        "[THINK]A cat.[/THINK]A dog sits.",
        "<|begin_of_thought|>A cat.<|end_of_thought|>A dog sits.",
        "<|channel|>analysis<|message|>A cat.<|end|><|start|>assistant<|channel|>final<|message|>A dog sits.",
        "<unused94>thought A cat.<unused95>A dog sits.",
        "I see a cat. Wait.</think>A dog sits.",
        "<think>A cat. <think>A cup.</think> A bird.</think>A dog sits.",
        "<think>A cat.</think><|begin_of_box|>A dog sits.<|end_of_box|>",
    ],
)
def test_thoughts_are_not_read(text):
    assert leaves(text) == [("prose", "A dog sits.")]


def test_an_unclosed_thought_lasts_to_the_end():
    assert leaves("A dog sits. <think>Is it a cat?") == [("prose", "A dog sits.")]


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("Keywords: beach, dog, kite", ["dog"], "Keywords: beach, kite"),
        ("Keywords: beach, dog, kite", ["kite"], "Keywords: beach, dog"),
        ("Keywords: beach, dog, kite", ["beach", "dog"], "Keywords: kite"),
        ("(red barn), (old truck), (grass)", ["old truck"], "(red barn), (grass)"),
        ('["dog", "bowl", "kite"]', ["kite"], '["dog", "bowl"]'),
        ('["dog", "bowl", "kite"]', ["dog"], '["bowl", "kite"]'),
        ("- a dog\n- a cat\n- a bird", ["a cat"], "- a dog\n- a bird"),
        ("- a dog\n- a cat", ["a cat"], "- a dog"),
        ("| Dog | 1 |\n|---|---|\n| Cat | 2 |\n| Cow | 3 |", ["| Cat | 2 |"], "| Dog | 1 |\n|---|---|\n| Cow | 3 |"),
    ],
)
def test_a_cut_takes_a_block_with_one_separator(text, gone, left):
    document = read_document(text)
    removable = {"term", "value", "item", "row"}
    blocks, queue = [], [document.root]
    while queue:
        block = queue.pop()
        if block.kind in removable and text[block.start : block.end] in gone:
            blocks.append(block)
        else:
            queue += block.children
    for start, end in reversed(document.cut(blocks)):
        text = text[:start] + text[end:]
    assert text == left


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A **red** kite", "A red kite"),
        ("a `cat` and _a dog_", "a cat and a dog"),
        ("a [cat](http://x.y/z) here[^1]", "a cat here"),
        ("a truck 🚚 here", "a truck  here"),
        ("c\u200bat \u202edog\u202c", "cat dog"),
        ("<b>a dog</b> &amp; a cat", "a dog & a cat"),
        ("3 * 4 and snake_case", "3 * 4 and snake_case"),
        ("![a dog](x.png)A cat", "A cat"),
    ],
)
def test_markup_is_cleaned_with_a_map_back(text, cleaned):
    words = clean(text, 0, len(text))
    assert words.text == cleaned
    assert len(words.starts) == len(words.ends) == len(cleaned)
    for sign, start in zip(words.text, words.starts, strict=True):
        assert text[start] in (sign, "&")


def test_tokens_stand_at_their_place_in_the_original():
    text = "1. **Toys**\n   - a [kite](u) 🪁 flies\n\nThe *dog* reads `a book`."
    (parse,) = parse_many([text])
    for word, start, end in zip(parse.words, parse.starts, parse.ends, strict=True):
        assert text[start:end].lower() == word
    assert {parse.leaf(i).kind for i in range(len(parse))} == {"label", "prose"}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Resimde bir köpek ve bir kedi var.", "tr"),
        ("Có một con chó và một con mèo trong ảnh.", "vi"),
        ("Muž sedí na lavičce v parku.", "cs"),
        ("Kuvassa on koira ja kissa.", "fi"),
        ("Na zdjęciu widać psa i kota.", "pl"),
        ("En man sitter på en bänk i parken.", "sv"),
        ("图片中有一只狗和一只猫。", "zh"),
    ],
)
def test_other_languages_are_left_unread_and_named(text, language):
    mixed = f"{text}\n\nA dog is on the couch."
    unread = [block for block in read_document(mixed).root.leaves() if not block.reads]
    assert [block.language for block in unread] == [language]
    assert leaves(mixed) == [("prose", "A dog is on the couch.")]


HOSTILE = {
    "brackets": "[" * 60_000,
    "mixed brackets": "([{<" * 15_000,
    "quotes": '"' * 60_000,
    "stars": "*a " * 5_000,
    "unclosed fence": "```\n" + "A dog sits.\n" * 500,
    "links": "[a](" * 15_000,
    "tags": "<a " * 5_000,
    "nested quotes": "> " * 20_000,
    "nested lists": "\n".join(" " * n + "- dog" for n in range(200)),
    "commas": "dog, " * 3_000,
    "zero width": "\u200b" * 60_000,
    "deep JSON": "[" * 30_000 + "]" * 30_000,
    "thoughts": "<think>" * 8_000,
    "closed thoughts": "</think>" * 8_000,
    "ampersands": "&amp;" * 10_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_text_is_read_in_bounded_time(text):
    import time

    started = time.process_time()
    list(parse_many([text]))
    assert time.process_time() - started < 10
