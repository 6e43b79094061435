"""Add what an answer leaves out, in the answer's own form: a sentence, a list item, a tag or a JSON element.

    A dog sits.          ->  A dog sits. There are also two cups on the table.
    - dog\\n- cat         ->  - dog\\n- cat\\n- cup
    dog, cat             ->  dog, cat, cup
    ["dog", "cat"]       ->  ["dog", "cat", "cup"]

Additions are insertions into the corrected text: without them it stands as it was, byte for byte. Where the text says
"possibly a dog" of a dog that was found, the hedge is deleted in place; nothing is said twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from halluguard.correction.claims.counts import number
from halluguard.correction.rewriting.block_edits import NAMING_KEYS
from halluguard.correction.rewriting.final_check import breaks_structure
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.lexicon import concrete
from halluguard.correction.text.reading import read_document
from halluguard.correction.verification.omissions import Omission
from halluguard.records import Claim, Edit, Verdict
from halluguard.vocabulary import FORMS, article, listing, plural, singular

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MANY = "several"
_MOST = 4
"""Objects that one sentence names, at most."""
_DETERMINERS = ("a", "an", "some", "one", "two", "three", "several", "many")
_SAME_IN_PLURAL = frozenset(("sheep", "deer", "fish", "aircraft", "bison"))
_OBJECT_LISTS = frozenset(
    "objects object items tags labels keywords things entities contents elements detected".split()
)
_DESCRIBES = re.compile(
    r"\b(descri\w+|captions?|list|name|tags?|keywords?|identify|tell|explain|summar\w+|narrate|depict\w*|objects?|"
    r"everything|alt.?text|what(?:'s| is| are| do| can| does)\b.*\b(?:see|image|picture|photo|photograph|scene|here|"
    r"shown?|visible))\b",
    re.I,
)
_CLOSING = re.compile(r"\?\s*$|\blet me know\b|\bfeel free\b|:\s*$", re.I)
_TAGS = re.compile(r",\s*|\s+(?=#)")
_STOP = re.compile(r"(?<=[.!])[\"'”’)*_]*\s+")
_DOUBT = re.compile(
    r"(?P<doubt>\b(?:possibly|perhaps|maybe|probably|presumably|potentially|what (?:appears|seems) to be|"
    r"what looks like)\s+)(?P<rest>(?:an?|the|some|one|two|three)?\s*(?:\w+\s+){0,2})$",
    re.I,
)


@dataclass(frozen=True)
class Insertion:
    """Words to put into a text.

    Args:
        at: the character before which they are inserted.
        words: the words.
        omissions: the objects that they name.
    """

    at: int
    words: str
    omissions: tuple[Omission, ...]


def wants_description(question: str | None) -> bool:
    """Whether a question asks what is in the image, so that an object left out is missing from its answer.

    >>> wants_description("Describe the image."), wants_description("What color is the car?"), wants_description(None)
    (True, False, True)
    """
    return question is None or not question.strip() or _DESCRIBES.search(question) is not None


def complete(
    draft: str, edits: Sequence[Edit], claims: Sequence[Claim], verdicts: Sequence[Verdict], omitted: Sequence[Omission]
) -> list[Edit]:
    """The edits together with the additions of omitted objects.

    Args:
        draft: the text before correction.
        edits: edits that correct it.
        claims, verdicts: of the draft.
        omitted: the objects to add.
    """
    if not any(True for _ in read_document(draft).leaves()):
        return list(edits)  # additions are English
    edits = [*edits, *_certainties(draft, edits, claims, verdicts)]
    edits.sort(key=lambda edit: (edit.start, edit.end))
    text, place = _applied(draft, edits)
    for insertion in _beside_last_tag(draft, text, omitted) or _insertions(text, omitted):
        at = place(insertion.at)
        names = ", ".join(one.name for one in insertion.omissions)
        boxes = tuple(box for one in insertion.omissions for box in one.evidence)
        if at is not None:
            edits.append(Edit(at, at, "", insertion.words, (), f"left out: {names}", "addition", boxes))
    return sorted(edits, key=lambda edit: (edit.start, edit.end))


def _applied(draft: str, edits: Sequence[Edit]) -> tuple[str, Callable[[int], int | None]]:
    """The corrected text, and a function from a place in it to that in the draft (None inside an edit)."""
    pieces: list[tuple[int, int, int]] = []  # unchanged: place in the text, in the draft, length
    text, end = "", 0
    for edit in edits:
        pieces.append((len(text), end, edit.start - end))
        text += draft[end : edit.start] + edit.after
        end = edit.end
    pieces.append((len(text), end, len(draft) - end))
    text += draft[end:]

    def place(at: int) -> int | None:
        for start, in_draft, length in reversed(pieces):
            if start <= at <= start + length:
                return in_draft + at - start
        return None

    return text, place


def _certainties(
    draft: str, edits: Sequence[Edit], claims: Sequence[Claim], verdicts: Sequence[Verdict]
) -> Iterator[Edit]:
    """Edits that remove a hedge from objects that were found: "possibly a dog" becomes "a dog"."""
    for i, verdict in enumerate(verdicts):
        claim = claims[verdict.claim]
        if claim.kind != "existence" or claim.modality != "hedged" or verdict.decision != "supported":
            continue
        match = _DOUBT.search(draft[: claim.start])
        if match is None or claim.polarity == "denied" or not verdict.evidence:
            continue
        start, end = match.span("doubt")
        if any(edit.start < claim.end and start < edit.end for edit in edits):
            continue
        before = draft[start : claim.end]
        after = draft[end : claim.end]
        if before[0].isupper():
            after = after[:1].upper() + after[1:]
        reason = f"said with doubt, and {verdict.reason}"
        yield Edit(start, claim.end, before, after, (i,), reason, "addition", verdict.evidence)


# -- where and how -----------------------------------------------------------------------------------------------------


def _insertions(text: str, omitted: Sequence[Omission]) -> list[Insertion]:
    """The insertions that make a text name the objects; none if its form has no place for them."""
    if not omitted or not text.strip():
        return []
    document = read_document(text)
    blocks = [block for block in document.root.children if block.reads]
    for form in (_in_json, _in_keywords, _in_two_tags, _in_list, _in_prose):
        insertion = form(document, blocks, tuple(omitted))
        if insertion is not None:
            after = text[: insertion.at] + insertion.words + text[insertion.at :]
            return [] if breaks_structure(text, after) else [insertion]
    return []


def _in_prose(document: Document, blocks: Sequence[Block], omitted: tuple[Omission, ...]) -> Insertion | None:
    """A sentence after the last paragraph with content; offers and questions at the end are no content."""
    text = document.text
    for block in reversed(blocks):
        kept = _without_closing(text[slice(*block.outer)].rstrip())
        if block.kind == "paragraph" and kept and _has_prose(block):
            return Insertion(block.outer[0] + len(kept), _sentences(kept, omitted), omitted)
    if blocks and all(block.kind in ("list", "heading", "paragraph", "quote", "table") for block in blocks):
        at = blocks[-1].outer[1]
        return Insertion(at, f"\n\n{_statements(omitted, text.isupper())}", omitted)
    return None


def _without_closing(text: str) -> str:
    """A paragraph without the offers and questions that close it; "" where nothing else is in it."""
    while text and _CLOSING.search(_STOP.split(text)[-1]):
        stops = [stop.start() for stop in _STOP.finditer(text)]
        text = text[: stops[-1]] if stops else ""
    return text


def _has_prose(block: Block) -> bool:
    return any(leaf.kind == "prose" and leaf.reads for leaf in block.leaves())


def _sentences(said: str, omitted: tuple[Omission, ...]) -> str:
    """The words to add after a text: a separate sentence, or a clause if the text ends without a full stop."""
    capitals = said.isupper()
    statements = _statements(omitted, capitals)
    if said.rstrip("\"'”’)*_").endswith((".", "!", "?", "…")):
        return f" {statements}"
    opening = next((ch for ch in said if ch.isalpha()), "")
    if opening.isupper():
        return f". {statements.rstrip('.')}"
    return f", and {statements[0].lower()}{statements[1:].rstrip('.')}"


def _statements(omitted: tuple[Omission, ...], capitals: bool) -> str:
    """The sentences that state the objects: "There are also two cups on the table and a dog."."""
    groups = [omitted[i : i + _MOST] for i in range(0, len(omitted), _MOST)]
    text = " ".join(_statement([_phrase(one) for one in group], one=_is_one(group[0])) for group in groups)
    return text.upper() if capitals else text


def _statement(phrases: list[str], *, one: bool) -> str:
    return f"There {'is' if one else 'are'} also {listing(phrases)}."


def _is_one(omission: Omission) -> bool:
    many = omission.count is not None and omission.count > 1
    return not many and (plural(omission.name) != omission.name or omission.name in _SAME_IN_PLURAL)


def _phrase(omission: Omission) -> str:
    """The noun phrase of an omission: "two cups on the table", "a dog", "some scissors"."""
    name, count = omission.name, omission.count or 1
    if plural(name) == name and name not in _SAME_IN_PLURAL:
        words = f"some {name}"
    elif count == 1:
        words = f"{article(name)} {name}"
    else:
        words = f"{_NUMBERS[count] if count < len(_NUMBERS) else _MANY} {plural(name)}"
    return f"{words} {omission.place}".strip()


def _in_keywords(document: Document, blocks: Sequence[Block], omitted: tuple[Omission, ...]) -> Insertion | None:
    """Tags after the last tag, in the same form, in an answer that consists of tags."""
    if any(_has_prose(block) for block in blocks):
        return None
    rows = [block for block in _walk(document.root) if block.kind == "keywords"]
    if not rows:
        return None
    text, terms = document.text, rows[-1].children
    separator = text[terms[-2].outer[1] : terms[-1].outer[0]] if len(terms) > 1 else ", "
    names = [_as_tag(one.name, terms, text) for one in omitted]
    return Insertion(terms[-1].outer[1], "".join(separator + name for name in names), omitted)


def _beside_last_tag(draft: str, text: str, omitted: Sequence[Omission]) -> list[Insertion]:
    """A tag after the only one that is left: "dog" of "dog, cat, sofa" is not a sentence."""
    names = [part.lstrip("# ").lower() for part in _TAGS.split(draft.strip())]
    left = text.strip().lower()
    if not omitted or len(names) < 2 or left not in names or not all(name in FORMS for name in names):
        return []
    separator = _TAGS.findall(draft.strip())[-1]
    return [Insertion(len(text.rstrip()), "".join(separator + one.name for one in omitted), tuple(omitted))]


def _in_two_tags(document: Document, blocks: Sequence[Block], omitted: tuple[Omission, ...]) -> Insertion | None:
    """A tag after two tags such as "dog, sofa", if each of them is the name of a thing."""
    text = document.text.rstrip()
    parts = _TAGS.split(text)
    names = [part.lstrip("# ").lower() for part in parts]
    if len(blocks) != 1 or len(parts) < 2 or not all(name in FORMS for name in names):
        return None
    separator = _TAGS.findall(text)[-1]
    mark = "#" if parts[-1].startswith("#") else ""
    tags = [mark + _cased(one.name.replace(" ", "") if mark else one.name, parts[-1].lstrip("#")) for one in omitted]
    return Insertion(len(text), "".join(separator + tag for tag in tags), omitted)


def _as_tag(name: str, terms: Sequence[Block], text: str) -> str:
    """A name as the other tags are written: "#cup", "wine_glass", "Wine Glass"."""
    last = terms[-1]
    mark, written = text[last.outer[0] : last.start], [text[term.start : term.end] for term in terms]
    if any("_" in tag for tag in written):
        name = name.replace(" ", "_")
    elif mark.startswith("#"):
        name = name.replace(" ", "")
    return mark + _cased(name, written[-1]) + text[last.end : last.outer[1]]


def _cased(name: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return name.upper()
    if like[:1].isupper():
        words = like.split()
        titled = len(words) > 1 and all(word[:1].isupper() for word in words)
        return name.title() if titled else name[0].upper() + name[1:]
    return name


def _in_list(document: Document, blocks: Sequence[Block], omitted: tuple[Omission, ...]) -> Insertion | None:
    """Items after the last item of a list of things, if nothing after the list names or counts things."""
    text = document.text
    at = next((n for n in reversed(range(len(blocks))) if blocks[n].kind == "list" and blocks[n].children), None)
    if at is None or not all(block.kind == "paragraph" and _names_nothing(block, text) for block in blocks[at + 1 :]):
        return None
    items = blocks[at].children
    last = items[-1]
    leaves = [leaf for leaf in last.leaves() if leaf.reads]
    if not leaves or len(leaves) > 2 or not all(_is_name(leaf, text) for leaf in leaves[:1]):
        return None
    separator = text[items[-2].outer[1] : last.outer[0]] if len(items) > 1 else "\n"
    written = "".join(separator + _item(one, last, leaves, text, step) for step, one in enumerate(omitted, start=1))
    return Insertion(last.outer[1], written, omitted)


def _names_nothing(block: Block, text: str) -> bool:
    """Whether a paragraph neither names nor counts a thing: "That's all I see."."""
    words = re.findall(r"[\w'’]+", text[slice(*block.outer)].lower())
    return not any(
        number([word]) is not None or word in FORMS or concrete(singular(word)) is not None for word in words
    )


def _is_name(leaf: Block, text: str) -> bool:
    """Whether a leaf is the name of a thing: a term, a label, or a noun phrase of few words such as "A red cup."."""
    words = text[leaf.start : leaf.end].rstrip(".,;").split()
    short = len(words) <= 4 and words[0].lower() in _DETERMINERS if words else False
    return leaf.kind in ("term", "label") or (leaf.kind == "prose" and short)


def _item(omission: Omission, like: Block, leaves: Sequence[Block], text: str, step: int) -> str:
    """An item written as another one: its bullet or number, article, emphasis and stop."""
    marker = text[like.outer[0] : like.start]
    if like.number is not None:
        first, end = like.number[0] - like.outer[0], like.number[1] - like.outer[0]
        marker = f"{marker[:first]}{int(marker[first:end]) + step}{marker[end:]}"
    name, words = leaves[0], text[leaves[0].start : leaves[0].end]
    opens = words.split()[0].lower() if words.split() else ""
    indefinite = opens in _DETERMINERS
    phrase = _phrase(omission) if indefinite else omission.name
    head = text[like.start : name.start] + _cased(phrase, words.split()[0] if words.split() else words)
    if len(leaves) == 1:
        stop = "." if name.kind == "prose" and words.endswith(".") else ""
        return marker + head + stop + text[name.end : like.end]
    statement = _statement([_phrase(omission)], one=_is_one(omission)).replace(" also ", " ")
    return marker + head + text[name.end : leaves[1].start] + statement


def _in_json(document: Document, blocks: Sequence[Block], omitted: tuple[Omission, ...]) -> Insertion | None:
    """Elements after the last one of an array of names, or a sentence after a caption in a JSON member."""
    text = document.text
    if not any(block.kind in ("object", "array") for block in _walk(document.root)):
        return None
    arrays = [block for block in _walk(document.root) if block.kind == "array" and _names_things(block)]
    labels = {id(child): block.label.lower() for block in _walk(document.root) for child in block.children}
    arrays.sort(key=lambda array: labels.get(id(array), "") not in _OBJECT_LISTS)
    if arrays:
        values = arrays[0].children
        before = text[arrays[0].outer[0] + 1 : values[0].outer[0]]
        between = text[values[-2].outer[1] : values[-1].outer[0]] if len(values) > 1 else f",{before or ' '}"
        added = "".join(between + _element(one, values[-1], text) for one in omitted)
        return Insertion(values[-1].outer[1], added, omitted)
    captions = [leaf for leaf in document.root.leaves() if leaf.kind == "prose" and leaf.reads]
    if len(captions) != 1:
        return None
    at = captions[0].end
    return Insertion(at, _sentences(text[captions[0].start : at], omitted), omitted)


def _names_things(array: Block) -> bool:
    """Whether each element of an array is a name, or an object that has a name."""
    return bool(array.children) and all(_name_of(value) is not None for value in array.children)


def _name_of(value: Block) -> Block | None:
    """The leaf that names an element: the element itself, or the member under a naming key."""
    if len(value.children) == 1 and value.children[0].kind == "term":
        return value.children[0]
    named = [member for member in value.children if member.kind == "member" and member.label.lower() in NAMING_KEYS]
    return next((leaf for member in named for leaf in member.leaves() if leaf.kind == "term"), None)


def _element(omission: Omission, like: Block, text: str) -> str:
    """A JSON element in the form of another: a string, or an object with a name and perhaps a number."""
    name = _name_of(like)
    words = _cased(omission.name, text[name.start : name.end]) if name is not None else omission.name
    if like.children[0].kind == "term":
        return json.dumps(words, ensure_ascii=False)
    members: dict[str, object] = {}
    for member in like.children:
        if member.label.lower() in NAMING_KEYS and not members:
            members[member.label] = words
        elif member.label.lower() in ("count", "number", "quantity") and omission.count is not None:
            members[member.label] = omission.count
    return json.dumps(members, ensure_ascii=False)


def _walk(block: Block) -> Iterator[Block]:
    yield block
    for child in block.children:
        if child.reads or child.kind == "code":
            yield from _walk(child)
