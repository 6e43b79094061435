"""Coreference: link a pronoun to an earlier mention by number, animacy and nearness, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS, words
from halluguard.correction.text.parse import Parse

AROUND = frozenset("between among behind beside around near above below beneath under".split())
"""Prepositions of place; the subject of a clause is not behind itself."""
REACH = 2
"""Number of sentences that a pronoun reaches back."""
_ONE_PERSON = frozenset(("he", "she", "him", "her", "himself", "herself"))
_ONE_THING = frozenset(("it", "itself"))
_MANY = frozenset(("they", "them", "themselves", "these", "those"))
_OF_MANY = frozenset(
    ("one", "some", "others", "another", "other", "both", "each", "two", "three", "four", "several", "most")
)
_PARTS = words("parts") & words("not restated")
_SUBJECTS = ("nsubj", "nsubjpass")
_MAKING = frozenset("make makes making made find finds finding found".split())
_TIMES = frozenset(
    """
    day daytime night nighttime morning evening afternoon noon dusk dawn sunset sunrise spring summer autumn fall winter
    weather sunny cloudy rainy windy foggy snowy overcast dark raining snowing moment season time
    """.split()
)
_SAYING = frozenset(
    "is was 's be been seems seem seemed appears appear appeared looks look happens said believed known noted".split()
)


_ADVISED = frozenset("recommended advised suggested required expected advisable".split())


def links(parse: Parse, mentions: Sequence[Mention]) -> dict[int, int]:
    """Pronoun token -> index of the mention it stands for.

    "It" stands for the nearest earlier singular thing, "he" for a person, "they" for a plural or a list, "one ... the
    other" for a plural. Subjects come before other words, and the mention is at most two sentences back. A pronoun
    that fits no mention gets no link.
    """
    antecedents: dict[int, int] = {}
    for i, word in enumerate(parse.words):
        if i in parse.quoted or (word == "one" and i > 0 and parse.words[i - 1] == "no"):
            continue
        if _stands_for_no_mention(parse, mentions, i):
            continue
        sort = _antecedent_sort(parse, i, word)
        antecedent = nearest(parse, mentions, i, sort) if sort else None
        if antecedent is not None:
            antecedents[i] = antecedent
    return antecedents


def _stands_for_no_mention(parse: Parse, mentions: Sequence[Mention], i: int) -> bool:
    """Whether "each" stands for the noun before its comma, and that is no mention: "into sections, each numbered"."""
    after_plural = i > 1 and parse.words[i - 1] == "," and parse.tags[i - 2] == "NNS"
    counts = parse.words[i] in ("each", "both", "all") and after_plural
    return counts and not any(mention.last == i - 2 for mention in mentions)


_DEFINITE = frozenset(("the", "this", "that", "these", "those"))


def repeats(parse: Parse, mentions: Sequence[Mention]) -> dict[int, int]:
    """Mention -> the earlier mention of the same thing: "A dog ... The dog ...".

    Only a definite mention can repeat an earlier one: with the same name and number, or with another name of the same
    category ("A man ... The person ...") if only one thing of the category was named before.
    """
    first_mention: dict[int, int] = {}
    for n, mention in enumerate(mentions):
        if not any(parse.words[j] in _DEFINITE for j in parse.children[mention.last] if j < mention.last):
            continue
        before = [k for k in range(n) if mentions[k].plural == mention.plural and k not in first_mention]
        named = [k for k in before if mentions[k].name == mention.name]
        filed = [k for k in before if mention.category and mentions[k].category == mention.category]
        if named or len(filed) == 1:
            first_mention[n] = (named or filed)[-1]
    return first_mention


def _antecedent_sort(parse: Parse, i: int, word: str) -> str:
    """The sort of antecedent that the token needs: "person", "thing", "many", or "" where it is not a pronoun."""
    if word in _ONE_PERSON and parse.tags[i] in ("PRP", "PRP$"):
        return "person"
    if word in _ONE_THING and not expletive(parse, i):
        return "thing"
    if word in _MANY and parse.deps[i] not in ("det", "amod"):
        return "many"
    if word in _OF_MANY and parse.deps[i] in (*_SUBJECTS, "appos", "pobj", "conj", "dobj"):
        heads_noun = any(parse.deps[j] == "prep" and parse.words[j] == "of" for j in parse.children[i])
        heads_noun |= any(parse.words[j] == "who" for j in parse.subtree(i))  # "others who ..." are new people
        return "" if heads_noun else "many"
    return ""


def expletive(parse: Parse, i: int) -> bool:
    """ "It is likely that ...", "it is not possible to ...", "it appears that ..." stands for nothing."""
    verb = parse.heads[i]
    if _made_so(parse, i) or _time_or_weather(parse, verb):
        return True
    complement = parse.child(verb, "acomp", "attr")
    infinitives = (j for head in (verb, complement) if head is not None for j in parse.children[head])
    if complement is not None and any(
        parse.deps[j] in ("xcomp", "advcl") and parse.tags[j] == "VB" and j > complement for j in infinitives
    ):
        return True
    if parse.words[verb] in _SAYING and any(parse.deps[j] in ("ccomp", "csubj") for j in parse.children[verb]):
        return True
    if parse.words[verb] in _ADVISED and parse.child(verb, "xcomp", "ccomp", "csubj") is not None:
        return True  # "It is recommended to have this checked."
    clause = parse.child(verb, "ccomp", "advcl")
    begins = (
        clause is not None and parse.child(clause, "mark") is not None
    )  # "it seems as if", not "it seems so, lying"
    return parse.words[verb] in ("appears", "seems") and (begins or parse.child(verb, "ccomp") is not None)


def _time_or_weather(parse: Parse, verb: int) -> bool:
    """ "It is a sunny day", "it seems like late autumn"."""
    like = next((j for j in parse.children[verb] if parse.words[j] == "like"), verb)
    said = parse.child(like, "pobj") if like != verb else parse.child(verb, "attr", "acomp")
    return said is not None and parse.words[said] in _TIMES and parse.words[verb] in _SAYING


def _made_so(parse: Parse, i: int) -> bool:
    """ "which makes it difficult to count"."""
    end = parse.sentences[parse.sentence[i]][1]
    adjective = next((j for j in range(i + 1, end) if parse.tags[j] != "RB"), i)
    makes = i > 0 and parse.words[i - 1] in _MAKING and parse.tags[adjective][:2] == "JJ"
    return makes and adjective + 1 < end and parse.words[adjective + 1] in ("to", "for", "that")


def nearest(parse: Parse, mentions: Sequence[Mention], pronoun: int, sort: str) -> int | None:
    """The mention that a pronoun of a sort ("person", "thing", "many") most likely stands for."""
    here = parse.sentence[pronoun]
    before = [(n, m) for n, m in enumerate(mentions) if m.last < pronoun and here - parse.sentence[m.last] <= REACH]
    above = set(parse.chain(pronoun))
    bearer = _bearer(parse, pronoun)
    borne = next((n for n, m in before if m.last == bearer and _fits(m, sort)), None)
    if borne is not None:
        return borne
    fitting = [(n, m) for n, m in before if _fits(m, sort) and not _holds(parse, m.last, pronoun, above)]
    if parse.tags[pronoun] == "PRP$":  # "its head ... its eyes": neither owns the other
        owned = {m.last for _, m in fitting if any(parse.tags[j] == "PRP$" for j in parse.children[m.last])}
        fitting = [(n, m) for n, m in fitting if m.last not in owned]
    # The nearest sentence first; in it, a subject before anything else, then the first one named.
    for sentence in range(here, here - REACH - 1, -1):
        local = [(n, m) for n, m in fitting if parse.sentence[m.last] == sentence]
        if local:
            subjects = [n for n, m in local if parse.deps[m.last] in _SUBJECTS]
            shown = [n for n, m in local if parse.deps[m.last] in ("attr", "dobj")]
            antecedent = (subjects or shown or [local[0][0]])[0]
            noun = mentions[antecedent].last
            owns = parse.tags[pronoun] == "PRP$" or parse.words[noun] in _PARTS
            owner = parse.child(noun, "poss") if owns else None
            return next((n for n, m in local if m.last == owner), antecedent)  # "the cat's head ... its eyes"
    return None


def _bearer(parse: Parse, pronoun: int) -> int | None:
    """The noun that something is on or in: the wall of "a wall with a sign on it", the door that "has a sign on it"."""
    preposition = parse.heads[pronoun]
    if parse.deps[pronoun] != "pobj" or parse.words[preposition] not in ("on", "in", "inside", "around", "over"):
        return None
    thing = parse.heads[preposition]
    governor = parse.heads[thing] if parse.tags[thing] in NOUN_TAGS else thing
    if parse.words[governor] == "with" and parse.tags[parse.heads[governor]] in NOUN_TAGS:
        return parse.heads[governor]
    if parse.words[governor] not in ("has", "have", "had", "having"):
        return None
    subject = parse.child(governor, "nsubj")
    relative = subject is not None and parse.tags[subject] in ("WDT", "WP") and parse.deps[governor] == "relcl"
    return parse.heads[governor] if relative else subject


def _holds(parse: Parse, noun: int, pronoun: int, above: set[int]) -> bool:
    """Whether the pronoun stands inside the phrase of the noun: "the arrows between them" are not between arrows."""
    if parse.words[parse.heads[pronoun]] in AROUND:
        verb = next((i for i in parse.chain(pronoun) if parse.tags[i] in VERB_TAGS), -1)
        if parse.heads[noun] == verb and parse.deps[noun] in _SUBJECTS:
            return True  # "Two cups stand between them": not between the cups
    if noun not in above or parse.deps[parse.heads[pronoun]] != "prep":
        return False
    governor = parse.heads[parse.heads[pronoun]]
    return governor == noun or (parse.deps[governor] == "acl" and parse.heads[governor] == noun)


def _fits(mention: Mention, sort: str) -> bool:
    person = mention.category == "person"
    if sort == "person":
        return person and not mention.plural
    if sort == "thing":
        return not person and not mention.plural and mention.rule != "stuff"
    return mention.plural
