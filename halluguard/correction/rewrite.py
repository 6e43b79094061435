"""From verdicts to a corrected text: the smallest edits that leave sentences, and never a true object lost.

Only contradicted claims are edited. What a cut would take along is weighed first: a supported (or undecided) object may
go only if the text still names it elsewhere; otherwise a wider cut is tried, and where none helps the object is stated
again in a sentence of its own. Everything works on one parse, every edit names the verdicts that caused it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halluguard.correction import coreference, mentions, pruning
from halluguard.correction.agreement import agree, relist
from halluguard.correction.lexicon import VERB_TAGS
from halluguard.correction.mentions import Mention
from halluguard.correction.parse import Parse, parse_many, readable
from halluguard.correction.surface import Surface, article
from halluguard.records import Claim, Edit, Verdict
from halluguard.vocabulary import category, same

FALLBACK = "Nothing that the answer named could be confirmed in the picture."


def rewrite(
    text: str,
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    *,
    fallback: str = FALLBACK,
    parse: Parse | None = None,
    nlp: Any = None,
) -> tuple[str, list[Edit]]:
    """The corrected text and the edits that lead to it; the text itself and no edits when nothing is contradicted.

    Args:
        text: the answer that the claims were read from.
        claims, verdicts: from `extract` and `verify`; `verdict.claim` indexes the claims.
        fallback: what stands in for an answer of which no sentence is left.
        parse: the text's parse, if at hand.
        nlp: a spaCy pipeline; default the best one installed.

    Returns:
        `(corrected, edits)` with `apply_edits(text, edits) == corrected`.
    """
    contradicted = [v for v in verdicts if v.decision == "contradicted"]
    if not contradicted:
        return text, []
    parse = parse or next(parse_many([readable(text)], nlp=nlp))
    plan = Plan(parse, claims, verdicts)
    plan.remove_objects()
    corrected, edits = plan.surface.edits()
    if not any(ch.isalnum() for ch in corrected):
        every = tuple(range(len(verdicts)))
        causes = tuple(i for i in every if verdicts[i].decision == "contradicted")
        return fallback, [Edit(0, len(text), text, fallback, causes, "no sentence was left")]
    return corrected, edits


class Plan:
    """The state of one rewriting: which tokens must go, which mentions must stay, and the surface being edited."""

    def __init__(self, parse: Parse, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> None:
        self.parse = parse
        self.surface = Surface(parse)
        self.mentions = mentions.find(parse)
        self.decision: dict[int, str] = {}  # mention -> decision
        self.cause: dict[int, int] = {}  # mention -> verdict
        by_end = {parse.ends[m.last]: n for n, m in enumerate(self.mentions)}
        for index, verdict in enumerate(verdicts):
            claim = claims[verdict.claim]
            mention = by_end.get(claim.end)
            if claim.kind == "existence" and mention is not None and claim.polarity == "asserted":
                self.decision[mention] = verdict.decision
                self.cause[mention] = index
        self.links = coreference.links(parse, self.mentions)
        self.restate: dict[int, set[int]] = {}  # sentence -> mentions to state again after it

    # -- what must go and what must stay -------------------------------------------------------------------------------

    def doomed(self) -> dict[int, int]:
        """Token -> verdict that condemns it: contradicted mentions, and pronouns that stand for them."""
        heads = {self.mentions[n].last: self.cause[n] for n, d in self.decision.items() if d == "contradicted"}
        for pronoun, n in self.links.items():
            if self.decision.get(n) == "contradicted" and not self._also_kept(n):
                heads.setdefault(pronoun, self.cause[n])
        return heads

    def _also_kept(self, mention: int) -> bool:
        """A plural pronoun after "a dog and a cat" still has the dog."""
        listed = pruning.members(self.parse, self.mentions[mention].last)
        return any(m.last in listed and self.decision.get(n) != "contradicted" for n, m in enumerate(self.mentions))

    def protected(self, mention: int) -> bool:
        return self.decision.get(mention) in ("supported", "unsure")

    def lost(self, cut: set[int]) -> set[int]:
        """Protected mentions that the cut would take out of the text altogether."""
        kept = set()
        taken: dict[str, int] = {}
        for n, mention in enumerate(self.mentions):
            if self.protected(n) and self.surface.alive(mention.last):
                if mention.last in cut:
                    taken.setdefault(_key(mention), n)
                else:
                    kept.add(_key(mention))
        for named in self.restate.values():
            kept |= {_key(self.mentions[n]) for n in named}
        return {n for key, n in taken.items() if key not in kept}

    # -- removing ------------------------------------------------------------------------------------------------------

    def remove_objects(self) -> None:
        heads = self.doomed()
        for token in sorted(heads):
            if self.surface.alive(token):
                self._remove(token, heads)
        self._give_up_fragments()
        for listed in self._broken_lists():
            relist(self.surface, listed)
            agree(self.surface, listed)
        self._state_again()

    def _broken_lists(self) -> list[list[int]]:
        """Lists of nouns that lost members and have some left."""
        parse, found = self.parse, dict[int, list[int]]()
        for i, dep in enumerate(parse.deps):
            if dep == "conj" and parse.tags[i] not in VERB_TAGS:
                listed = pruning.members(parse, i)
                found[listed[0]] = listed
        return [listed for listed in found.values() if 0 < sum(map(self.surface.alive, listed)) < len(listed)]

    def _remove(self, token: int, heads: dict[int, int]) -> None:
        def out(i: int) -> bool:
            return i in heads or not self.surface.alive(i)

        tried = [(len(self.lost(cut)), cut) for cut in pruning.cuts(self.parse, token, out)]
        cost, cut = min(tried, key=lambda item: item[0])  # the first of the cheapest: cuts come smallest first
        why = {verdict for i, verdict in heads.items() if i in cut} or {heads[token]}
        if cost:
            self.restate.setdefault(self.parse.sentence[token], set()).update(self.lost(cut))
        self.surface.delete(cut, why)

    def _give_up_fragments(self) -> None:
        """A sentence that lost its verb, or a verb that lost its subject, goes as a whole."""
        for sentence, (first, end) in enumerate(self.parse.sentences):
            why = set().union(*(self.surface.why[i] for i in range(first, end)))
            if why and pruning.broken(self.parse, sentence, self.surface.alive):
                cut = set(range(first, end))
                lost = self.lost(cut)
                if lost:
                    self.restate.setdefault(sentence, set()).update(lost)
                self.surface.delete(cut, why)

    def _state_again(self) -> None:
        """ "There is a table." for what a cut could not leave in place."""
        for sentence, named in sorted(self.restate.items()):
            first, end = self.parse.sentences[sentence]
            phrases = [self._noun_phrase(self.mentions[n]) for n in sorted(named)]
            if not phrases:
                continue
            plural = self.mentions[min(named)].plural
            says = f"There {'are' if plural else 'is'} {_listing(phrases)}."
            alive = [i for i in range(first, end) if self.surface.alive(i)]
            why = set().union(*(self.surface.why[i] for i in range(first, end)))
            if alive:
                last = alive[-1]
                self.surface.tokens[last] += f" {says}"
                self.surface.why[last] |= why
            else:
                self.surface.tokens[first] = says
                self.surface.why[first] |= why

    def _noun_phrase(self, mention: Mention) -> str:
        parse, noun = self.parse, mention.last
        before = [
            j for j in parse.children[noun] if j < mention.first and parse.deps[j] in ("amod", "nummod", "compound")
        ]
        first = min([mention.first, *before])
        phrase = " ".join(parse.words[first : noun + 1]) if first < mention.first else parse.span(mention.first, noun)
        phrase = phrase if phrase.isupper() else phrase[:1].lower() + phrase[1:]
        if mention.plural or any(parse.deps[j] == "nummod" for j in before):
            return phrase if any(parse.deps[j] == "nummod" for j in before) else f"some {phrase}"
        return f"{article(phrase)} {phrase}"


def _key(mention: Mention) -> str:
    return category(mention.name) or same(mention.name)


def _listing(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
