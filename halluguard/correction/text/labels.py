"""Labels that deny: "Dogs: none", "| Dog | no |", "Not visible: dogs, cats"."""

from __future__ import annotations

import re

from halluguard.correction.text.document import Block, Document

_NONE = re.compile(
    r"\W*(?:none|no|not|0|zero|nil|n/?a|absent|nothing|false|null|❌)\b\W*(?:\w+\W*){0,5}", re.IGNORECASE
)  # at most five words more: "none visible in the image"
_DENYING = re.compile(
    r"\W*(?:not\b|no\b|none\b|absent|missing|without|never|(?:(?:objects?|items?|things?)|what(?:'s| is)) "
    r"(?:not|absent|missing))",
    re.IGNORECASE,
)


def denied_leaves(document: Document, leaves: list[Block]) -> set[int]:
    """Indices of the leaves that a label or the value of a label denies."""
    place = {id(leaf): n for n, leaf in enumerate(leaves)}
    denied: set[int] = set()
    queue = [(document.root, False)]
    while queue:
        block, under = queue.pop()
        under = under or (
            block.kind in ("pair", "list", "keywords", "term") and _DENYING.match(block.label) is not None
        )
        if block.kind in ("pair", "row", "member") and _says_none(document.text, block):
            denied.add(place.get(id(block.children[0]), -1))
        if under and not block.children and block.kind in ("term", "cell", "prose") and id(block) in place:
            denied.add(place[id(block)])
        queue += [(child, under) for child in block.children]
    return denied - {-1}


def _says_none(text: str, block: Block) -> bool:
    """Whether the value of a label, or a later cell of a row, says that there is none of it."""
    values = [text[child.start : child.end] for child in block.children[1:]]
    return any(_NONE.fullmatch(value) for value in values[: 1 if block.kind == "pair" else 3])
