"""Turn yes into no and no into yes, together with what follows, which must say the same.

Yes, there is a dog.   ->  No, there is no dog.        Yes, the car is red.   ->  No, the car is not red.
No, there is no cat.   ->  Yes, there is a cat.        Yes, it is.            ->  No, it is not.
Yes, I see a dog.      ->  No, there is no dog.        Yes, and it is red.    ->  No.

A clause that cannot be turned is deleted: the bare word is an answer. Clauses about other, true objects stay.
"""

from __future__ import annotations

from halluguard.correction.claims import yes_no
from halluguard.correction.rewriting import replacements
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.records import Claim
from halluguard.vocabulary import article, plural

_HELPING = frozenset((
    "is", "are", "was", "were", "does", "do", "did", "has", "have", "can", "could", "'s", "'re", "ca",
))  # fmt: skip
_PRONOUNS = frozenset(("it", "they", "he", "she", "this", "that", "these", "those", "one", "both", "its", "them"))
_STAND_INS = _PRONOUNS | {"there", "i", "you", "we"}
_NEGATIONS = ("not", "n't", "never")
_ONE = {"one": "none", "some": "none", "any": "none", "none": "one"}
_BUT_ONLY = ("only", "just", "but", "instead", "rather")
_DESCRIBING = ("VBG", "VBN", "WDT", "WP")
_EACH = ("one", "each", "both", "all")
_MARKS = (",", ".", "!", ";", ":", "-", "–", "—", "*", "**")


