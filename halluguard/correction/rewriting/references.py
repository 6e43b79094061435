"""Find pronouns that would refer to nothing after a cut.

A man waits. His dog sleeps.      without the first sentence, "his" has no owner
It shows a cake. This is sweet.   without the first sentence, "this" refers to nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from halluguard.correction.claims import coreference, counts
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import parents, singular

if TYPE_CHECKING:
    from halluguard.correction.claims.mentions import Mention
    from halluguard.correction.rewriting.edit_plan import EditPlan

_OF_ONE_PERSON = frozenset(("his", "her", "hers"))
_OF_A_PERSON = frozenset("he him his himself she her hers herself".split())
_OF_ONE_THING = frozenset(("its",))
_OF_MANY = frozenset(("their", "theirs"))
_OF_PEOPLE = frozenset(("they", "them", "their", "theirs", "themselves"))
_OWNING = {"it": ("its",), "they": ("their",), "he": ("his",), "she": ("her",)}
"""Subject -> its possessives."""
_POINTING = frozenset("this that these those such".split())
_POINTS_BACK = frozenset("both neither each other others another former latter second".split())
_OF_A_GROUP = frozenset("some most several one many few all none".split())
_CONCLUDING = frozenset("therefore thus hence consequently accordingly".split())
_IN_SUBJECT = 5
"""Number of tokens after the first of a sentence that still belong to its opening: "The shape of these stacks"."""
_WHOLE = frozenset(
    """
    image picture photo photograph scene illustration painting drawing artwork screenshot composition setting scenario
    arrangement display environment atmosphere moment
    """.split()
)
"""Nouns for all that is seen: "this display" points at no single sentence."""


def dangling(plan: EditPlan) -> Iterator[tuple[int, int]]:
    """Pairs of a token that would refer to nothing, and the sentence that holds its antecedent."""
    parse = plan.parse

    def gone(token: int) -> bool:
        return not plan.editor.alive(token) or token in plan.editor.statements

    answers = {parse.sentence[token] for token in plan.kept}
    stated = {plan.mentions[n].name for named in plan.restate.values() for n in named}
    for token in range(len(parse)):
        if gone(token) or parse.sentence[token] in answers:
            continue
        if _continues(parse, token, gone) or _of_its_subject(parse, token, gone):
            continue
        if _goes_on_from_gone(parse, token, gone):
            yield token, parse.sentence[token] - 1
            continue
        antecedent = plan.antecedent(token)
        if antecedent is not None and not is_sure(parse, token, plan.mentions[antecedent].last):
            continue
        if antecedent is None:
            antecedent = _far_antecedent(plan, token, gone)
        if antecedent is not None:
            lost = gone(plan.mentions[antecedent].last) and not _sibling_left(plan, antecedent, gone)
            named = not _told_before(plan, antecedent, token, gone)
            if lost and not (named and _still_named(plan, antecedent, token, gone, stated)):
                yield token, parse.sentence[plan.mentions[antecedent].last]
        elif (before := _pointed_at(parse, token, gone)) is not None and all(map(gone, _words(parse, before))):
            yield token, before


def outnumbered(plan: EditPlan) -> Iterator[tuple[int, int]]:
    """Pairs of a word for several and the sentence before it, whose list lost members: "A dog is here. Both ..."."""
    parse, alive = plan.parse, plan.editor.alive
    for token, word in enumerate(parse.words):
        before = parse.sentence[token] - 1
        if word == "both" and _of_two_before(plan, token):
            yield token, parse.sentence[token]
        if before < 0 or not alive(token) or parse.words[parse.sentences[before][0]] == word:
            continue  # "They wear coats. They face away.": the same
        number = number_of_known(parse, token)
        pronoun = word in _OF_SEVERAL and number is None and _stands_alone(plan, token)
        if number is None and not pronoun:
            continue
        nearer = (m for m in plan.mentions if parse.sentence[m.last] > before and m.last < token)
        if any(m.plural or m.category == "person" for m in nearer):
            continue
        lists = [listed for listed in _lists(plan, before) if not all(map(alive, listed))]
        if number is not None:
            lists = [listed for listed in lists if _is_kind_of(parse, parse.heads[token], listed)]
        left = [[m for m in listed if alive(m)] for listed in lists if number in (None, len(listed))]
        one_left = any(len(members) == 1 and parse.tags[members[0]] in ("NN", "NNP") for members in left)
        if one_left or (number is not None and any(left)):
            yield token, before


def _of_two_before(plan: EditPlan, token: int) -> bool:
    """Whether "both" stands for the two things that its sentence names before, and they are not both left."""
    parse, alive = plan.parse, plan.editor.alive
    first = parse.sentences[parse.sentence[token]][0]
    if not alive(token) or parse.deps[token] not in ("nsubj", "nsubjpass"):
        return False
    named = [m.last for n, m in enumerate(plan.mentions) if first <= m.last < token and not m.part and plan.whole[n]]
    return len(named) == 2 and not all(map(alive, named))


def _stands_alone(plan: EditPlan, token: int) -> bool:
    """Whether a word for several is a pronoun that stands for a list."""
    parse = plan.parse
    linked = token in plan.links and not _is_accessory(parse, plan.mentions[plan.links[token]].last)
    return parse.deps[token] not in ("det", "preconj", "predet", "cc", "amod") and not linked


def number_of_known(parse: Parse, token: int) -> int | None:
    """How many known things a word counts: 2 of "both animals", 3 of "the three animals"; None where it does not."""
    noun = parse.heads[token]
    if noun <= token or parse.tags[noun] != "NNS" or parse.sentences[parse.sentence[token]][0] + 1 < token:
        return None
    if parse.words[token] == "both" and parse.deps[token] in ("det", "predet"):
        return 2
    known = any(parse.words[j] in ("the", "these", "those") for j in parse.children[noun] if j < token)
    return counts.number([parse.words[token]]) if known and parse.deps[token] == "nummod" else None


def _is_kind_of(parse: Parse, noun: int, listed: Sequence[int]) -> bool:
    """Whether a plural names the kind of all that is listed: "animals" of a cat and a dog, "items"."""
    kind = singular(parse.words[noun])
    return kind in _ANY_KIND or all(kind in parents(singular(parse.words[i])) for i in listed)


def _lists(plan: EditPlan, sentence: int) -> set[tuple[int, ...]]:
    """The lists of things of a sentence, and the subjects of its clauses, with at least two members."""
    parse, (first, end) = plan.parse, plan.parse.sentences[sentence]
    named = [n for n, m in enumerate(plan.mentions) if first <= m.last < end and plan.stands_alone(n)]
    lists = {tuple(parse.conjuncts(plan.mentions[n].last)) for n in named}
    lists.add(tuple(i for i in range(first, end) if parse.deps[i] == "nsubj" and _is_own_clause(parse, i)))
    return {listed for listed in lists if len(listed) > 1}


def _is_accessory(parse: Parse, noun: int) -> bool:
    """Whether a noun only belongs to another thing: the quills of "white with brown quills"."""
    return parse.deps[noun] == "pobj" and parse.words[parse.heads[noun]] == "with"


def _is_own_clause(parse: Parse, subject: int) -> bool:
    """Whether a noun is the subject of a main clause or of one joined to it."""
    verb = parse.heads[subject]
    return parse.tags[subject] in ("NN", "NNP") and parse.deps[verb] in ("ROOT", "conj")


_ANY_KIND = frozenset("object item thing element figure subject pet companion friend".split())
_OF_SEVERAL = frozenset("both each neither they them their theirs themselves".split())


def unintroduced(plan: EditPlan) -> Iterator[tuple[int, int]]:
    """Pairs of a noun that was not found but stays, and the deleted sentence that introduced it."""
    parse = plan.parse
    for n, mention in enumerate(plan.mentions):
        if plan.decision.get(n) != "contradicted" or not plan.editor.alive(mention.last):
            continue
        noun = mention.name.split()[-1]  # "the chairs" after "a row of office chairs"
        before = [m for m in plan.mentions[:n] if m.name.split()[-1] == noun and m.last < mention.last]
        definite = any(parse.words[j] in ("the", "this", "these") for j in parse.children[mention.last])
        if definite and before and not any(plan.editor.alive(m.last) for m in before):
            yield mention.last, parse.sentence[before[-1].last]


def is_sure(parse: Parse, pronoun: int, antecedent: int) -> bool:
    """Whether no other noun stands nearer: in "I ignore the context because it is wrong", "it" may be the context."""
    first = parse.sentences[parse.sentence[pronoun]][0]
    many = parse.tags[antecedent] == "NNS"
    fitting = ("NNS", "NNPS") if many else ("NN", "NNP")
    owner = parse.tags[pronoun] == "PRP$"
    if parse.words[parse.heads[pronoun]] in coreference.AROUND:
        return True  # the subject is not between itself
    if parse.words[pronoun] in _OF_A_PERSON:
        return True  # no thing is a "he"
    above = set(parse.chain(pronoun))  # "the arrows between them" are not between arrows

    def fits(i: int) -> bool:
        central = owner or parse.deps[i] in ("nsubj", "nsubjpass", "dobj", "attr")
        return central and parse.tags[i] in fitting and i not in above

    return antecedent >= first or not any(map(fits, range(first, pronoun)))


def _continues(parse: Parse, token: int, gone: Callable[[int], bool]) -> bool:
    """Whether the previous sentence opens with the same word, which then has the same antecedent."""
    before = _same_opening(parse, token)
    return before is not None and not gone(before)


def _same_opening(parse: Parse, token: int) -> int | None:
    """The first token of the previous sentence, if the token opens its own sentence with the same word."""
    sentence = parse.sentence[token]
    if sentence == 0 or parse.sentences[sentence][0] != token:
        return None
    before = parse.sentences[sentence - 1][0]
    return before if parse.words[before] == parse.words[token] else None


def _of_its_subject(parse: Parse, token: int, gone: Callable[[int], bool]) -> bool:
    """Whether a possessive goes with the pronoun that is the subject of its sentence: "It has a star on its side."."""
    subject = parse.sentences[parse.sentence[token]][0]
    fits = parse.words[token] in _OWNING.get(parse.words[subject], ())
    return fits and parse.tags[token] == "PRP$" and not gone(subject)


def _far_antecedent(plan: EditPlan, token: int, gone: Callable[[int], bool]) -> int | None:
    """The antecedent of a pronoun whose possible antecedents are all deleted: the last of them."""
    word = plan.parse.words[token]
    if word not in _OF_PEOPLE | _OF_A_PERSON or plan.parse.tags[token] not in ("PRP", "PRP$"):
        return None
    named = [(n, m) for n, m in enumerate(plan.mentions) if m.last < token]
    if word in _OF_A_PERSON:
        people = [n for n, m in named if _is_person(m)]
        return people[-1] if people and all(gone(plan.mentions[n].last) for n in people) else None
    if any(m.category == "person" and not gone(m.last) for _, m in named):
        return None  # "They are wearing a coat" of one person
    before = [n for n, m in named if m.plural]
    return before[-1] if before and all(gone(plan.mentions[n].last) for n in before) else None


def _sibling_left(plan: EditPlan, antecedent: int, gone: Callable[[int], bool]) -> bool:
    """Whether another plural of the antecedent's list is left: the drinks of "cocktails and drinks"."""
    lost = plan.mentions[antecedent]
    listed = plan.parse.conjuncts(lost.last)
    return any(m.last in listed and m.plural and lost.plural and not gone(m.last) for m in plan.mentions)


