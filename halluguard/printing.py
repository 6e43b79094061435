"""Make text from outside (file names, manifests, replies of servers) safe to print on a terminal."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def printable(text: object) -> str:
    r"""The text on one line, with control, zero-width and direction characters written as escapes.

    Terminals obey escape sequences: a file name could clear the screen, set the window's title or hide a line.

    >>> print(printable("dog\x1b[2J\n.png"))
    dog\x1b[2J\n.png
    """
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), str(text))
