"""Correct a text sentence by sentence: the smallest sound edit of each, or none.

    cut           the false words are deleted, the rest of the sentence stays
    state again   the sentence is deleted, and the whole objects that it alone named are stated: "There is a barn."
    drop          the sentence is deleted; nothing true is lost with it
    flag          every edit would break the sentence or lose something true: it stays, and the edit record says so

Each edited sentence is read again (`final_check.py`) before it is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting import deletions, final_check, references, rereading, restating, several
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.token_editor import Snapshot
from halluguard.correction.rewriting.true_clauses import true_clause
from halluguard.correction.rewriting.true_words import TrueWords
from halluguard.correction.text.budget import check_budget
from halluguard.correction.text.document import Block
from halluguard.correction.text.lexicon import NOUN_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse
from halluguard.vocabulary import listing

_WITHOUT_ARTICLE = re.compile(r"^(?:an?|some)\s+", re.I)
_DOUBT = re.compile(
    r"^(?:it(?:'s| is) (?:\w+ )?(?:hard|difficult|impossible|unclear|not (?:\w+ )?(?:clear|possible|easy|certain))"
    r"(?: to (?:tell|say|be|see|know|confirm|determine|make out)\b|[.,!]|$)"
    r"|(?:i(?:'m| am) )?not (?:\w+ )?(?:sure|certain)\b|i (?:can't|cannot|can not) (?:\w+ )?(?:tell|say|be|confirm)\b)",
    re.I,
)
"""The rest of a guess whose object was deleted: "It's hard to tell."."""
_LONG_SENTENCE = 24
"""A sentence of more tokens says more than the objects that could be stated again."""
_AGAIN = ("the", "this", "these", "both")
_SUPPORT = ("do", "does", "did", "not", "n't", "no")
"""Words that are deleted when a denial becomes a statement; its clause stays."""

_MOST_PASSED_OVER = 1
"""Number of true things that a sentence may lose beside what is false."""


class SentenceEdits:
    """The edits of every sentence that names something contradicted, or that earlier steps have changed.

    Args:
        heads: token to delete -> index of the verdict that causes it.
        settled: sentences that were deleted with their block.
        previews: sentence -> how it reads after its cut, for all that are to be read again.
    """

    def __init__(self, plan: EditPlan, heads: Mapping[int, int], settled: Collection[int] = ()) -> None:
        self.plan, self.heads = plan, heads
        parse = plan.parse
        self.condemned = {parse.sentence[token] for token in heads}
        changed = {parse.sentence[i] for i in range(len(parse)) if plan.editor.why[i]}
        self.states: dict[int, Snapshot] = {}
        self.reasons: dict[int, str] = {}
        self.first_reasons: dict[int, str] = {}  # why the smallest cut was not taken
        self.partly: dict[int, dict[int, int]] = {}  # sentence -> the heads that are left, where others could be cut
        self.flagged: set[int] = set()
        self.tries = 0
        for sentence in sorted((self.condemned | changed | set(plan.restate)) - set(settled)):
            self.states[sentence] = plan.editor.snapshot(*parse.sentences[sentence])
            plan.cut_sentence(sentence, heads)
            self._drop_doubt(sentence)
            if sentence not in plan.rewritten | plan.turned:
                self.reasons[sentence] = self._loses(sentence) or _breaks_form(plan, sentence)
                if plan.careful and not self.reasons[sentence] and _is_gone(plan, sentence):
                    self.reasons[sentence] = self._loses_clause(sentence)
        sound = [sentence for sentence, reason in self.reasons.items() if not reason]
        previews = {sentence: plan.editor.preview(sentence) for sentence in sound}
        self.previews = {sentence: text for sentence, text in previews.items() if any(map(str.isalnum, text))}

    def _drop_doubt(self, sentence: int) -> None:
        """Delete what only says how sure the deleted words were: "(There may be a dog, but) it's hard to tell."."""
        plan = self.plan
        first, end = plan.parse.sentences[sentence]
        named = any(first <= mention.last < end and plan.editor.alive(mention.last) for mention in plan.mentions)
        why = set[int]().union(*(plan.editor.why[i] for i in range(first, end)))
        if not named and why and sentence not in plan.restate and _DOUBT.match(plan.editor.preview(sentence)):
            plan.editor.delete(range(first, end), why)

    def check(self, previews: Sequence[Parse], *, try_wider: bool) -> None:
        """Find the cuts that do not read well, and try wider ones; `previews` are then those of the wider cuts.

        Args:
            previews: the parses of `previews`.
            try_wider: whether wider cuts will be read again, too.
        """
        for sentence, parse in zip(self.previews, previews, strict=True):
            added = final_check.adds_object(self.plan.parse, sentence, parse)
            self.reasons[sentence] = added or rereading.misread(self.plan, sentence, parse)
        self.tries += 1
        self.previews = {}
        for sentence, reason in sorted(self.reasons.items()):
            if reason and sentence in self.condemned:
                self.first_reasons.setdefault(sentence, reason)
                if try_wider:
                    self._cut_wider(sentence)
                elif self.partly.pop(sentence, None) is None:
                    self._cut_partly(sentence)

    def _cut_wider(self, sentence: int) -> None:
        """Try the next wider cut of a sentence, unless it leaves nothing."""
        plan = self.plan
        _undo(plan, sentence, self.states[sentence])
        plan.cut_sentence(sentence, self.heads, self.tries)
        left = [i for i in range(*plan.parse.sentences[sentence]) if plan.editor.alive(i)]
        words = [i for i in left if i not in plan.editor.statements and plan.parse.words[i].isalnum()]
        if words and not self._loses(sentence) and not _breaks_form(plan, sentence):
            self.reasons[sentence] = ""  # until it is read again
            self.previews[sentence] = plan.editor.preview(sentence)
        else:
            _undo(plan, sentence, self.states[sentence])

    def _cut_partly(self, sentence: int) -> None:
        """Cut the heads that can be cut alone, where a sentence would otherwise be flagged for the others."""
        plan, first, end = self.plan, *self.plan.parse.sentences[sentence]
        own = {token: why for token, why in self.heads.items() if first <= token < end}
        if len(own) < 2 or not self._would_flag(sentence):
            return
        sound = {token: why for token, why in own.items() if self._reads_well(sentence, {token: why})}
        left = {n for n, mention in enumerate(plan.mentions) if mention.last in own and mention.last not in sound}
        sound = {token: why for token, why in sound.items() if plan.links.get(token) not in left}
        if sound and len(sound) < len(own) and self._reads_well(sentence, sound):
            plan.cut_sentence(sentence, sound)
            self.partly[sentence] = {token: why for token, why in own.items() if token not in sound}
            self.reasons[sentence] = ""  # until it is read again
            self.previews[sentence] = plan.editor.preview(sentence)

    def _reads_well(self, sentence: int, heads: Mapping[int, int]) -> bool:
        """Whether a cut of these heads alone leaves a sentence; the cut is undone."""
        _undo(self.plan, sentence, self.states[sentence])
        self.plan.cut_sentence(sentence, heads)
        left = any(self.plan.editor.alive(i) for i in range(*self.plan.parse.sentences[sentence]))
        sound = left and not self._loses(sentence) and not _breaks_form(self.plan, sentence)
        _undo(self.plan, sentence, self.states[sentence])
        return sound

    def _would_flag(self, sentence: int) -> bool:
        """Whether a sentence can neither be dropped nor its objects be stated again."""
        plan = self.plan
        first, end = plan.parse.sentences[sentence]
        _undo(plan, sentence, self.states[sentence])
        plan.drop(set(range(first, end)), sentence, {0})
        lost = bool(self._loses(sentence) or self._loses_clause(sentence))
        _undo(plan, sentence, self.states[sentence])
        return lost or plan.parse.words[end - 1] == ":"

    def finish(self) -> None:
        """Drop, state again or flag the sentences of which no cut reads well."""
        for sentence, heads in self.partly.items():
            if not self.reasons[sentence]:
                self.plan.flag(sentence, heads, self.first_reasons[sentence])
                self.flagged.add(sentence)
                if self.plan.careful:
                    names = {name for token in heads for name in self._names_of(token)}
                    self._flag_everywhere(names)
        for sentence, reason in sorted(self.reasons.items()):
            if reason and sentence in self.states:
                _undo(self.plan, sentence, self.states[sentence])
                if sentence in self.condemned:
                    self._state_or_flag(sentence, self.first_reasons.get(sentence, reason))
                else:
                    self.plan.editor.reset(*self.plan.parse.sentences[sentence])
        self._keep_entries()
        self._keep_antecedents()
        self._keep_objects()
        self._keep_true_words()
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        """Delete "also" from the first sentence that is left, where those before it were deleted."""
        plan, parse = self.plan, self.plan.parse
        for first, end in parse.sentences:
            alive = [i for i in range(first, end) if plan.editor.alive(i)]
            why = set[int]().union(*(plan.editor.why[i] for i in range(first)))
            if not alive:
                continue
            also = [i for i in alive if parse.words[i] == "also" and parse.deps[i] == "advmod"]
            if why and first and also and "only" not in parse.words[first : also[0]]:
                plan.editor.delete(also[:1], why)
            return

    def _keep_objects(self) -> None:
        """State the objects that were seen and that no sentence names any more, since each relied on another."""
        plan = self.plan
        for sentence in sorted(self.states):
            if sentence not in plan.restate and sentence not in plan.turned:
                plan.state_missing(sentence)

    def _keep_true_words(self) -> None:
        """Flag the sentences whose edits lose something true, now that all edits are known."""
        plan = self.plan
        for sentence in sorted(self.states) if plan.careful else ():
            if sentence not in self.states or sentence in plan.turned | plan.rewritten | self.flagged:
                continue
            word = TrueWords(plan, sentence, self.heads).lost(attributes=True)
            if word and sentence in self.condemned:
                _undo(plan, sentence, self.states.pop(sentence))
                self._flag(sentence, f"{word!r} would be lost")

    def _keep_entries(self) -> None:
        """Flag edits that would empty an entry such as "Title: ...", or put a sentence in place of a name."""
        plan = self.plan
        for sentence in list(self.states):
            if sentence not in self.states:
                continue  # flagged with another
            first, end = plan.parse.sentences[sentence]
            entry = _entry(plan, first)
            if entry is None:
                continue
            words = [i for i in entry if plan.parse.words[i].isalnum()]
            is_name = plan.parse.words[end - 1] not in (".", "!", "?")
            stated = is_name and any(i in plan.editor.statements for i in words)
            if is_name and (stated or not any(map(plan.editor.alive, words))):
                stated = not self._list_what_is_there(sentence)
            if not any(map(plan.editor.alive, words)) or stated:
                _undo(plan, sentence, self.states.pop(sentence))
                self._flag(sentence, "the entry would be lost")

    def _state_or_flag(self, sentence: int, reason: str) -> None:
        """Drop the sentence and state what it alone named; flag it where that would lose something."""
        plan = self.plan
        first, end = plan.parse.sentences[sentence]
        state = plan.editor.snapshot(first, end)
        why = {verdict for token, verdict in self.heads.items() if first <= token < end}
        plan.drop(set(range(first, end)), sentence, why)
        plan.state_again(sentence)
        lost = self._loses(sentence)
        if plan.careful:
            lost = lost or self._loses_clause(sentence) or _says_much_else(plan, sentence)
        if plan.careful and not lost and self._only_its_subject_is_stated(sentence):
            lost = "what it says of its subject would be lost"
        if plan.parse.words[end - 1] == ":":
            lost = "what follows would hang in the air"
        leaf = plan.parse.leaf(first)
        if not lost and plan.restate.get(sentence) and leaf is not None:
            labelled = plan.careful and plan.is_labelled_fragment(sentence)
            if leaf.kind in ("term", "label", "cell") or labelled:
                lost = "a name holds no sentence"
        if lost:
            _undo(plan, sentence, state)
            self._flag(sentence, f"{reason}, and {lost}" if reason != lost else reason)

    def _only_its_subject_is_stated(self, sentence: int) -> bool:
        """Whether "The shore is a mix of gravel and wood" would become "There is a shore.", without the gravel."""
        plan, parse = self.plan, self.plan.parse
        first, end = parse.sentences[sentence]
        stated = [plan.mentions[n].last for n in plan.restate.get(sentence, ())]
        if len(stated) != 1 or parse.deps[stated[0]] != "nsubj" or parse.words[stated[0] - 1] != "the":
            return False
        return any(first <= m.last < end and m.last not in (stated[0], *self.heads) for m in plan.mentions)

    def _loses(self, sentence: int) -> str:
        """The reason why the words that a cut deleted must not be lost, or ""."""
        plan = self.plan
        lost = plan.restate.get(sentence, set())
        part = next((plan.mentions[n].name for n in sorted(lost) if not plan.can_be_stated(n)), None)
        if part is not None:
            return f"{part!r} would be lost"
        if not plan.careful:
            return "too much would be lost" if len(lost) > restating.MOST else ""
        if len(lost) > restating.MOST or plan.passed_over(sentence) > _MOST_PASSED_OVER:
            return "too much would be lost"
        word = TrueWords(plan, sentence, self.heads).lost()
        return f"{word!r} would be lost" if word else ""

    def _loses_clause(self, sentence: int) -> str:
        """The reason why a sentence cannot be dropped: one of its clauses tells of something else; "" if none does."""
        subject = true_clause(self.plan, sentence, self.heads)
        return f"what is said of {subject!r} would be lost" if subject else ""

    def _flag(self, sentence: int, reason: str) -> None:
        """Flag a sentence, and keep sentences that were to be deleted only because a pronoun in them refers to it."""
        plan = self.plan
        plan.flag(sentence, self.heads, reason)
        self.flagged.add(sentence)
        first, end = plan.parse.sentences[sentence]
        flagged = {n for n, mention in enumerate(plan.mentions) if first <= mention.last < end}
        names = {_kind(plan.mentions[n]) for n in flagged if plan.mentions[n].last in self.heads}
        if plan.is_name(first):
            return  # a title introduces nothing
        if plan.careful:
            self._flag_everywhere(names)
        for other in sorted(self.states):
            first, end = plan.parse.sentences[other]
            tokens = [token for token in self.heads if first <= token < end]
            if other > sentence and tokens and self._is_again(plan, tokens[0], names):
                _undo(plan, other, self.states.pop(other))
                plan.editor.reset(first, end)
                plan.flag(other, self.heads, reason)
                self.flagged.add(other)

    def _flag_everywhere(self, names: Collection[str]) -> None:
        """Flag what is left in one sentence in all others, too, and cut the rest of them alone."""
        plan = self.plan
        for other in sorted(set(self.states) - self.flagged):
            first, end = plan.parse.sentences[other]
            own = {token: why for token, why in self.heads.items() if first <= token < end}
            left = {token: why for token, why in own.items() if self._names_of(token) & set(names)}
            if not left or self._is_listed(first):
                continue
            rest = {token: why for token, why in own.items() if token not in left}
            sound = bool(rest) and self._reads_well(other, rest)
            _undo(plan, other, self.states[other])
            if sound:
                plan.cut_sentence(other, rest)
            else:
                self.states.pop(other)
                plan.editor.reset(first, end)
            plan.flag(other, left if sound else own, "the text keeps it elsewhere")
            self.flagged.add(other)

    def _is_listed(self, token: int) -> bool:
        """Whether a token stands in a list of names, which may lose a member that a sentence keeps with a flag."""
        leaf, document = self.plan.parse.leaf(token), self.plan.parse.document
        if leaf is None or document is None:
            return False
        return any(block.kind in ("keywords", "row", "member") for block in document.path(leaf.start))

    def _names_of(self, token: int) -> set[str]:
        """What the false thing at a token, or the one that a pronoun stands for, is called."""
        plan = self.plan
        antecedent = plan.antecedent(token)
        return {_kind(m) for n, m in enumerate(plan.mentions) if m.last == token or n == antecedent}

    @staticmethod
    def _is_again(plan: EditPlan, token: int, names: Collection[str]) -> bool:
        """Whether a token stands for a thing that is left in the text: "the warrior" or "she" after "a warrior"."""
        link = plan.links.get(token)
        definite = any(plan.parse.words[j] in _AGAIN for j in plan.parse.children[token])
        same = (m for n, m in enumerate(plan.mentions) if n == link or (definite and m.last == token))
        return any(_kind(m) in names for m in same)

    def _shorten_follower(self, token: int, before: int) -> bool:
        """Cut the phrase of a pronoun that points at nothing: "on the couch behind them"."""
        plan, parse = self.plan, self.plan.parse
        sentence = parse.sentence[token]
        first, end = parse.sentences[sentence]
        state = plan.editor.snapshot(first, end)
        why = set().union(*(plan.editor.why[i] for i in range(*parse.sentences[before])))
        for cut in deletions.cuts(parse, token, lambda i: not plan.editor.alive(i), plan.by_head)[:-1]:
            phrase = len(cut) == 2 and parse.deps[token] == "pobj"
            tail = parse.words[min(cut)] == "," and max(cut) >= end - 2
            if (phrase or tail) and not plan.lost(cut):
                plan.editor.delete(cut, why)
                lost = plan.careful and TrueWords(plan, sentence, {token, *self.heads}).lost()
                if not lost and not _breaks_form(plan, sentence):
                    return True
                plan.editor.restore(state)
        return False

    def _drop_follower(self, token: int, before: int) -> bool:
        """Delete a sentence that is only about deleted objects; False if it names an object that is there."""
        plan, sentence = self.plan, self.plan.parse.sentence[token]
        first, end = plan.parse.sentences[sentence]
        other_block = plan.parse.block[first] != plan.parse.block[plan.parse.sentences[before][0]]
        announces = plan.parse.words[end - 1] == ":"
        if sentence in {before} | self.flagged or other_block or announces or _tells_of_another(plan, token):
            return False
        if plan.lost(set(range(first, end))):
            return False
        state = plan.editor.snapshot(first, end)
        why = set().union(*(plan.editor.why[i] for i in range(*plan.parse.sentences[before])))
        plan.editor.delete(range(first, end), why)
        if plan.careful and TrueWords(plan, sentence, {token, *self.heads}).lost():
            plan.editor.restore(state)
            return False
        return True

    def _list_what_is_there(self, sentence: int) -> bool:
        """Reduce an entry to the things that are there: "Barn with tin roof". Returns False if there are none."""
        plan = self.plan
        first, end = plan.parse.sentences[sentence]
        there = [
            m
            for n, m in enumerate(plan.mentions)
            if first <= m.last < end and plan.can_be_stated(n) and plan.protected(n)
        ]
        if not there or len(there) > restating.MOST:
            return False
        _undo(plan, sentence, self.states[sentence])
        phrases = [restating.phrase(plan.editor, m, set(self.heads)) for m in there]
        words = restating.framed(plan.editor, sentence, set(self.heads), listing(phrases))
        if plan.careful and not words:
            return False  # the rest of the title would be lost
        words = words or listing([_WITHOUT_ARTICLE.sub("", phrase) for phrase in phrases])
        plan.restate[sentence] = {n for n, m in enumerate(plan.mentions) if m in there}
        why = {verdict for token, verdict in self.heads.items() if first <= token < end}
        plan.editor.delete(range(first, end), why)
        plan.editor.state(first, words[0].upper() + words[1:], why)
        return True

    def _keep_antecedents(self) -> None:
        """Undo the edits that leave a pronoun without its antecedent."""
        plan = self.plan
        while True:
            check_budget()
            pairs = [*references.dangling(plan), *references.unintroduced(plan), *references.outnumbered(plan)]
            pair = next(((token, before) for token, before in pairs if before in self.states), None)
            if pair is None:
                return
            token, before = pair
            reason = f"{plan.parse.words[token]!r} after it would point at nothing"
            if plan.parse.sentence[token] == before:
                _undo(plan, before, self.states.pop(before))
                self._state_or_flag(before, reason)
            elif references.number_of_known(plan.parse, token) or not (
                self._shorten_follower(token, before) or self._drop_follower(token, before)
            ):
                _undo(plan, before, self.states.pop(before))
                self._flag(before, reason)


def _entry(plan: EditPlan, token: int) -> list[int] | None:
    """The tokens after the label of a token's entry; None outside entries, in a list, and if the label is false."""
    document = plan.parse.document
    path = document.path(plan.parse.starts[token]) if document is not None else []
    pair = next((block for block in path if block.kind == "pair" or _announced(block)), None)
    if pair is None or any(block.kind in ("item", "row", "member", "value", "keywords") for block in path):
        return None
    labels = [leaf for leaf in pair.leaves() if leaf.kind == "label"]
    inside = [i for i, start in enumerate(plan.parse.starts) if pair.outer[0] <= start < pair.outer[1]]
    after = [i for i in inside if not any(label.start <= plan.parse.starts[i] < label.end for label in labels)]
    label_left = any(plan.editor.alive(i) for i in set(inside) - set(after))
    return after if labels and label_left else None


