"""Plan the edits of one text: the words to delete, the objects to keep, and the cut that is chosen.

A cut may delete a supported (or undecided) object only if the text still names it elsewhere. Otherwise a wider cut is
tried, and if none helps, the object is stated again in a separate sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from halluguard.correction.claims import coreference, mentions
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting import deletions, references, restating, several
from halluguard.correction.rewriting.agreement import agree, recount, relist
from halluguard.correction.rewriting.token_editor import TokenEditor
from halluguard.correction.text.budget import check_budget
from halluguard.correction.text.lexicon import FINITE_TAGS, NOUN_TAGS, VERB_TAGS, words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim, Edit, Verdict
from halluguard.vocabulary import category, identity, listing, parents

_HAVING = frozenset("have has had having wear wears wearing wore".split())
_SORTS_OF_PEOPLE = frozenset(("man", "woman", "boy", "girl"))
"""A text that names one of them has not named the others."""
_ANY_PERSON = frozenset("person people individual human adult pedestrian".split())
_NEW = frozenset(("a", "an", "another", "two", "three", "several", "some"))
_NAMES = ("term", "label", "cell", "heading")
_PARTS = words("parts") & words("not restated") | words("mass")


class EditPlan:
    """The tokens to delete, the mentions to keep, and the editor that makes the edits."""

    def __init__(
        self, parse: Parse, claims: Sequence[Claim], verdicts: Sequence[Verdict], *, careful: bool = True
    ) -> None:
        self.parse, self.claims, self.verdicts, self.careful = parse, claims, verdicts, careful
        self.wrong = [i for i, verdict in enumerate(verdicts) if verdict.decision == "contradicted"]
        self._written: set[tuple[int | None, str | None]] = set()
        self.editor = TokenEditor(parse)
        self.mentions = mentions.find(parse)
        self.decision: dict[int, str] = {}  # mention -> decision
        self.cause: dict[int, int] = {}  # mention -> verdict
        self.wrongly_denied: set[int] = set()  # mentions that are there, and that the text will name
        self.rightly_denied: set[int] = set()  # mentions that are nowhere in the image, as the text says
        by_end = {parse.ends[m.last]: n for n, m in enumerate(self.mentions)}
        for index, verdict in enumerate(verdicts):
            claim = claims[verdict.claim]
            mention = by_end.get(claim.end)
            if claim.kind == "existence" and mention is not None and claim.polarity == "asserted":
                self.decision[mention] = verdict.decision
                self.cause[mention] = index
            elif claim.kind == "existence" and mention is not None and verdict.decision == "contradicted":
                self.wrongly_denied.add(mention)
            elif claim.kind == "existence" and mention is not None and verdict.decision == "supported":
                self.rightly_denied.add(mention)
        self.by_head = {m.last for m in self.mentions}
        self.links = coreference.links(parse, self.mentions)
        self._continue_subjects()
        self.links |= self._orphans()
        self.by_claim = {n: by_end[c.end] for n, c in enumerate(claims) if c.kind == "existence" and c.end in by_end}
        claim_of = {mention: n for n, mention in self.by_claim.items()}
        self.presupposed = {  # things that are there and do not do something: "neither the boy nor the girl runs"
            m
            for n, m in self.by_claim.items()
            if claims[n].modality == "restricted" and "the" in map(parse.words.__getitem__, self._modifiers(m))
        }
        self.whole = [
            restating.is_whole(parse, m, claims[claim_of[n]] if n in claim_of else None)
            for n, m in enumerate(self.mentions)
        ]
        for n, named in enumerate(self.mentions):
            if named.part and named.category is not None and parse.heads[named.last] in self.false:
                self.whole[n] = True  # the toilet of a "toilet bowl" without a bowl
        self.kept: set[int] = set()  # tokens that no cut may take: the yes or no of an answer
        self.adopted: dict[int, int] = {}  # list member -> first token of an article it took over
        self.turned: set[int] = set()  # sentences of a turned yes or no, not read again
        self.rewritten: set[int] = set()  # sentences that were written again: no fragments
        self.affirmed: frozenset[int] = frozenset()  # negations that a repair took away on purpose
        self.trimmed: set[int] = set()  # words that need several things, of which one is left
        self.flags: list[Edit] = []  # contradicted words that no sound edit takes away
        self.phrases: dict[int, str] = {}  # mention -> the words that state it again
        self.phrase_ends: dict[int, int] = {}  # mention -> the last token of these words
        self.restate: dict[int, set[int]] = {}  # sentence -> mentions to state again after it

    def _modifiers(self, mention: int) -> list[int]:
        """The tokens before a mention that belong to it."""
        last = self.mentions[mention].last
        return [j for j in self.parse.children[last] if j < last]

    # -- tokens to delete, mentions to keep
    # -------------------------------------------------------------------------------

    def doomed(self) -> dict[int, int]:
        """Token to delete -> verdict that causes it: contradicted mentions, and pronouns that refer to them."""
        heads = {self.mentions[n].last: self.cause[n] for n, d in self.decision.items() if d == "contradicted"}
        for pronoun, n in self.links.items():
            if self.parse.text[self.parse.ends[pronoun] : self.parse.ends[pronoun] + 1] == "-":
                continue  # "three-dimensional"
            # A pronoun seldom stands for a part: after "The fur is orange. It has ..." it is the animal that has.
            sure = references.is_sure(self.parse, pronoun, self.mentions[n].last)
            if (
                self.decision.get(n) == "contradicted"
                and sure
                and self.stands_alone(n)
                and not self._also_kept(n, pronoun)
            ):
                heads.setdefault(pronoun, self.cause[n])
        return heads

    def antecedent(self, token: int) -> int | None:
        """The mention that a pronoun or a possessive stands for."""
        linked = self.links.get(token)
        return self.owner(token) if linked is None else linked

    def owner(self, token: int) -> int | None:
        """The mention that a possessive stands for."""
        return references.owner(self.parse, self.mentions, token)

    def stands_alone(self, mention: int) -> bool:
        """Whether a pronoun can refer to the mention; pronouns rarely refer to parts or matter."""
        return self.mentions[mention].name.split()[-1] not in _PARTS

    def _continue_subjects(self) -> None:
        """Link a pronoun that opens a sentence like the same pronoun before it: "They sit. They look ..."."""
        parse = self.parse
        for sentence in range(1, len(parse.sentences)):
            pronoun, before = parse.sentences[sentence][0], parse.sentences[sentence - 1][0]
            if parse.words[pronoun] == parse.words[before] and pronoun in self.links:
                del self.links[pronoun]
                if before in self.links:
                    self.links[pronoun] = self.links[before]

    def _orphans(self) -> dict[int, int]:
        """Pronouns without an antecedent that open a sentence after one whose subject is deleted: "She is ..."."""
        parse, orphans = self.parse, dict[int, int]()
        for sentence in range(1, len(parse.sentences)):
            pronoun = parse.sentences[sentence][0]
            number = {"he": False, "she": False, "they": True}.get(parse.words[pronoun])
            first, end = parse.sentences[sentence - 1]
            if number is None or pronoun in self.links or parse.words[first] == parse.words[pronoun]:
                continue
            before = [(n, m) for n, m in enumerate(self.mentions) if first <= m.last < end and m.plural == number]
            chief = next((n for n, m in before if parse.deps[m.last] in ("nsubj", "dobj", "attr", "ROOT")), None)
            if chief is not None and self.decision.get(chief) == "contradicted" and self.stands_alone(chief):
                orphans[pronoun] = chief
        return orphans

    def _also_kept(self, mention: int, pronoun: int) -> bool:
        """Keep a plural pronoun after "a dog and a cat" if one of them stays; not "it" after "boys and a kite"."""
        listed = self.parse.conjuncts(self.mentions[mention].last)
        if any(self.parse.tags[i] == "NNS" and i not in self.by_head for i in listed) and self.mentions[mention].plural:
            return True  # "buildings and other acts ... they"
        if self.parse.words[pronoun] in ("it", "itself"):
            things = (m for m in self.mentions if not m.plural and m.category != "person")
            listed = [m.last for m in things if m.last in listed]
        return any(m.last in listed and self.decision.get(n) != "contradicted" for n, m in enumerate(self.mentions))

    def has(self, claim: Claim, value: str | None) -> bool:
        """Whether the text already says `value` of the claim's subject, so that it need not be said again."""
        values = [c.attribute for c in self.claims if c.subject == claim.subject and c is not claim]
        written = (claim.subject, value) in self._written
        self._written.add((claim.subject, value))
        return value is not None and (value in values or written)

    def can_be_stated(self, mention: int) -> bool:
        """Whether the mention may stand in a sentence of its own: "There is a barn."."""
        named = self.mentions[mention]
        if self.decision.get(mention) == "supported" and restating.is_placed(self.parse, named):
            return self.whole[mention] or named.category == "person"
        return self.whole[mention] and restating.can_be_stated(self.parse, named)

    def protected(self, mention: int) -> bool:
        """Whether the mention was seen, or may be there."""
        return self.decision.get(mention) in ("supported", "unsure")

    def worth_keeping(self, mention: int) -> bool:
        """Whether the text must not lose the mention: a whole object that was seen, or was not judged."""
        whole = self.whole[mention]
        if self._says_what_is_false(mention):
            return False
        is_object = self.mentions[mention].category is not None
        is_object = is_object and not restating.is_aside(self.parse, self.mentions[mention])
        seen = self.protected(mention) and (whole or is_object)
        return seen or (self.decision.get(mention) == "unverifiable" and self.can_be_stated(mention))

    def _says_what_is_false(self, mention: int) -> bool:
        """Whether the sentence only describes a false object: "the cat is an adult", "it has a white coat"."""
        parse, noun = self.parse, self.parse.first_conjunct(self.mentions[mention].last)
        verb = parse.heads[noun]
        having = parse.words[verb] in _HAVING or any(  # "both have striped coats", read as a perfect tense
            parse.deps[j] == "aux" and parse.words[j] in _HAVING for j in parse.children[verb]
        )
        tells = parse.deps[noun] == "attr" or (parse.deps[noun] == "dobj" and having)
        subject = parse.child(verb, "nsubj") if tells else None
        known = self.mentions[mention].category is not None
        stands_for = -1 if subject is None or known else self.links.get(subject, -1)
        return self.decision.get(stands_for) == "contradicted" or subject in self.false

    def lost(self, cut: set[int]) -> set[int]:
        """Mentions worth keeping that the cut would take out of the text altogether.

        A title or keyword does not stand for a sentence: what can be stated again must stay in prose.
        """
        kept, in_prose = set[str](), set[str]()
        taken: dict[str, int] = {}
        topics: dict[str, int] = {}
        for n, mention in enumerate(self.mentions):
            if not self.editor.alive(mention.last):
                continue
            if mention.last not in cut:
                if self.decision.get(n, "contradicted") != "contradicted" or n in self.presupposed or self._affirms(n):
                    kept |= _keys(mention)
                    in_prose |= _keys(mention) if self._is_prose(mention.last) else set()
            elif n in self._not_to_lose and not self.is_attribute(mention, cut):
                taken.setdefault(self._own_key(n), n)
                if self._is_topic(n):
                    topics.setdefault(self._own_key(n), n)
        for named in self.restate.values():
            for n in named:
                kept |= _keys(self.mentions[n])
                in_prose |= _keys(self.mentions[n])
        lost = {n for key, n in taken.items() if key not in kept or (key not in in_prose and self._needs_prose(n))}
        return lost | {n for key, n in topics.items() if key not in {self._own_key(m) for m in lost}}

    def _affirms(self, mention: int) -> bool:
        """Whether a wrong denial of the mention was turned: "there is no dog" into "there is a dog"."""
        sentence = self.parse.sentence[self.mentions[mention].last]
        return mention in self.wrongly_denied and any(
            self.editor.why[i] for i in range(*self.parse.sentences[sentence])
        )

    def named_outside(self, mention: int, cut: set[int]) -> bool:
        """Whether other words than these name the same thing, be it a keyword or a cell of a table."""
        key = identity(self.mentions[mention].name)
        return any(identity(m.name) == key and m.last not in cut and self.editor.alive(m.last) for m in self.mentions)

    def _is_topic(self, mention: int) -> bool:
        """Whether a list item is about the mention: the subject of its sentence, or what its label names."""
        parse, named = self.parse, self.mentions[mention]
        leaf = parse.leaf(named.last)
        if leaf is None or leaf.kind != "prose" or parse.document is None or not leaf.reads:
            return False
        if not any(block.kind == "item" for block in parse.document.path(leaf.start)):
            return False
        root = parse.heads[named.last]
        chief = parse.deps[named.last] in ("nsubj", "nsubjpass") and parse.deps[root] == "ROOT"
        chief = chief or (parse.deps[named.last] == "attr" and parse.child(root, "expl") is not None)
        return chief or parse.deps[named.last] == "ROOT"

    @cached_property
    def _not_to_lose(self) -> frozenset[int]:
        """Mentions that no cut may take out of the text; every cut of a long list is asked about all of them."""
        return frozenset(n for n in range(len(self.mentions)) if self.worth_keeping(n) or self._beside_false(n))

    def _own_key(self, mention: int) -> str:
        """What must be kept of a mention: its category, or for "a woman" beside a man, that she is a woman."""
        named = self.mentions[mention]
        new = {self.parse.words[j] for j in self._modifiers(mention)} & _NEW
        return named.name if new and named.name in _SORTS_OF_PEOPLE else identity(named.name)

    def _beside_false(self, mention: int) -> bool:
        """Whether a list joins the mention to a false one, whatever it is: the sky of "trees and a grey sky"."""
        listed = self.parse.conjuncts(self.mentions[mention].last)
        if len(listed) < 2 or not self.protected(mention):
            return False
        return not self.false.isdisjoint(listed)

    def is_name(self, token: int) -> bool:
        """Whether a token stands in a title, a label, a keyword or a cell."""
        leaf = self.parse.leaf(token)
        return leaf is not None and (leaf.kind in _NAMES or self.parse.block[token] in self.parse.folded)

    def _is_prose(self, token: int) -> bool:
        return not self.is_name(token)

    def _needs_prose(self, mention: int) -> bool:
        """Whether a keyword elsewhere is no substitute for what the text says of it here."""
        return self._is_prose(self.mentions[mention].last) and self.whole[mention]

    def passed_over(self, sentence: int) -> int:
        """Number of things that the sentence loses with what is false, and that no other sentence names."""
        first, end = self.parse.sentences[sentence]
        leaf = self.parse.leaf(first)
        own = {n for n, m in enumerate(self.mentions) if first <= m.last < end}
        if (leaf is not None and leaf.kind in _NAMES) or own & self.wrongly_denied:
            return 0
        prose = self._is_prose(first)  # a title is not replaced by what is said elsewhere
        near = self.mentions if prose else [self.mentions[n] for n in own]
        named = {identity(m.name) for m in near if self.editor.alive(m.last) and (not prose or self._is_prose(m.last))}
        stated = {word for n in self.restate.get(sentence, ()) for word in self.phrases.get(n, "").lower().split()}
        stated |= {word for n in self.restate.get(sentence, ()) for word in [identity(self.mentions[n].name)]}
        lost = {
            identity(self.mentions[n].name)
            for n in own
            if self._passed_over(n) and self.parse.words[self.mentions[n].last] not in stated
        }
        return len(lost - named - stated)

    def _passed_over(self, mention: int) -> bool:
        """Whether a thing that was seen, or may be there, was deleted, and is no part or attribute of what is false."""
        named, parse = self.mentions[mention], self.parse
        if not self.protected(mention) or self.editor.alive(named.last) or named.part:
            return False
        if self.claims[self.verdicts[self.cause[mention]].claim].modality != "asserted":
            return False
        false = self.false | {i for i, n in self.links.items() if self.decision.get(n) == "contradicted"}
        if any(parse.deps[j] == "poss" and j in false for j in parse.children[named.last]):
            return False
        for above in parse.chain(named.last):
            if above in false:
                return False
            if parse.tags[above] in FINITE_TAGS or parse.child(above, "aux", "auxpass") is not None:
                return not restating.is_aside(parse, named) and not self._says_what_is_false(mention)
        return True

    def is_attribute(self, mention: Mention, cut: set[int]) -> bool:
        """Whether the mention only describes a false object: the stars of "a cap with white stars"."""
        parse = self.parse
        governor = parse.heads[parse.heads[mention.last]]
        if governor not in cut or governor not in self.false or mention.category is not None:
            return False
        described = parse.deps[mention.last] == "pobj" and parse.tags[governor] in NOUN_TAGS
        living = category(parse.words[governor]) == "person" or "animal" in parents(
            category(parse.words[governor]) or ""
        )
        worn = parse.words[parse.heads[mention.last]] == "with" and living  # "a dog with a short coat"
        quantified = not worn and any(parse.deps[j] in ("det", "nummod") for j in parse.children[mention.last])
        return described and not quantified

    @cached_property
    def false(self) -> frozenset[int]:
        """Last tokens of the contradicted mentions."""
        return frozenset(m.last for n, m in enumerate(self.mentions) if self.decision.get(n) == "contradicted")

    def _cost(self, cut: set[int]) -> tuple[int, int]:
        """Protected and other mentions that a cut would lose."""
        lost = self.lost(cut)
        protected = sum(map(self.protected, lost))
        return protected, len(lost) - protected

    def worth_stating(self, lost: set[int], cut: set[int]) -> set[int]:
        """Lost mentions without those that a kept one implies: no need to say "vehicles" where a car is named."""
        alive = [m for n, m in enumerate(self.mentions) if self.protected(n) and self.editor.alive(m.last)]
        left = [m for m in alive if m.last not in cut]
        implied = {wide for m in left for wide in parents(m.name)}
        heads = {m.name.split()[-1] for m in left}
        in_prose = {m.name.split()[-1] for m in left if self._is_prose(m.last)}

        def named(n: int) -> bool:
            return self.mentions[n].name.split()[-1] in (in_prose if self._needs_prose(n) else heads)

        return {n for n in lost if self._is_topic(n) or (self._own_key(n) not in implied and not named(n))}

    # -- removing ------------------------------------------------------------------------------------------------------

    def cut_sentence(self, sentence: int, heads: Mapping[int, int], skipped: int = 0) -> None:
        """Cut the contradicted tokens out of one sentence, and repair what the cuts left: fragments, lists, verbs.

        Args:
            heads: token to delete -> verdict that causes it, for the whole text.
            skipped: how many of the smallest cuts of each token are passed over, because they did not read well.
        """
        first, end = self.parse.sentences[sentence]
        for token in range(first, end):
            if token in heads and self.editor.alive(token):
                self.remove(token, heads, skipped)
        self._give_up_fragments(sentence)
        for listed in self._broken_lists(sentence):
            relist(self.editor, listed, self.adopted)
            agree(self.editor, listed)
            recount(self.editor, listed)
        several.trim(self, sentence)
        self.state_again(sentence)

    def _broken_lists(self, sentence: int) -> list[list[int]]:
        """Lists of nouns that lost members and have some left."""
        parse, lists = self.parse, dict[int, list[int]]()
        for i in range(*parse.sentences[sentence]):
            if parse.deps[i] == "conj" and parse.tags[i] not in VERB_TAGS:
                listed = parse.conjuncts(i)
                lists[listed[0]] = listed
        parts = [part for listed in lists.values() for part in self._at_aside(listed)]
        return [listed for listed in parts if 0 < sum(map(self.editor.alive, listed)) < len(listed)]

    def _at_aside(self, listed: list[int]) -> list[list[int]]:
        """The list in two, if something is left on both sides of "along with": "A bus, along with a cup and a fork"."""
        parse = self.parse
        for n in range(1, len(listed)):
            before = min(deletions.member_tokens(parse, listed[n])) - 1
            if parse.words[before - 1 : before + 1] in (["along", "with"], ["together", "with"], ["well", "as"]):
                parts = [listed[:n], listed[n:]]
                if all(any(map(self.editor.alive, part)) for part in parts):
                    return parts
        return [listed]

    def remove(self, token: int, heads: Mapping[int, int], skipped: int = 0) -> None:
        """Make the cheapest cut that removes a token, and restate what the cut loses."""

        def out(i: int) -> bool:
            return i in heads or not self.editor.alive(i)

        options = deletions.cuts(self.parse, token, out, self.by_head)
        # min takes the first of the cheapest, and cuts come smallest first
        cut = min(options[min(skipped, len(options) - 1) :], key=self._cost)
        if token in self.links and token not in self.by_head and not self._opens_clause(token):
            first, end = self.parse.sentences[self.parse.sentence[token]]
            if len(cut) >= end - first - 1 or self.lost(cut):
                return  # "a sign stands near where they drive" is about the sign
        heir = deletions.heir_of_article(self.parse, token, out)
        if heir is not None and heir[1] not in cut and heir[0] not in cut:
            self.adopted[heir[1]] = heir[0]
        why = {verdict for i, verdict in heads.items() if i in cut} or {heads[token]}
        self.drop(cut, self.parse.sentence[token], why)

    def _opens_clause(self, token: int) -> bool:
        """Whether the token is the subject of a main clause."""
        verb = self.parse.heads[token]
        main = self.parse.deps[verb] in ("ROOT", "conj", "ccomp", "parataxis")
        return self.parse.deps[token] in ("nsubj", "nsubjpass") and main

    def drop(self, cut: set[int], sentence: int, why: set[int]) -> None:
        """Delete tokens; what gets lost with them is stated again after the sentence."""
        if self.kept & cut:
            end = self.parse.sentences[sentence][1]
            cut = cut - self.kept - ({end - 1} if self.parse.words[end - 1] in ".!" else set())
        lost = self._with_namesakes(self.worth_stating(self.lost(cut), cut), cut)
        if lost:
            self.restate.setdefault(sentence, set()).update(lost)
            self._word_again(lost)
        self.editor.delete(cut, why)

    def _word_again(self, named: set[int]) -> None:
        """Keep the words that state mentions again, as they are before the cut."""
        for n in named:
            self.phrases[n] = self._fullest_phrase(n)
            self.phrase_ends[n] = restating.phrase_end(self.editor, self.mentions[n].last, self._out())

    def _fullest_phrase(self, mention: int) -> str:
        """The words that state a mention again: its own, or longer ones of a deleted mention of the same thing."""
        own = restating.phrase(self.editor, self.mentions[mention], self._out())
        lost, phrases = self.mentions[mention], [own]
        for earlier in self.mentions[:mention]:
            if (
                identity(earlier.name) == identity(lost.name)
                and earlier.plural == lost.plural
                and not self.editor.alive(earlier.last)
            ):
                first, end = self.parse.sentences[self.parse.sentence[earlier.last]]
                state = self.editor.snapshot(first, end)
                self.editor.reset(first, end)
                phrases.append(restating.phrase(self.editor, earlier, self._out()))
                self.editor.restore(state)
        return max(phrases, key=len)

    def _with_namesakes(self, lost: set[int], cut: set[int]) -> set[int]:
        """Lost mentions with others of their category that have a name of their own: "a man and a woman"."""
        names = {self.mentions[n].name for n in lost}
        for n, mention in enumerate(self.mentions):
            filed = mention.category is not None and any(mention.category == self.mentions[m].category for m in lost)
            new = filed and mention.last in cut and mention.name not in names and len(lost) < restating.MOST
            if new and self.protected(n) and self.worth_keeping(n) and self.can_be_stated(n):
                lost = lost | {n}
                names.add(mention.name)
        return lost

    def proper(self, token: int) -> bool:
        """Whether a word is part of a name of several words written with capitals: "Assassin's Creed"."""
        parse = self.parse
        if parse.block and parse.block[token] in parse.folded:
            return False
        first, end = parse.sentences[parse.sentence[token]]
        beside = [i for i in (token - 1, token + 1) if first <= i < end]
        if token + 2 < end and parse.words[token + 1] in ("'s", "’s"):
            beside.append(token + 2)
        capital = [self.editor.original(i)[:1].isupper() and i > first for i in (token, *beside)]
        return capital[0] and any(capital[1:]) and not self.editor.original(token).isupper()

    def flag(self, sentence: int, heads: Mapping[int, int], reason: str) -> None:
        """Leave the contradicted words of a sentence as they are, and record a flag."""
        first, end = self.parse.sentences[sentence]
        for mention in self.mentions:
            if first <= mention.last < end and mention.last in heads and mention.last not in self.links:
                start, stop = self.parse.starts[mention.first], self.parse.ends[mention.last]
                words = self.parse.text[start:stop]
                cause = heads[mention.last]
                note = f"{self.verdicts[cause].reason}; left as it was: {reason}"
                self.flags.append(Edit(start, stop, words, words, (cause,), note, "flagged"))

    def _out(self) -> set[int]:
        """Tokens that a restated phrase must not contain."""
        return set(self.doomed())

    def _give_up_fragments(self, sentence: int) -> None:
        """Delete clauses that lost their subject, and sentences that lost their verb."""
        first, end = self.parse.sentences[sentence]
        why = set().union(*(self.editor.why[i] for i in range(first, end)))
        while why and sentence not in self.rewritten:
            check_budget()
            cut = deletions.fragment(self.parse, sentence, self.editor.alive)
            alive = sum(map(self.editor.alive, range(first, end)))
            self.drop(cut, sentence, why)
            if not cut or alive == sum(map(self.editor.alive, range(first, end))):
                break  # what is left must stay: the yes or no of an answer

    def state_missing(self, sentence: int) -> None:
        """State the objects of an edited sentence that were seen, and that no words name any more."""
        first, end = self.parse.sentences[sentence]
        if not self._is_prose(first):
            return
        named = {identity(m.name) for m in self.mentions if self.editor.alive(m.last)}
        named |= {identity(self.mentions[n].name) for stated in self.restate.values() for n in stated}
        own = {identity(m.name): n for n, m in reversed(list(enumerate(self.mentions))) if first <= m.last < end}
        missing = {
            n
            for key, n in own.items()
            if key not in named and self.protected(n) and self.worth_keeping(n) and self.can_be_stated(n)
            if not self.is_attribute(self.mentions[n], set(range(first, end)))
        }
        missing = self.worth_stating(missing, set())
        if missing and len(missing) <= restating.MOST:
            self.restate[sentence] = missing
            state = self.editor.snapshot(first, end)
            self.editor.reset(first, end)
            self._word_again(missing)
            self.editor.restore(state)
            self.state_again(sentence)

    def is_labelled_fragment(self, sentence: int) -> bool:
        """Whether the sentence is a phrase after a label, such as "**Rigging:** White ropes."."""
        first, end = self.parse.sentences[sentence]
        leaf = self.parse.leaf(first)
        finite = any(tag in ("VBZ", "VBP", "VBD", "MD") for tag in self.parse.tags[first:end])
        return leaf is not None and bool(leaf.label) and not finite

    def state_again(self, sentence: int) -> None:
        """Add "There is a table." for objects that a cut had to delete."""
        named = self.restate.get(sentence)
        if not named:
            return
        first, end = self.parse.sentences[sentence]
        spans = {n: self.phrase_ends.get(n, self.mentions[n].last) for n in named}
        stated = restating.outermost(self.parse, [(n, self.mentions[n]) for n in named], spans)
        alive = [i for i in range(first, end) if self.editor.alive(i)]
        if not any(self.parse.words[i][:1].isalnum() for i in alive):
            self.editor.delete(alive, set().union(*(self.editor.why[i] for i in range(first, end))))
            alive = []
        phrases = [self.phrases[n] for n in stated]
        if alive or (deletions.is_clause(self.parse, sentence) and not self.is_labelled_fragment(sentence)):
            says = restating.statement(phrases)
        else:
            things = listing(phrases)
            says = restating.framed(self.editor, sentence, self._out(), things) or things
            says += self.parse.words[end - 1] if self.parse.words[end - 1] in ".!?,;" else ""
            says = says[0].upper() + says[1:] if self.editor.original(first)[:1].isupper() else says
        why = set().union(*(self.editor.why[i] for i in range(first, end)))
        if alive:
            self.editor.tokens[alive[-1]] += f" {says}"
            self.editor.why[alive[-1]] |= why
        else:
            self.editor.state(first, says, why)


def _keys(mention: Mention) -> set[str]:
    """The keys of what a mention keeps in the text; "people" keeps men and women."""
    key = identity(mention.name)
    return {key, *_SORTS_OF_PEOPLE} if mention.name in _ANY_PERSON else {key, mention.name}
