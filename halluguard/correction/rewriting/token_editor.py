"""Edit a text token by token, with the small repairs that keep it a sentence.

A text is its tokens and the gaps between them. Edits touch tokens; `edits` repairs commas, capitals, articles and
spaces, only where something next to them changed. Every other byte stays as it was.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from halluguard.correction.text.document import Markup
from halluguard.correction.text.parse import SUBJECTS, Parse
from halluguard.records import Edit, apply_edits
from halluguard.vocabulary import article

_CLOSING = frozenset(".,;:!?)]}'’”") | {"'s", "’s", "n't", "..."}
_NO_WORDS = _CLOSING | {""}
_OPENING = frozenset("([{“‘$#")
_PAIRS = {"(": ")", "[": "]", '"': '"', "“": "”", "‘": "’", "``": "''", "'": "'", "—": "—", "–": "–", "-": "-"}
_QUOTES = frozenset(('"', "”", "''", "’"))
_STOPS = frozenset(".!?") | {"..."}


def _closes(token: str) -> bool:
    """Whether a token is written without a space before it; a stop may have a sentence added after it."""
    return token in _CLOSING or token.split(" ", 1)[0] in _STOPS


Piece = tuple[int, int, str, set[int]]
"""Start, end, new words, indices of the verdicts that caused a change."""


@dataclass(frozen=True)
class Span:
    """Characters start..end of the draft that become `after`, because of the verdicts `why`."""

    start: int
    end: int
    after: str
    why: frozenset[int]


@dataclass(frozen=True)
class Snapshot:
    """The state of a run of tokens; see `TokenEditor.snapshot`."""

    first: int
    tokens: list[str]
    gaps: list[str]
    why: list[set[int]]
    links: dict[int, tuple[int, str]]
    statements: set[int]


def _enclosing_markup(parse: Parse) -> list[tuple[int, int, Markup]]:
    """First and last token of each piece of inline markup that begins and ends with words, outermost first."""
    if parse.document is None:
        return []
    enclosing = []
    for mark in parse.document.markup:
        first = bisect_left(parse.starts, mark.inner[0])
        last = bisect_right(parse.ends, mark.inner[1]) - 1
        alone = first == last and parse.extent(first)[0] <= mark.start and mark.end <= parse.extent(first)[1]
        token = bisect_right(parse.starts, mark.start) - 1
        written_out = token >= 0 and mark.start < parse.ends[token]  # its marks are tokens, as quotation marks are
        if first > last or alone or written_out:
            continue
        outside = parse.text[mark.inner[0] : parse.starts[first]] + parse.text[parse.ends[last] : mark.inner[1]]
        if not outside.strip():
            enclosing.append((first, last, mark))
    return sorted(enclosing, key=lambda found: (found[2].start, -found[2].end))


class TokenEditor:
    """The tokens and gaps of a parse during editing. `why` are the indices of the verdicts that cause an edit."""

    def __init__(self, parse: Parse) -> None:
        n = len(parse)
        self.parse = parse
        self.markup = _enclosing_markup(parse)
        self.extents = [parse.extent(i) for i in range(n)]
        for first, last, mark in self.markup:
            self.extents[first] = min(mark.start, self.extents[first][0]), self.extents[first][1]
            self.extents[last] = self.extents[last][0], max(mark.end, self.extents[last][1])
        bounds = [*(start for start, _ in self.extents[1:]), len(parse.text)]
        self.tokens = [parse.span(i, i) for i in range(n)]
        self.gaps = [parse.text[self.extents[i][1] : bounds[i]] for i in range(n)]
        self.why: list[set[int]] = [set() for _ in range(n)]
        self._tokens, self._gaps = list(self.tokens), list(self.gaps)
        self.statements: set[int] = set()  # tokens in whose place a sentence of its own stands
        self._links: dict[int, tuple[int, str]] = {}

    def snapshot(self, first: int, end: int) -> Snapshot:
        """The state of tokens first..end-1, to go back to."""
        return Snapshot(
            first,
            self.tokens[first:end],
            self.gaps[first:end],
            list(map(set, self.why[first:end])),
            {i: link for i, link in self._links.items() if first <= i < end},
            {i for i in self.statements if first <= i < end},
        )

    def restore(self, state: Snapshot) -> None:
        """Go back to a snapshot."""
        first, end = state.first, state.first + len(state.tokens)
        self.tokens[first:end] = state.tokens
        self.gaps[first:end] = state.gaps
        self.why[first:end] = list(map(set, state.why))
        self.statements = (self.statements - set(range(first, end))) | state.statements
        self._links = {i: link for i, link in self._links.items() if not first <= i < end} | state.links

    def reset(self, first: int, end: int) -> None:
        """Undo all edits of tokens first..end-1."""
        self.tokens[first:end], self.gaps[first:end] = self._tokens[first:end], self._gaps[first:end]
        self.why[first:end] = [set() for _ in range(first, end)]
        self._links = {i: link for i, link in self._links.items() if not first <= i < end}

    def original(self, i: int) -> str:
        """Token i as it was written."""
        return self._tokens[i]

    def written(self, first: int, last: int) -> str:
        """The words first..last as they are now, with the markup that encloses some of them."""
        opening, closing = self._marks(first, last)
        pieces = []
        for i in range(first, last + 1):
            if self.tokens[i]:
                before, behind = self._belonging(i)
                pieces += [opening.get(i, ""), before, self.tokens[i], behind, closing.get(i, "")]
                pieces.append(self.gaps[i] if i < last else "")
        return "".join(pieces)

    def preview(self, sentence: int) -> str:
        """One sentence as `edits` would write it, spaces around it left out."""
        first, end = self.parse.sentences[sentence]
        before = next((i for i in range(first - 1, -1, -1) if self.alive(i)), first)
        state = self.snapshot(before, end)
        self._tidy(first, end)
        alive = [i for i in range(first, end) if self.alive(i)]
        text = self.written(alive[0], alive[-1]) if alive else ""
        self.restore(state)
        return text

    def _marks(self, first: int, last: int) -> tuple[dict[int, str], dict[int, str]]:
        """Token -> opening marks before it and closing marks after it, of markup that has words left in the range."""
        opening, closing = dict[int, str](), dict[int, str]()
        text = self.parse.text
        for begin, end, mark in self.markup:
            inside = [i for i in range(begin, end + 1) if self.tokens[i] and i not in self.statements]
            if inside and first <= inside[0] and inside[-1] <= last:
                opening[inside[0]] = opening.get(inside[0], "") + text[mark.start : mark.inner[0]]
                closing[inside[-1]] = text[mark.inner[1] : mark.end] + closing.get(inside[-1], "")
        return opening, closing

    def alive(self, i: int) -> bool:
        return self.tokens[i] != ""

    def delete(self, tokens: Iterable[int], why: Iterable[int]) -> None:
        causes = set(why)
        for i in tokens:
            if self.tokens[i]:
                self.tokens[i] = ""
                self.why[i] |= causes

    def replace(self, i: int, text: str, why: Iterable[int]) -> None:
        """Write another word for token i, with the capital the old one had."""
        if self._tokens[i][:1].isupper() and i == self.parse.sentences[self.parse.sentence[i]][0]:
            text = text[:1].upper() + text[1:]
        self.tokens[i] = text
        self.why[i] |= set(why)

    def put(self, i: int, text: str, why: Iterable[int]) -> None:
        """Write exactly `text` for token i."""
        self.tokens[i] = text
        self.why[i] |= set(why)

    def state(self, i: int, text: str, why: Iterable[int]) -> None:
        """Write a separate sentence in place of token i, outside the markup around it."""
        self.statements.add(i)
        self.put(i, text, why)

    def link(self, left: int, right: int, sign: str, why: Iterable[int]) -> None:
        """Write exactly `sign` between two kept tokens, in place of everything between them."""
        between = range(left + 1, right)
        written = self.parse.text[self.extents[left][1] : self.extents[right][0]]
        if written == sign and all(map(self.alive, between)):
            return
        self.delete(between, why)
        if right == left + 1:
            self.gaps[left] = sign
        self._links[left] = (right, sign)
        self.why[left + 1 if left + 1 < right else left] |= set(why)

    def _belonging(self, i: int) -> tuple[str, str]:
        """Markup that is deleted with its token, such as written boxes: before it and after it."""
        start, end = self.parse.extent(i)
        return self.parse.text[start : self.parse.starts[i]], self.parse.text[self.parse.ends[i] : end]

    def changed(self, i: int) -> bool:
        return self.tokens[i] != self._tokens[i]

    def before(self, i: int) -> int | None:
        """The last token alive before i in its sentence."""
        start = self.parse.sentences[self.parse.sentence[i]][0]
        return next((j for j in range(i - 1, start - 1, -1) if self.alive(j)), None)

    def after(self, i: int) -> int | None:
        """The first token alive after i in its sentence."""
        end = self.parse.sentences[self.parse.sentence[i]][1]
        return next((j for j in range(i + 1, end) if self.alive(j)), None)

    def edits(self, spans: Sequence[Span] = ()) -> tuple[str, list[Edit]]:
        """The new text, and the edits that make it from the old one.

        Args:
            spans: character ranges that are replaced as a whole, sorted, without overlap; edits of tokens inside are
                ignored.
        """
        inside = {i for span in spans for i in self._tokens_in(span.start, span.end)}
        for first, end in self.parse.sentences:
            if any(self.changed(i) for i in range(first, end)) and not all(i in inside for i in range(first, end)):
                self._tidy(first, end)
        return self._collect(spans)

    def _tokens_in(self, start: int, end: int) -> range:
        return range(bisect_left(self.parse.starts, start), bisect_left(self.parse.starts, end))

    def _tidy(self, first: int, end: int) -> None:
        if not any(self.tokens[i].strip() not in _NO_WORDS for i in range(first, end)):
            for i in range(first, end):
                self._drop(i, first, end)
        self._commas(first, end)
        self._spaces(first, end)
        self._articles(first, end)
        self._capital(first, end)

    def _drop(self, i: int, first: int, end: int) -> None:
        causes = set().union(*self.why[first:end])
        self.delete([i], causes)

    def _quoted_end(self, i: int) -> bool:
        """Whether a comma closes a quotation after which something was deleted: '"Fuego," which is ...'."""
        return i + 2 < len(self.tokens) and self.tokens[i + 1] in _QUOTES and not self.alive(i + 2)

    def _touched(self, i: int) -> bool:
        """Whether a token beside i was deleted."""
        n = len(self.tokens)
        return (i > 0 and not self.alive(i - 1)) or (i + 1 < n and not self.alive(i + 1))

    def _commas(self, first: int, end: int) -> None:
        for i in range(first, end):
            if self.tokens[i] not in (",", ";", "-", "–", "—", ":") or not (self._touched(i) or self._quoted_end(i)):
                continue
            left, right = self.before(i), self.after(i)
            beyond = self.after(right) if right is not None and self.tokens[right] in _QUOTES else right
            if self.tokens[i] == ":" and left is not None and left < i - 1 and self.parse.tags[left][:2] == "VB":
                self._drop(i, first, end)  # "shows two ducks: a wild one and a toy"
                continue
            if self.tokens[i] == ":" and (right is None or self.tokens[right] == ","):
                continue  # it announces a list
            if left is not None and right is not None and self._parts_subject(left, right):
                self._drop(i, first, end)  # "The dog[, along with a cat], rests"
                continue
            lonely = left is None or beyond is None or self.tokens[beyond] in (*_STOPS, ",", ";", ":", ")")
            if lonely or self.tokens[left or 0] in (",", "(", ";", ":"):
                self._drop(i, first, end)
        self._lonely_list_comma(first, end)
        for i in range(first, end):
            right = self.after(i) if self.tokens[i] in _PAIRS else None
            if right is not None and self.tokens[right] in _PAIRS[self.tokens[i]] and right > i + 1:
                self._drop(i, first, end)
                self._drop(right, first, end)

    def _parts_subject(self, noun: int, verb: int) -> bool:
        """Whether a mark between two words would part a subject from its verb."""
        parse = self.parse
        subject = parse.first_conjunct(noun)
        main = parse.heads[subject]
        helps = parse.heads[verb] == main and parse.deps[verb] in ("aux", "auxpass")
        aside = any(self.alive(i) and self.tokens[i] in (",", "(", "—", "–") for i in range(subject, noun))
        return parse.deps[subject] in ("nsubj", "nsubjpass") and not aside and noun < verb and (verb == main or helps)

    def _lonely_list_comma(self, first: int, end: int) -> None:
        """Delete the comma before "and" if only two members of a list are left: "shops, and bicycles"."""
        for i in range(first, end):
            joint, word = self.after(i) if self.tokens[i] == "," else None, None
            if joint is not None and self.tokens[joint] in ("and", "or") and self._list_ends_before(i, first):
                siblings = self.parse.children[self.parse.heads[joint]]
                word = next((j for j in siblings if j > joint and self.alive(j)), None)
            bare = word is not None and not any(self.parse.deps[j] in SUBJECTS for j in self.parse.children[word])
            if (
                word is not None
                and bare
                and self.parse.deps[word] == "conj"
                and self._left_of_list(word, first, end) < 3
            ):
                self._drop(i, first, end)

    def _left_of_list(self, member: int, first: int, end: int) -> int:
        """Number of members of a list that are left, whatever the parser takes them for."""
        top = self.parse.first_conjunct(member)
        return sum(self.alive(i) and self.parse.first_conjunct(i) == top for i in range(first, end))

    def _list_ends_before(self, comma: int, first: int) -> bool:
        """Whether a comma on the left of this one was deleted, with no other comma between them."""
        for i in range(comma - 1, first - 1, -1):
            if self._tokens[i] == ",":
                return not self.alive(i)
        return False

    def _spaces(self, first: int, end: int) -> None:
        """Leave one gap in place of a run of deleted tokens."""
        i = first
        while i < end:
            if self.alive(i):
                i += 1
                continue
            run = i
            while i < end and not self.alive(i):
                i += 1
            self._join(run, i, first, end)

    def _join(self, run: int, stop: int, first: int, end: int) -> None:
        """Tokens run..stop-1 are gone: keep one of the gaps around them."""
        left = next((j for j in range(run - 1, -1, -1) if self.alive(j)), None)
        opens = left is None or not self._same_leaf(left, run)
        closes = stop == len(self.tokens) or not self._same_leaf(stop - 1, stop)
        if self.parse.leaves and (opens or closes):
            self._clear_gaps(run, stop, left=None if opens else left, closes=closes)
            return
        before = self.gaps[left] if left is not None else ""
        gaps = [before, *self.gaps[run:stop]]
        linked = self._links.get(left) if left is not None else None
        if linked and linked[0] == stop:
            kept = linked[1]
        elif left is None:
            kept = ""  # the text starts here; what stood before its first token is not a gap
        elif stop == len(self.tokens):
            kept = gaps[-1]
        elif stop < end and (_closes(self.tokens[stop]) or (run > first and self.tokens[left] in _OPENING)):
            kept = ""
        else:
            kept = max((gap for gap in gaps if gap), key=lambda gap: (gap.count("\n"), len(gap)), default="")
        self.gaps[run:stop] = [""] * (stop - run)
        if left is not None:
            self.gaps[left] = kept

    def _same_leaf(self, i: int, j: int) -> bool:
        return not self.parse.leaves or self.parse.block[i] == self.parse.block[j]

    def _clear_gaps(self, run: int, stop: int, *, left: int | None, closes: bool) -> None:
        """Empty the gaps of a run at the border of its leaf; what stands between leaves is structure and stays."""
        self.gaps[run : stop - 1] = [""] * (stop - 1 - run)
        if not closes:
            self.gaps[stop - 1] = ""
        if left is not None:
            self.gaps[left] = ""

    def _articles(self, first: int, end: int) -> None:
        for i in range(first, end):
            low = self.tokens[i].lower()
            after = self.after(i) if low in ("a", "an") else None
            if after is None or not self.tokens[after][:1].isalnum():
                continue
            if (after != i + 1 or self.changed(after) or self.changed(i)) and article(self.tokens[after]) != low:
                right = article(self.tokens[after])
                self.tokens[i] = right.capitalize() if self.tokens[i][0].isupper() else right
                self.why[i] |= self.why[after].union(*self.why[i : after + 1])

    def _capital(self, first: int, end: int) -> None:
        start = next((i for i in range(first, end) if self.alive(i)), None)
        if start is None or start == first or not self._tokens[first][:1].isupper():
            return
        word = self.tokens[start]
        if word[:1].islower():
            self.tokens[start] = word[0].upper() + word[1:]
            self.why[start] |= set().union(*self.why[first:start])

    def _collect(self, spans: Sequence[Span]) -> tuple[str, list[Edit]]:
        """Contiguous changes become one edit each."""
        text = self.parse.text
        edits: list[Edit] = []
        start: int | None = None
        after, stop, why = "", 0, set[int]()
        for begin, finish, new, causes in [*_merged(self._pieces(), spans, text), (len(text), len(text), "", set())]:
            old = text[begin:finish]
            if start is not None and begin > stop:  # words that are no tokens of the parse stand between
                edits.append(Edit(start, stop, text[start:stop], after, tuple(sorted(why))))
                start = None
            if old != new:
                if start is None:
                    start, after, why = begin, "", set()
                after, stop, why = after + new, finish, why | causes
            elif start is not None and (old or begin == len(text)):
                edits.append(Edit(start, stop, text[start:stop], after, tuple(sorted(why))))
                start = None
        return apply_edits(text, edits), edits

    def _pieces(self) -> list[Piece]:
        """Every token and gap that may differ, and each run of others as one piece: start, end, new words, causes."""
        n = len(self.tokens)
        opening, closing = self._marks(0, n - 1)
        pieces: list[Piece] = []
        run: int | None = None  # first token of the run of others
        for i in range(n):
            begin, finish = self.extents[i]
            behind_gap = finish + len(self._gaps[i])
            if self._is_untouched(i):
                run = i if run is None else run
                joined = i + 1 < n and self.extents[i + 1][0] == behind_gap
                if not joined or not self._is_untouched(i + 1):
                    start = self.extents[run][0]
                    pieces.append((start, behind_gap, self.parse.text[start:behind_gap], set()))
                    run = None
                continue
            before, behind = self._belonging(i)
            if i in self.statements:
                before = behind = ""
            token = self.tokens[i] and f"{opening.get(i, '')}{before}{self.tokens[i]}{behind}{closing.get(i, '')}"
            pieces.append((begin, finish, token, self.why[i]))
            pieces.append((finish, behind_gap, self.gaps[i], set()))
        return pieces

    def _is_untouched(self, i: int) -> bool:
        """Whether token i and the gap after it are as they were; where there is markup, its marks may have moved."""
        same = self.tokens[i] == self._tokens[i] and self.gaps[i] == self._gaps[i]
        return same and not self.markup and i not in self.statements


def _merged(pieces: Sequence[Piece], spans: Sequence[Span], text: str) -> Iterator[Piece]:
    """The pieces, with those inside a span replaced by it; a gap that crosses its border keeps what is outside."""
    at, queue = 0, list(spans)
    for begin, finish, new, causes in pieces:
        while queue and queue[0].start <= begin and at <= queue[0].start:
            span = queue.pop(0)
            yield span.start, span.end, span.after, set(span.why)
            at = span.end
        if finish <= at and begin < at:
            continue
        crossing = next((span for span in queue if span.start < finish), None)
        if begin < at or crossing is not None:
            begin = max(begin, at)
            while queue and queue[0].start < finish:
                span = queue.pop(0)
                yield begin, span.start, text[begin : span.start], set()
                yield span.start, span.end, span.after, set(span.why)
                begin = at = span.end
            if begin < finish:
                yield begin, finish, text[begin:finish], set()
            continue
        yield begin, finish, new, causes
    for span in queue:
        yield span.start, span.end, span.after, set(span.why)