def _announced(block: Block) -> bool:
    """Whether a paragraph begins with a label on a line of its own."""
    first = block.children[0] if block.kind == "paragraph" and block.children else None
    return first is not None and first.kind == "pair" and all(leaf.kind == "label" for leaf in first.leaves())


def _tells_of_another(plan: EditPlan, pronoun: int) -> bool:
    """Whether the subject of a sentence is a thing that is there, and a pronoun stands only in what is said of it."""
    parse = plan.parse
    root = next((i for i in range(*parse.sentences[parse.sentence[pronoun]]) if parse.heads[i] == i), None)
    subject = None if root is None else parse.child(root, *SUBJECTS)
    if subject is None or parse.tags[subject] not in NOUN_TAGS or pronoun in parse.subtree(subject):
        return False
    phrase = parse.heads[pronoun]
    if phrase == root or (parse.deps[pronoun] == "pobj" and parse.heads[phrase] == root):
        return False  # "The boys hold it": of the boys nothing else is said
    return subject not in plan.false


def _kind(mention: Mention) -> str:
    return mention.category or mention.name


def _undo(plan: EditPlan, sentence: int, state: Snapshot) -> None:
    plan.editor.restore(state)
    plan.restate.pop(sentence, None)


def _is_gone(plan: EditPlan, sentence: int) -> bool:
    """Whether no word of a sentence is left; what is stated in its place does not count."""
    tokens = range(*plan.parse.sentences[sentence])
    return not any(
        plan.editor.alive(i) and i not in plan.editor.statements and plan.parse.words[i].isalnum() for i in tokens
    )