class YesNoRewriter:
    """Settles the contradicted answers of a plan."""

    def __init__(self, plan: EditPlan) -> None:
        self.plan, self.parse, self.editor = plan, plan.parse, plan.editor
        self.verdict_of = {verdict.claim: i for i, verdict in enumerate(plan.verdicts)}

    def settle(self) -> set[int]:
        """Turn each contradicted yes or no into its opposite, and return the claims that need no other edit."""
        claims, verdicts = self.plan.claims, self.plan.verdicts
        wrong = [i for i in self.plan.wrong if claims[verdicts[i].claim].kind == "answer"]
        token = self._token()
        if token is None:
            return set()
        self.plan.kept.add(token)
        if not wrong:
            return self._about_answer(token)
        why, claim = wrong[0], claims[verdicts[wrong[0]].claim]
        replacements.flip(self.editor, claim, why)
        self.plan.turned.add(self.parse.sentence[token])
        now_yes = claim.polarity == "denied"
        settled = set[int]()
        if claim.end != self.parse.ends[token]:
            self._bare(token, why)  # "I do."
        elif self._rest(token):
            settled |= self._turn_clause(claim, token, why, now_yes=now_yes)
        self._following(token, why, now_yes=now_yes)
        return settled

    def _token(self) -> int | None:
        """The first token of what answers yes or no."""
        answered = {claim.start for claim in self.plan.claims if claim.kind == "answer"}
        read = next((i for i, start in enumerate(self.parse.starts) if start in answered), None)
        return yes_no.word(self.parse) if read is None else read

    def _about_answer(self, token: int) -> set[int]:
        """Denials beside a correct answer; if reversed, they would contradict it."""
        sentence, claims = self.parse.sentence[token], self.plan.claims
        answered = any(claim.kind == "answer" for claim in claims)
        return {n for n, c in enumerate(claims) if answered and c.sentence == sentence and c.polarity == "denied"}

    def _rest(self, token: int) -> list[int]:
        """The words after the answer in its sentence."""
        end = self.parse.sentences[self.parse.sentence[token]][1]
        return [i for i in range(token + 1, end) if self.parse.words[i] not in _MARKS]

    def _turn_clause(self, claim: Claim, token: int, why: int, *, now_yes: bool) -> set[int]:
        """Turn the clause after the answer, or drop it; returns the claims that are settled by that."""
        if claim.subject is not None:
            settled = self._to_yes(claim, token, why) if now_yes else self._to_no(claim, token, why)
            if settled is not None:
                return settled
        if self._short(token, why, now_yes=now_yes) or self._keep_other(token, why, now_yes=now_yes):
            return set()
        if claim.attribute is not None or claim.relation is not None or now_yes:
            settled = self._turn_verb(token, why, now_yes=now_yes)
            if settled is not None:
                return settled
        self._bare(token, why)
        return self._in_sentence(token)

    def _in_sentence(self, token: int) -> set[int]:
        """The claims of the answer's sentence; their objects need no cut any more."""
        sentence = self.parse.sentence[token]
        settled = {n for n, claim in enumerate(self.plan.claims) if claim.sentence == sentence}
        for n in settled:
            if n in self.plan.by_claim:
                self.plan.decision.pop(self.plan.by_claim[n], None)
        return settled

    def _contradicted(self, claim: int) -> bool:
        return claim in self.verdict_of and self.plan.verdicts[self.verdict_of[claim]].decision == "contradicted"

    def _to_no(self, claim: Claim, token: int, why: int) -> set[int] | None:
        subject = claim.subject or 0
        mention = self.plan.by_claim[subject]
        noun = self.plan.mentions[mention].last
        if self._contradicted(subject):
            if len(self.parse.conjuncts(noun)) > 1:
                return set()  # the list loses a member
            if self._described_after_comma(noun) or not replacements.deny(self.editor, noun, why):
                self._rewrite(token, f"there is no {claim.name}", why)
            self.plan.decision.pop(mention, None)
            return self._about(subject)
        for n in sorted(self._about(subject)):
            about = self.plan.claims[n]
            wrong = self._contradicted(n) and about.kind in ("attribute", "relation")
            replaced = wrong and self.plan.verdicts[self.verdict_of[n]].replacement is not None
            if wrong and (replaced or replacements.negate(self.editor, about, why)):
                return set() if replaced else {n}
            if self._contradicted(n) and about.kind == "count":
                return set()  # the number is corrected
        return None

    def _described_after_comma(self, noun: int) -> bool:
        """Whether a description follows that would be left without its object: "a dog, lying here", "two dogs: one"."""
        words, tags = self.parse.words, self.parse.tags
        end = self.parse.sentences[self.parse.sentence[noun]][1]
        after = range(noun + 1, end - 1)
        told = any(words[i] == "," and (tags[i + 1] in _DESCRIBING or words[i + 1] in _EACH) for i in after)
        return told or any(words[i] in (":", "—", "–") for i in after)

    def _to_yes(self, claim: Claim, token: int, why: int) -> set[int] | None:
        subject = claim.subject or 0
        if self.plan.claims[subject].polarity != "denied":
            return None
        mention = self.plan.mentions[self.plan.by_claim[subject]]
        if replacements.affirm(self.editor, mention.last, why):
            self._join_others(mention.last, why)
        else:
            many = mention.plural
            verb_phrase = f"are {plural(claim.name)}" if many else f"is {article(claim.name)} {claim.name}"
            self._rewrite(token, f"there {verb_phrase}", why)
        return self._about(subject)

    def _join_others(self, noun: int, why: int) -> None:
        """Join what was denied with what is there: "no person, only a dog" becomes "a person and a dog"."""
        words = self.parse.words
        end = self.parse.sentences[self.parse.sentence[noun]][1]
        for i in range(noun + 1, end - 2):
            if words[i] == "," and words[i + 1] in _BUT_ONLY and words[i + 2] in ("a", "an", "the", "some", "two"):
                self.editor.put(i, " and", {why})
                self.editor.delete([i + 1], {why})
            elif words[i] == "but" and words[i + 1] in ("a", "an", "the", "some", "two"):
                self.editor.put(i, "and", {why})

    def _about(self, subject: int) -> set[int]:
        """The claim `subject`, and the claims about its object."""
        return {subject, *(n for n, c in enumerate(self.plan.claims) if c.subject == subject and c.kind != "answer")}

    def _rewrite(self, token: int, clause: str, why: int) -> None:
        """Put another clause after the answer; objects that the old one named are stated again."""
        sentence = self.parse.sentence[token]
        end = self.parse.sentences[sentence][1]
        rest = set(range(token + 1, end - (self.parse.words[end - 1] in ".!")))
        self.plan.drop(rest, sentence, {why})
        self.plan.rewritten.add(sentence)
        self.editor.put(token, f"{self.editor.tokens[token]}, {clause}", {why})

    def _bare(self, token: int, why: int) -> None:
        """Leave the answer alone in its sentence."""
        sentence = self.parse.sentence[token]
        end = self.parse.sentences[sentence][1]
        self.editor.delete(set(range(token + 1, end - (self.parse.words[end - 1] in ".!*"))), {why})
        self.plan.rewritten.add(sentence)

    def _short(self, token: int, why: int, *, now_yes: bool) -> bool:
        """Turn a clause without nouns: "Yes, it is", "No, there isn't", "Yes, there is one"."""
        parse, editor = self.parse, self.editor
        rest = self._rest(token)
        negations = [i for i in rest if parse.deps[i] == "neg" or parse.words[i] in _NEGATIONS]
        ones = [i for i in rest if parse.words[i] in _ONE]
        others = [i for i in rest if i not in negations and i not in ones]
        if len(others) != 2 or not all(parse.words[i] in _STAND_INS | _HELPING for i in others):
            return False
        if ones:
            new = "one" if now_yes else "none"
            if negations or _ONE[parse.words[ones[0]]] != new:
                return False
            many = now_yes and any(parse.words[i] in ("are", "were", "'re") for i in rest)
            editor.replace(ones[0], "some" if many else new, {why})
        elif now_yes:
            editor.delete(negations, {why})
            if negations and parse.words[others[-1]] == "ca":
                editor.replace(others[-1], "can", {why})
        elif negations:
            return False
        else:
            editor.put(others[-1], f"{editor.tokens[others[-1]]} not", {why})
        return True

    def _keep_other(self, token: int, why: int, *, now_yes: bool) -> bool:
        """Keep a clause about other, true objects: "No, but there is a bus." becomes "Yes, and there is a bus."."""
        parse, plan = self.parse, self.plan
        rest = self._rest(token)
        named = [n for n, mention in enumerate(plan.mentions) if mention.last in rest]
        if not named or parse.words[rest[0]] not in ("but", "and", "however"):
            return False
        stays = all(plan.protected(n) for n in named)
        if not stays or any(parse.words[i] in _PRONOUNS for i in rest):
            return False
        plan.editor.replace(rest[0], "and" if now_yes else "but", {why})
        return True

    def _turn_verb(self, token: int, why: int, *, now_yes: bool) -> set[int] | None:
        """Negate the clause, or take its negation away: "he is (not) wearing a tie"."""
        parse = self.parse
        rest = self._rest(token)
        verb = next(
            (i for i in rest if parse.deps[i] in ("ROOT", "ccomp") and parse.child(i, "nsubj", "nsubjpass")), None
        )
        if verb is None:
            return None
        subject = parse.child(verb, "nsubj", "nsubjpass")
        named = [n for n, m in enumerate(self.plan.mentions) if m.last in rest and m.last != subject]
        if any(self.plan.protected(n) for n in named):
            return None  # it would be denied with the rest
        turned = replacements.affirm_verb if now_yes else replacements.negate_verb
        return self._in_sentence(token) if turned(self.editor, verb, why) else None

    def _following(self, token: int, why: int, *, now_yes: bool) -> None:
        """Drop later sentences that only repeat the old answer, or speak of an object that is not there."""
        parse, plan = self.parse, self.plan
        old = yes_no.NO if now_yes else yes_no.YES
        for sentence in range(parse.sentence[token] + 1, len(parse.sentences)):
            first, end = parse.sentences[sentence]
            words = [parse.words[i] for i in range(first, end) if parse.words[i].isalnum()]
            named = [n for n, m in enumerate(plan.mentions) if first <= m.last < end]
            pronoun = words[:1] and words[0] in _PRONOUNS and plan.links.get(first) is None
            denial = now_yes and not named and any(w in (*_NEGATIONS, "no", "none") for w in words)
            if set(words) <= old or (pronoun and not now_yes) or denial:
                self.editor.delete(range(first, end), {why})
                plan.rewritten.add(sentence)
                for n in named:
                    plan.decision.pop(n, None)
