"""Write the HTML of a reply. Every text is escaped; each button holds the index of its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halluguard import rendering
from halluguard.errors import HalluguardError
from halluguard.playground.session import Reply


def reply_view(reply: Reply) -> str:
    """The image with its boxes, the answer with its claims as buttons, and the corrected text."""
    return _render(reply=reply, card=rendering.card(reply.answer, longest=1024))


def evidence_view(reply: Reply, verdict: int) -> str:
    """One claim: the image with its boxes only, the expert, the scores, and the edits of its words.

    Raises:
        InputError: there is no such verdict.
    """
    evidence = reply.evidence(verdict)
    alone = replace(reply.answer, verdicts=(evidence[0].verdict,), edits=(), settings={})
    return _render(evidence=evidence, card=rendering.card(alone, longest=1024))


def comparison_view(rows: Sequence[tuple[str, Reply | HalluguardError]]) -> str:
    """The answers of several methods side by side."""
    items = [
        (title, None, str(reply))
        if isinstance(reply, HalluguardError)
        else (title, rendering.card(reply.answer, longest=512), f"{reply.seconds:.1f} s")
        for title, reply in rows
    ]
    return _render(items=items)


def message_view(text: str) -> str:
    """A message, such as an error."""
    return _render(message=text)


def _render(**values: object) -> str:
    empty: dict[str, object] = dict.fromkeys(("reply", "evidence", "card", "items", "message"))
    return rendering.render("playground.html.jinja", marks=rendering.MARKS, **{**empty, **values})
