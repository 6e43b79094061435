"""Judge whether a word of a sentence is said of what is false, and goes with it.

A dog sleeps on the couch.           "sleeps" is said of the dog, the couch is not
A man rides a horse.                 without the horse, nothing is ridden
The presence of a dog is funny.      without the dog, there is no presence
There is a dog, possibly a stray.    a guess about the dog

A word is about what is false if it stands below a false noun, or is said of one: the verb of a false subject, the verb
of a true subject that needs a false object, a clause that only concludes from another about what is false.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from halluguard.correction.claims import coreference
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS, words
from halluguard.correction.text.parse import SUBJECTS

if TYPE_CHECKING:
    from halluguard.correction.rewriting.edit_plan import EditPlan

IMAGE = words("image words") | frozenset("close-up closeup detail sense addition".split())
"""Nouns for the image, which are no things in it."""
MODIFIERS = ("amod", "nummod", "compound")
WHERE = frozenset("left right upper lower top bottom front back far near middle central other nearby close".split())
"""Adjectives that only tell where something is."""
_GUESSING = frozenset("possibly likely perhaps probably maybe presumably".split())
_MODALS = ("could", "may", "might", "can", "would")
_STAND_ALONE = frozenset(
    "sleep sleeps sleeping nap naps napping smile smiles smiling laugh laughs laughing cry cries crying dancing".split()
)
"""Verbs that say as much without their place."""
_HOLDING = frozenset("include includes including contain contains containing hold holds holding carry carries".split())
"""Verbs whose object is a thing of its own, though their subject is false."""
_TIMES = words("never asked") | frozenset("afternoon morning evening winter summer autumn spring season".split())
_ADJECTIVAL = ("amod", "compound", "nmod")
_SPEAKERS = frozenset("i we you".split())
_SLIGHT = words("not restated") | frozenset("corner corners side sides center centre middle".split())
"""Matter, places and parts; of "A dog lies on the floor" the floor is no loss, of "on a red floor" it is."""
_ARGUMENTS = ("dobj", "attr", "oprd")
_SUBORDINATE = ("ccomp", "xcomp", "pcomp", "advcl", "acl", "relcl")
_IN_CONTRAST = ("while", "whereas", "although", "though")


class AboutFalse:
    """What is said of false things in one sentence.

    Args:
        heads: tokens that are false.
    """

    def __init__(self, plan: EditPlan, sentence: int, heads: Collection[int]) -> None:
        self.plan, self.parse = plan, plan.parse
        self.tokens = range(*plan.parse.sentences[sentence])
        self.of_mention = {
            i: n for n, m in enumerate(plan.mentions) if m.last in self.tokens for i in range(m.first, m.last + 1)
        }
        names = {i for i, n in self.of_mention.items() if plan.mentions[n].last in heads}
        self.false = names | {i for i in self.tokens if i in heads or self._stands_for_false(i)}
        self._known: set[int] = set()  # words that are about what is false
        self._open: set[int] = set()  # words whose judgement is under way

    def _stands_for_false(self, token: int) -> bool:
        antecedent = self.plan.antecedent(token)
        if antecedent is None:
            return False
        named = self.plan.mentions[antecedent]
        if self.parse.tags[token] == "PRP$" and named.last not in self.tokens:
            near = [i for i in self.of_mention if i < token and self.parse.deps[i] in ("nsubj", "nsubjpass")]
            antecedent = self.of_mention[near[-1]] if near else antecedent
        return self.plan.decision.get(antecedent) == "contradicted"

    def is_about_false(self, token: int) -> bool:
        """Whether a word is said of what is false."""
        if token in self._known:
            return True
        if token in self._open:
            return False  # a circle
        self._open.add(token)
        about = self._judge(token)
        self._open.remove(token)
        if about:
            self._known.add(token)
        return about

    def _judge(self, token: int) -> bool:
        parse = self.parse
        if token in self.false or self._is_guess(token):
            return True
        describes = parse.deps[parse.first_conjunct(token)] in _ADJECTIVAL
        if parse.tags[token] in VERB_TAGS and not describes:
            return self._verb_is_about_false(token)
        if self._belongs_to_false(token):
            return True
        return not self._stands_for_itself(token) and self._hangs_on_false(token)

    def _is_guess(self, token: int) -> bool:
        """Whether a word stands in a guess at the end of a clause about what is false: ", possibly for the guests"."""
        parse = self.parse
        guess = next((i for i in range(token - 1, self.tokens[0], -1) if parse.words[i] in _GUESSING), None)
        modal = next((i for i in range(token - 1, self.tokens[0], -1) if parse.words[i] in _MODALS), None)
        guess = modal if guess is None and modal is not None and parse.words[modal - 1] == "which" else guess
        if guess is None or parse.words[guess - 1] not in (",", "-", "–", "—", "which"):
            return False
        before = next((i for i in range(guess - 2, self.tokens[0], -1) if parse.words[i] in (",", ";")), self.tokens[0])
        later = any(parse.words[i] in (",", ";") for i in range(guess, token))
        return not later and any(i in self.false for i in range(before, guess))

    def _stands_for_itself(self, noun: int) -> bool:
        """Whether a noun that names no known thing tells of more than what is false: "a sunny day", "holds a box"."""
        parse, top = self.parse, self.parse.first_conjunct(noun)
        described = any(parse.deps[j] in MODIFIERS for j in parse.children[noun])
        if parse.words[noun] in _TIMES and described:
            return True
        counted = any(parse.deps[j] in ("det", "nummod") for j in parse.children[noun])
        return counted and parse.deps[top] == "dobj" and parse.words[parse.heads[top]] in _HOLDING

    def _belongs_to_false(self, noun: int) -> bool:
        """Whether a noun is only there with what is false: "the dog's tail", "the presence of a dog"."""
        parse = self.parse
        for j in parse.children[noun]:
            if parse.deps[j] == "poss" and j in self.false:
                return True
            if parse.deps[j] == "compound" and j in self.false and noun not in self.of_mention:
                return True  # "a trailer attachment"
            things = [n for i in parse.children[j] if parse.deps[i] == "pobj" for n in self._nouns(i)]
            doings = [i for i in parse.children[j] if parse.deps[i] == "pcomp"]
            if noun not in self.of_mention and any(self.is_about_false(i) for i in doings):
                return True  # "in the process of cutting a hot dog"
            if parse.deps[j] == "prep" and parse.words[j] == "of" and things and all(i in self.false for i in things):
                return True
            if noun not in self.of_mention and any(self._argument_is_false(i) for i in things):
                return True  # "the contrast between the animal and the car" names no thing itself
        return False

    def _nouns(self, token: int) -> list[int]:
        return [i for i in self.parse.conjuncts(token) if self.parse.tags[i] in NOUN_TAGS or i in self.false]

    def _hangs_on_false(self, token: int) -> bool:
        """Whether the word above a word is about what is false; a list says nothing of its other members."""
        parse = self.parse
        top = parse.first_conjunct(token)
        above = parse.heads[top]
        mention = self.of_mention.get(above)
        if mention is not None and self.plan.mentions[mention].last != above:
            above = self.plan.mentions[mention].last
        if above == top:  # the root of a phrase without a verb
            return False
        if parse.tags[top] in ("NNP", "NNPS") and parse.tags[above] in VERB_TAGS:
            return False  # a name says who or what it is
        if parse.deps[top] in ("nsubj", "nsubjpass") and parse.tags[above] in VERB_TAGS:
            # "The main subject is a dog": a subject that is no thing itself goes with what is said of it
            return (token not in self.of_mention or self.is_slight(token)) and self.is_about_false(above)
        thing = self.of_mention.get(token)
        if thing is not None and not self._describes_false(token):
            return False
        if parse.deps[top] == "advcl" and parse.tags[top] not in VERB_TAGS:  # "while a cat watches, unimpressed"
            before = [j for j in parse.children[above] if above < j < top and parse.deps[j] == "advcl"]
            if before and self.is_about_false(before[-1]):
                return True
        return self.is_about_false(above)

    def _describes_false(self, token: int) -> bool:
        """Whether a thing that is named below what is false is a part or attribute of it."""
        plan, mention = self.plan, self.plan.mentions[self.of_mention[token]]
        if mention.part or plan.is_attribute(mention, set(plan.false)):
            return True
        supported = plan.protected(self.of_mention[token])
        parse, last = self.parse, mention.last
        in_clause = any(parse.deps[i] in _SUBORDINATE for i in parse.chain(last))
        top = parse.first_conjunct(last)
        is_for = parse.deps[top] in ("pobj", "dative") and parse.words[parse.heads[top]] == "for"
        subject = parse.child(parse.heads[top], "nsubj") if parse.deps[top] == "attr" else None
        tells = subject is not None and parse.tags[subject] not in ("WP", "WDT")
        told_of_clause = in_clause and (not supported or is_for or tells)
        return self.is_slight(token) or told_of_clause

    def is_slight(self, token: int) -> bool:
        """Whether a thing that is named without attributes is no loss: the floor of "A dog lies on the floor"."""
        parse, mention = self.parse, self.plan.mentions[self.of_mention[token]]
        supported = self.plan.protected(self.of_mention[token])
        described = any(
            parse.deps[j] in MODIFIERS and parse.words[j] not in WHERE for j in parse.children[mention.last]
        )
        slight = not supported or mention.name.split()[-1] in _SLIGHT
        return slight and not described and mention.category is None

    def _verb_is_about_false(self, verb: int) -> bool:
        """Whether a verb is said of what is false, or needs it as object: "rides a horse"."""
        return self._is_said_of_false(verb) or self._needs_false(verb)

    def _is_said_of_false(self, verb: int) -> bool:
        """Whether the subject of a verb is false, or the verb only tells more of a clause about what is false."""
        parse, subject, above = self.parse, self._subject(verb), self.parse.heads[verb]
        own = subject is not None and parse.heads[parse.first_conjunct(subject)] == verb
        if subject is not None and own and self._is_speaker(subject):
            return not any(i in self.of_mention and i not in self.false for i in parse.subtree(verb))
        if subject is not None and self._subject_is_false(subject):
            return True
        if parse.deps[verb] == "conj" and not own:
            return self._is_said_of_false(above) if parse.tags[above] in VERB_TAGS else self.is_about_false(above)
        mark = parse.child(verb, "mark")
        contrast = own and mark is not None and parse.words[mark] in _IN_CONTRAST
        return parse.deps[verb] in _SUBORDINATE and above != verb and not contrast and self.is_about_false(above)

    def _is_speaker(self, subject: int) -> bool:
        """Whether a clause only tells how sure its speaker is: "it is hard to tell", "I am not certain"."""
        return self.parse.words[subject] in _SPEAKERS or coreference.expletive(self.parse, subject)

    def _subject_is_false(self, subject: int) -> bool:
        parse, nouns = self.parse, self._nouns(subject) or [subject]
        if parse.deps[subject] not in SUBJECTS and self.is_about_false(subject):
            return True  # the thing that a relative clause tells of
        return all(i in self.false or (i not in self.of_mention and self._belongs_to_false(i)) for i in nouns) or (
            subject in self.of_mention and self._belongs_to_false(subject)
        )

    def _subject(self, verb: int) -> int | None:
        """The subject of a verb, its own or that of the verb or noun that it depends on."""
        parse = self.parse
        for _ in range(len(self.tokens)):
            subjects = [j for j in parse.children[verb] if parse.deps[j] in SUBJECTS]
            own = next((j for j in reversed(subjects) if j < verb), subjects[0] if subjects else None)
            if own is not None and parse.tags[own] not in ("WDT", "WP"):
                return own if parse.deps[own] != "expl" else None
            above = parse.heads[verb]
            if above == verb:
                return None
            detached = parse.deps[verb] == "acl" and parse.words[min(parse.subtree(verb)) - 1] == ","
            if detached:  # "A mouse is on the desk, positioned near a cup": it tells of the subject
                verbs = [
                    i for i in parse.chain(verb) if parse.tags[i] in VERB_TAGS and parse.child(i, *SUBJECTS) is not None
                ]
                if verbs:
                    verb = verbs[0]
                    continue
            if parse.deps[verb] in ("relcl", "acl"):
                return above
            if parse.deps[verb] == "ccomp":
                return None
            while parse.tags[above] not in (*VERB_TAGS, *NOUN_TAGS) and parse.heads[above] != above:
                above = parse.heads[above]
            if parse.tags[above] in NOUN_TAGS:
                return above
            verb = above
        return None

    def _needs_false(self, verb: int) -> bool:
        """Whether what a verb says is about something false: "rides a horse", "there is a dog on the grass"."""
        parse = self.parse
        states = [i for i in parse.children[verb] if parse.deps[i] in ("acomp", "xcomp", "ccomp")]
        clauses = [i for i in states if parse.tags[i] in VERB_TAGS]
        if clauses and all(self.is_about_false(i) for i in clauses):
            return True  # "ensuring that drivers pay"
        states = [i for i in states if not self._contains_false(i)]
        things = [i for i in self._arguments(verb) if parse.words[i] not in IMAGE]
        direct = [i for i in things if parse.heads[parse.first_conjunct(i)] == verb]
        if direct and all(self._argument_is_false(i) for i in direct):
            return True
        stands = parse.words[verb] in _STAND_ALONE  # "A cat is sleeping on a blanket"
        return not (states or stands) and any(self._argument_is_false(i) for i in things)

    def _contains_false(self, token: int) -> bool:
        return any(i in self.false for i in self.parse.subtree(token))

    def _argument_is_false(self, token: int) -> bool:
        return token in self.false or self._belongs_to_false(token)

    def _arguments(self, verb: int) -> list[int]:
        """The nouns that a verb governs itself or by a preposition; subjects after "there" are among them."""
        parse, found = self.parse, list[int]()
        introduced = parse.child(verb, "expl") is not None
        for j in parse.children[verb]:
            if parse.deps[j] in _ARGUMENTS or (introduced and parse.deps[j] in ("nsubj", "attr")):
                found += self._nouns(j) or [j]
            else:
                found += self._governed(j)
        return found

    def _governed(self, preposition: int) -> list[int]:
        """The nouns after a preposition, also after two: "next to a bicycle", "out from under a table"."""
        parse, found = self.parse, list[int]()
        if parse.deps[preposition] in ("prep", "agent", "dative", "advmod"):
            for i in parse.children[preposition]:
                found += (self._nouns(i) or [i]) if parse.deps[i] == "pobj" else self._governed(i)
        return found
