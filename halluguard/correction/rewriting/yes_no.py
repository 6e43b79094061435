"""Turn yes into no and no into yes, together with the clause that follows, which must say the same.

Yes, there is a dog.   ->  No, there is no dog.        Yes, the car is red.  ->  No, the car is not red.
No, there is no cat.   ->  Yes, there is a cat.        Yes, it is.           ->  No, it is not.
Yes, I see a dog.      ->  No, there is no dog.        (what cannot be turned is written anew)
"""

from __future__ import annotations

from halluguard.correction.rewriting import replacements
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.token_editor import article
from halluguard.records import Claim
from halluguard.vocabulary import plural

_HELPING = ("is", "are", "was", "were", "does", "do", "did", "has", "have", "can", "could", "'s", "'re")
_STAND_INS = ("it", "they", "there", "he", "she", "this", "that", "these", "those", "i", "you")


class YesNoRewriter:
    """Settles contradicted answers on a plan."""

    def __init__(self, plan: EditPlan) -> None:
        self.plan, self.claims, self.verdicts = plan, plan.claims, plan.verdicts
        self.verdict_of = {verdict.claim: i for i, verdict in enumerate(plan.verdicts)}

    def settle(self) -> set[int]:
        """Flip each contradicted answer; returns the claims that need no other edit."""
        settled = set[int]()
        for why in self.plan.wrong:
            claim = self.claims[self.verdicts[why].claim]
            if claim.kind != "answer":
                continue
            replacements.flip(self.plan.editor, claim, why)
            (token,) = replacements.tokens_of(self.plan.editor, claim.start, claim.end)
            if claim.subject is None:
                self._short(token, why, now_yes=claim.polarity == "denied")
            elif claim.polarity == "denied":
                settled |= self._to_yes(claim, token, why)
            else:
                settled |= self._to_no(claim, token, why)
        return settled

    def _contradicted(self, claim: int) -> bool:
        return claim in self.verdict_of and self.verdicts[self.verdict_of[claim]].decision == "contradicted"

    def _to_no(self, claim: Claim, token: int, why: int) -> set[int]:
        subject = claim.subject or 0
        mention = self.plan.by_claim[subject]
        noun = self.plan.mentions[mention].last
        if self._contradicted(subject):
            if len(self.plan.parse.conjuncts(noun)) > 1:
                return set()  # the list loses a member
            if not replacements.deny(self.plan.editor, noun, why):
                self._rewrite(token, f"there is no {claim.name}", why)
            self.plan.decision.pop(mention, None)
            return self._about(subject)
        for n in sorted(self._about(subject)):
            about = self.claims[n]
            wrong = self._contradicted(n) and about.kind in ("attribute", "relation")
            unclear = wrong and self.verdicts[self.verdict_of[n]].replacement is None
            if unclear and replacements.negate(self.plan.editor, about, why):
                return {n}
        return set()

    def _to_yes(self, claim: Claim, token: int, why: int) -> set[int]:
        subject = claim.subject or 0
        if self.claims[subject].polarity != "denied":
            return set()
        mention = self.plan.mentions[self.plan.by_claim[subject]]
        if not replacements.affirm(self.plan.editor, mention.last, why):
            many = mention.plural
            verb_phrase = f"are {plural(claim.name)}" if many else f"is {article(claim.name)} {claim.name}"
            self._rewrite(token, f"there {verb_phrase}", why)
        return self._about(subject)

    def _about(self, subject: int) -> set[int]:
        """The claim and what is said of its thing."""
        return {subject, *(n for n, c in enumerate(self.claims) if c.subject == subject and c.kind != "answer")}

    def _rewrite(self, token: int, clause: str, why: int) -> None:
        """Another clause after the flipped word."""
        end = self.plan.parse.sentences[self.plan.parse.sentence[token]][1]
        rest = set(range(token + 1, end - (self.plan.parse.words[end - 1] in ".!")))
        self.plan.drop(rest, self.plan.parse.sentence[token], {why})
        self.plan.rewritten.add(self.plan.parse.sentence[token])
        editor = self.plan.editor
        editor.put(token, f"{editor.tokens[token]}, {clause}", {why})

    def _short(self, token: int, why: int, *, now_yes: bool) -> None:
        """The clause after a flipped word when it names nothing: "Yes, it is", "Yes, in the background"."""
        parse, editor = self.plan.parse, self.plan.editor
        end = parse.sentences[parse.sentence[token]][1]
        rest = [i for i in range(token + 1, end) if parse.words[i] not in (",", ".", "!")]
        if not rest:
            return
        negations = [i for i in rest if parse.deps[i] == "neg" or parse.words[i] in ("not", "n't")]
        others = [i for i in rest if i not in negations]
        if [parse.words[i] in _STAND_INS + _HELPING for i in others] == [True] * len(others) and len(others) == 2:
            if now_yes:
                editor.delete(negations, {why})
            elif not negations:
                editor.put(others[-1], f"{editor.tokens[others[-1]]} not", {why})
        elif not any(parse.tags[i].startswith(("VB", "MD")) for i in rest) and not now_yes:
            self.plan.drop(set(range(token + 1, end)) - {end - 1}, parse.sentence[token], {why})
