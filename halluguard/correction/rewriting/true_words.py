"""Find words of a sentence that tell of what is there, and that an edit would delete with what is false.

Two cats lie on a red couch.         without the cats, nothing tells of the red couch
The sun casts long shadows.          without the shadows, nothing tells of the sun
The scene is calm, with a dog.       "calm" is said of the scene
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from halluguard.correction.rewriting.about_false import IMAGE, MODIFIERS, WHERE, AboutFalse
from halluguard.vocabulary import identity, parents

if TYPE_CHECKING:
    from halluguard.correction.rewriting.edit_plan import EditPlan

_CONTENT = ("NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS", "CD", "VB", "VBD", "VBG", "VBN", "VBP", "VBZ")
_ANYTHING = frozenset(
    """
    item items object objects thing things element elements everyone someone anyone everything something anything
    """.split()
)
"""Nouns that name nothing without what they announce: "several items: two cups"."""
_EMPTY = frozenset(
    """
    be is are was were been being 's have has had do does did appear appears seem seems look looks include includes
    including contain contains feature features featuring show shows showing shown depict depicts depicting depicted see
    seen visible present captured captures capture add adds adding make makes making give gives giving suggest suggests
    suggesting indicate indicates indicating
    """.split()
)
"""Verbs that say nothing without their object."""
_NO_ATTRIBUTES = frozenset(
    """
    such other many several various few more most less same own only different numerous multiple certain possible likely
    sure clear hard difficult impossible able first second third one last former latter main visible
    """.split()
)
"""Adjectives that describe nothing."""
_DESCRIBING = (*MODIFIERS, "acl", "relcl", "prep", "pobj", "dobj", "advmod", "conj")


class TrueWords:
    """The words of one sentence that tell of what is there.

    Args:
        heads: tokens that are false.
    """

    def __init__(self, plan: EditPlan, sentence: int, heads: Collection[int]) -> None:
        self.plan, self.parse, self.sentence = plan, plan.parse, sentence
        self.about = AboutFalse(plan, sentence, heads)
        self.tokens, self.of_mention = self.about.tokens, self.about.of_mention

    def lost(self, *, attributes: bool = False) -> str:
        """The first true word that the edits of the sentence take out of the text; "" if they take none.

        Args:
            attributes: also attributes of things that other sentences name.
        """
        stated = self._stated
        for i in self.tokens:
            if self.plan.editor.alive(i) or self.parse.words[i] in stated or not self._says_something(i):
                continue
            mention = self.of_mention.get(i)
            if mention is None:
                mention = self._described(i, attributes=attributes)
            if mention is not None and (self._is_left(mention, final=attributes) or self._is_of_left(i)):
                continue
            if not self.about.is_about_false(i):
                return self.parse.words[i]
        return ""

    @cached_property
    def _stated(self) -> set[str]:
        """Words of the statements that stand for the sentence."""
        plan = self.plan
        phrases = [plan.phrases.get(n, "") for named in plan.restate.values() for n in named]
        added = [plan.editor.tokens[i] for i in self.tokens if i in plan.editor.statements]
        return {word.strip(".,*_") for phrase in (*phrases, *added) for word in phrase.lower().split()}

    def _says_something(self, token: int) -> bool:
        word = self.parse.words[token]
        if word in WHERE:
            return False
        told = self.parse.tags[token] in _CONTENT and word not in _EMPTY | _NO_ATTRIBUTES | IMAGE | _ANYTHING
        if self.parse.deps[token] == "nummod" and self._is_definite(self.parse.heads[token]):
            return False  # "between the two toilets" counts nothing new
        return told and token not in self.plan.affirmed and token not in self.plan.trimmed

    def _is_definite(self, noun: int) -> bool:
        return any(self.parse.words[j] in ("the", "these", "those", "both", "all") for j in self.parse.children[noun])

    def _is_left(self, mention: int, *, final: bool = False) -> bool:
        """Whether other prose names the same thing, or a statement does or, unless `final`, will."""
        plan, named = self.plan, self.plan.mentions[mention]
        key = identity(named.name)
        stated = {identity(plan.mentions[n].name) for listed in plan.restate.values() for n in listed}
        alive = [m for m in plan.mentions if plan.editor.alive(m.last) and m.last not in plan.false]
        again = self._is_definite(named.last) and any(named.name in parents(m.name) for m in alive)
        if again or key in stated or any(identity(m.name) == key and not plan.is_name(m.last) for m in alive):
            return True
        others = (n for n, m in enumerate(plan.mentions) if identity(m.name) == key and m.last not in self.tokens)
        return not final and any(plan.worth_keeping(n) and plan.can_be_stated(n) for n in others)

    def _described(self, token: int, *, attributes: bool) -> int | None:
        """The thing that a word only describes: any, or with `attributes` one that the text points at."""
        parse = self.parse
        if parse.tags[token] in ("NNP", "NNPS"):
            return None
        for i in (token, *parse.chain(token)):
            above = parse.heads[i]
            if parse.deps[i] not in _DESCRIBING or above == i:
                return None
            if above in self.of_mention:
                indefinite = not attributes and parse.deps[i] in MODIFIERS
                return self.of_mention[above] if indefinite or self._is_definite(above) else None
        return None

    def _is_of_left(self, token: int) -> bool:
        """Whether a slight thing only tells of another that is named elsewhere: the food of "bowls of food"."""
        governor = self.parse.heads[self.parse.heads[token]]
        mention = self.of_mention.get(governor)
        if mention is None or self.parse.deps[token] != "pobj" or token not in self.of_mention:
            return False
        return self.about.is_slight(token) and self._is_left(mention)