def _says_much_else(plan: EditPlan, sentence: int) -> str:
    """The reason why a long sentence cannot be replaced by a statement of its objects, or ""."""
    first, end = plan.parse.sentences[sentence]
    long = bool(plan.restate.get(sentence)) and end - first > _LONG_SENTENCE
    return "much else that it says would be lost" if long else ""


def _breaks_form(plan: EditPlan, sentence: int) -> str:
    first, end = plan.parse.sentences[sentence]
    after = plan.editor.preview(sentence)
    left = [i for i in range(first, end) if plan.editor.alive(i)]
    restated = plan.restate.get(sentence)
    opening = [plan.parse.tags[i] for i in (*left[:1], first)]
    if opening[0:1] == ["VBG"] and opening[-1] != "VBG":
        return "it would begin with a participle"
    if len(left) <= 1 and plan.parse.words[end - 1] == ":":
        return "it announces what follows"
    if restated and len(left) > 1 and plan.parse.words[left[-1]] not in (".", "!", "?"):
        return "it would run on"
    if restated and len(left) == 1:
        return ""
    if restated and any(plan.antecedent(i) in restated for i in left):
        return "a pronoun would come before what it stands for"
    cut = any(not plan.editor.alive(i) and plan.parse.words[i] not in _SUPPORT for i in range(first, end))
    broken = final_check.breaks_clause(plan.parse, sentence, plan.editor.alive) if cut else ""
    broken = broken or (rereading.incomplete(plan, sentence, plan.affirmed) if cut else "")
    broken = broken or (several.left_alone(plan, sentence) if cut else "")
    return broken or final_check.breaks_form(plan.parse.span(first, end - 1), after)