def _goes_on_from_gone(parse: Parse, token: int, gone: Callable[[int], bool]) -> bool:
    """Whether a sentence opens with the same possessive as the deleted one before: "Its leg ... Its tail ..."."""
    opens = parse.tags[token] == "PRP$" and _same_opening(parse, token) is not None
    return opens and all(map(gone, _words(parse, parse.sentence[token] - 1)))


def _told_before(plan: EditPlan, antecedent: int, token: int, gone: Callable[[int], bool]) -> bool:
    """Whether "Its" opens a sentence and stands for the subject of the deleted sentence before."""
    parse, noun = plan.parse, plan.mentions[antecedent].last
    before = parse.sentence[token] - 1
    opens = parse.sentences[before + 1][0] == token and parse.words[token] in _OF_ONE_THING
    subject = parse.deps[noun] in ("nsubj", "nsubjpass") and parse.sentence[noun] == before
    named = any(m.name == plan.mentions[antecedent].name and not gone(m.last) for m in plan.mentions if m.last < token)
    return opens and subject and not named and all(map(gone, _words(parse, before)))


def _still_named(plan: EditPlan, antecedent: int, token: int, gone: Callable[[int], bool], stated: set[str]) -> bool:
    """Whether the text still names the antecedent shortly before the token."""
    parse, lost = plan.parse, plan.mentions[antecedent]
    if lost.name in stated:
        return True
    here = parse.sentence[token]
    people = parse.words[token] in _OF_PEOPLE
    elsewhere = parse.sentence[lost.last] < here

    def is_near(n: int, m: Mention) -> bool:
        there = n in plan.decision or n in plan.wrongly_denied  # "no dog" is nothing that "it" could be
        left = there and m.last < token and not gone(m.last)
        return left and _sentences_left(parse, parse.sentence[m.last], here, gone) <= coreference.REACH

    def is_alike(m: Mention) -> bool:
        alike = m.plural == lost.plural and m.rule != "stuff" and _is_person(m) == _is_person(lost)
        return alike and elsewhere and parse.sentence[m.last] < here

    near = [m for n, m in enumerate(plan.mentions) if is_near(n, m)]
    return any(m.name == lost.name or (people and _is_person(m)) or is_alike(m) for m in near)


