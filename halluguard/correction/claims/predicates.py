"""Of what a predicate speaks: the mentions that are the subject of a verb, pronouns resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from halluguard.correction.claims import coreference
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.parse import Parse

_SUBJECTS = ("nsubj", "nsubjpass")
_RELATIVE = ("that", "which", "who", "whom")


@dataclass(frozen=True)
class Reading:
    """A parse with its mentions, and which token stands for which mention.

    Args:
        heads: head token of a mention -> index of the mention.
        links: pronoun token -> index of the mention it stands for.
    """

    parse: Parse
    mentions: Sequence[Mention]
    heads: Mapping[int, int]
    links: Mapping[int, int]

    @classmethod
    def of(cls, parse: Parse, mentions: Sequence[Mention]) -> Reading:
        heads = {mention.last: n for n, mention in enumerate(mentions)}
        return cls(parse, mentions, heads, coreference.links(parse, mentions))

    def mention(self, token: int) -> int | None:
        """The mention that a noun heads or a pronoun stands for."""
        return self.heads.get(token, self.links.get(token))

    def subjects(self, verb: int) -> list[int]:
        """Tokens (nouns that head mentions, or linked pronouns) of which the verb speaks.

        "a dog that runs", "a dog running", "the dog sits and eats", "there is a dog": the dog.
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
            if parse.deps[verb] not in ("conj", "xcomp", "advcl", "ccomp"):
                return []
            verb = head
        return []

    def span(self, *tokens: int) -> tuple[int, int]:
        """First and last token of the words that hold these tokens, each mention whole."""
        firsts = [self.mentions[self.heads[i]].first if i in self.heads else i for i in tokens]
        return min(firsts), max(tokens)
