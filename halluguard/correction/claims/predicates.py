"""An answer's parse with its mentions, and the subjects of its verbs and adjectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from halluguard.correction.claims import coreference, mentions
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim

_SUBJECTS = ("nsubj", "nsubjpass")
_RELATIVE = ("that", "which", "who", "whom")

ParsedQuestion = tuple[Parse, Sequence[Claim]]


_POSTURES = frozenset("is are was were stands stand stood sits sit sat lies lie lay hangs hang hung rests rest".split())


def _inverted(parse: Parse, verb: int) -> bool:
    """Whether the subject follows the verb and is parsed as its object: "Behind the lamp is a mirror"."""
    first = parse.sentences[parse.sentence[verb]][0]
    opens = any(parse.deps[j] in ("prep", "advmod") and j == first for j in parse.children[verb])
    after = parse.child(verb, "attr", "dobj")
    return opens and parse.words[verb] in _POSTURES and after is not None and after > verb


@dataclass(frozen=True)
class ParsedAnswer:
    """A parse with its mentions, and which token stands for which mention.

    Args:
        mentions: in reading order; existence claim n is about mention n.
        heads: head token of a mention -> index of the mention.
        links: pronoun token -> index of the mention it stands for.
        question: parses the question that was asked; None when there is none.
    """

    parse: Parse
    mentions: Sequence[Mention]
    heads: Mapping[int, int]
    links: Mapping[int, int]
    question: Callable[[], ParsedQuestion] | None = None

    @classmethod
    def of(cls, parse: Parse, question: Callable[[], ParsedQuestion] | None = None) -> ParsedAnswer:
        named = mentions.find(parse)
        heads = {mention.last: n for n, mention in enumerate(named)}
        return cls(parse, named, heads, coreference.links(parse, named), question)

    def mention(self, token: int) -> int | None:
        """The mention that a noun heads or a pronoun stands for."""
        return self.heads.get(token, self.links.get(token))

    def has_attributes(self, mention: int) -> bool:
        """Whether attributes of the mention are claims about it; in "a red car door", red may describe the door."""
        return not self.mentions[mention].part

    def is_countable(self, mention: int) -> bool:
        """Whether numbers and relations of the mention are claims; those of matter, places and parts are not."""
        return self.mentions[mention].rule != "stuff" and not self.mentions[mention].part

    def subjects(self, verb: int) -> list[int]:
        """The subjects of a verb: tokens of nouns that head mentions, or of linked pronouns.

        The dog in "a dog that runs", "a dog running", "the dog sits and eats", "there is a dog".
        """
        return [token for token in self._subjects(verb) if self.mention(token) is not None]

    def _subjects(self, verb: int) -> list[int]:
        parse, seen = self.parse, set[int]()
        while verb not in seen:
            seen.add(verb)
            if any(parse.deps[j] == "expl" for j in parse.children[verb]):
                shown = parse.child(verb, "attr")
                return [] if shown is None else parse.conjuncts(shown)
            own = parse.child(verb, *_SUBJECTS)
            head = parse.heads[verb]
            if own is not None and not (parse.words[own] in _RELATIVE and parse.deps[verb] == "relcl"):
                return parse.conjuncts(own)
            if parse.deps[verb] in ("acl", "relcl"):
                return [head]
            if own is None and _inverted(parse, verb):
                return parse.conjuncts(parse.child(verb, "attr", "dobj") or verb)
            if parse.deps[verb] not in ("conj", "xcomp", "advcl", "ccomp"):
                return []
            verb = head
        return []

    def negated(self, token: int) -> bool:
        """Whether the token is negated."""
        return any(self.parse.deps[j] == "neg" for j in self.parse.children[token])

    def span(self, *tokens: int) -> tuple[int, int]:
        """First and last token of the words that hold these tokens, each mention whole."""
        firsts = [self.mentions[self.heads[i]].first if i in self.heads else i for i in tokens]
        return min(firsts), max(tokens)

    def about(self, existence: Claim, mention: int, first: int, last: int, **fields: Any) -> Claim:
        """A claim on a property of a mention's thing, made by tokens first..last; `fields` say what is claimed of it.

        Modality and, unless `fields` say otherwise, polarity are those of the existence claim.
        """
        return replace(
            existence,
            phrase=self.parse.span(first, last),
            start=self.parse.starts[first],
            end=self.parse.ends[last],
            subject=mention,
            alternatives=(),
            same_as=None,
            **fields,
        )