def _sentences_left(parse: Parse, start: int, end: int, gone: Callable[[int], bool]) -> int:
    """Number of sentences between two sentences, without the deleted ones."""
    return sum(not all(map(gone, range(*parse.sentences[n]))) for n in range(start, end))


def _is_person(mention: Mention) -> bool:
    return mention.category == "person"


def owner(parse: Parse, mentions: Sequence[Mention], token: int) -> int | None:
    """The mention that a possessive stands for."""
    word = parse.words[token]
    if parse.tags[token] != "PRP$":
        return None
    for sort, forms in (("person", _OF_ONE_PERSON), ("thing", _OF_ONE_THING), ("many", _OF_MANY)):
        if word in forms:
            near = coreference.nearest(parse, mentions, token, sort)
            return _people_before(mentions, token) if near is None and sort == "many" else near
    return None


def _people_before(mentions: Sequence[Mention], token: int) -> int | None:
    """The last people named before a token, however far."""
    people = [n for n, m in enumerate(mentions) if m.last < token and m.plural and m.category == "person"]
    return people[-1] if people else None


def _pointed_at(parse: Parse, token: int, gone: Callable[[int], bool]) -> int | None:
    """The sentence that a word at the opening of another points back at: "This shows", "Both are", "Below these"."""
    sentence = parse.sentence[token]
    first = parse.sentences[sentence][0]
    after_adverb = parse.tags[token] == "PRP" and parse.deps[token] in ("nsubj", "nsubjpass") and token <= first + 2
    word = parse.words[token]
    in_subject = word in ("these", "those") and parse.tags[token] == "DT" and token <= first + _IN_SUBJECT
    in_subject = in_subject and "addition" not in parse.words[first:token]  # "In addition to these elements"
    after_place = token == first + 1 and parse.tags[first] == "IN" and word in ("these", "those")
    if sentence == 0 or not (token == first or after_adverb or after_place or in_subject):
        return None
    if number_of_known(parse, token) is not None:
        return None  # "Both surfers": see `outnumbered`
    following = parse.words[token + 1] if token + 1 < len(parse) else ""
    noun = (
        parse.words[parse.heads[token]]
        if parse.tags[token] == "DT" and word in _POINTING | {"another"} and parse.heads[token] > token
        else ""
    )
    if noun in _WHOLE:
        return None
    named = [i for i in range(token) if parse.words[i] == noun]
    if noun and (word == "another" or any(not gone(i) for i in named)):
        return None  # "This meal" after "a meal", "another bag"
    if noun and named:
        return parse.sentence[named[-1]]
    if word in _OF_A_GROUP and token == first and parse.deps[token] in ("nsubj", "nsubjpass"):
        of_them = parse.words[token + 1 : token + 2] == ["of"]  # "Some of the plates" names the group
        return None if of_them else sentence - 1
    if word in _CONCLUDING and token == first:
        return sentence - 1
    if word in _POINTING and following not in _WHOLE:
        return sentence - 1
    if word == "the" and following in _POINTS_BACK:
        return sentence - 1
    alone = parse.tags[token] == "PRP" and not coreference.expletive(parse, token)
    return sentence - 1 if word in _POINTS_BACK or (alone and word not in ("i", "we", "you")) else None


def _words(parse: Parse, sentence: int) -> list[int]:
    return [i for i in range(*parse.sentences[sentence]) if parse.words[i][:1].isalnum()]
