"""How questions and answers are worded: many ways, and the same ways for yes and for no.

A template that went with one answer only would give the answer away. So one template serves both: {a} becomes "a dog"
or "no dog", {Yes} becomes "Yes" or "No", and yes and no have the same number of words.
"""

from __future__ import annotations

from collections.abc import Sequence

from halluguard.errors import SettingsError
from halluguard.vocabulary import article

POPE_QUESTION = "Is there {a} in the image?"

QUESTIONS = (
    POPE_QUESTION,
    "Is there {a} in the picture?",
    "Is there {a} in this photo?",
    "Is there {a} anywhere in the scene?",
    "Do you see {a} in the image?",
    "Can you see {a} in this picture?",
    "Can {a} be seen in the image?",
    "Is {a} visible in the image?",
    "Is {a} visible anywhere in this photo?",
    "Does the image show {a}?",
    "Does the picture contain {a}?",
    "Does this photo include {a}?",
    "Does {a} appear in the image?",
    "Is {a} present in the scene?",
    "Does this scene have {a} in it?",
    "Tell me whether there is {a} in the image.",
    "Say whether the picture shows {a}.",
    "Check whether {a} can be seen in this photo.",
    "I am looking for {a}. Is one in the image?",
    "Please look for {a} in the picture. Is one there?",
)

SHORT_ANSWERS = ("{Yes}.",)

ANSWERS = (
    "{Yes}.",
    "{Yes}, there is {a} in the image.",
    "{Yes}, there is {a} in the picture.",
    "{Yes}, there is {a} in this photo.",
    "{Yes}, there is {a}.",
    "{Yes}, there is {a} in this scene.",
    "{Yes}, the image shows {a}.",
    "{Yes}, the picture shows {a}.",
    "{Yes}, the photo contains {a}.",
    "{Yes}, the image contains {a}.",
    "{Yes}, the scene includes {a}.",
    "{Yes}, this picture has {a} in it.",
    "{Yes}, I can see {a}.",
    "{Yes}, I see {a} in the image.",
    "{Yes}, I see {a} here.",
    "{Yes}, one can see {a} in the photo.",
    "{Yes}, {a} can be seen in the image.",
    "{Yes}, {a} is visible.",
    "{Yes}, {a} is visible in the picture.",
    "{Yes}, {a} appears in the image.",
    "{Yes}, {a} is present.",
    "{Yes}, {a} is shown here.",
    "{Yes}, looking at the image, there is {a}.",
    "The answer is {yes}: there is {a} in the image.",
)

_PAIRS = frozenset(("scissors", "skis", "glasses", "pants", "trousers", "jeans", "shorts", "sunglasses", "binoculars"))


def noun(name: str) -> str:
    """What follows "a", "no" and "the": things that come in pairs are counted as pairs.

    >>> noun("dog"), noun("scissors")
    ('dog', 'pair of scissors')
    """
    return f"pair of {name}" if name.rpartition(" ")[2] in _PAIRS else name


def with_article(name: str) -> str:
    """>>> with_article("umbrella"), with_article("unicycle"), with_article("skis")
    ('an umbrella', 'a unicycle', 'a pair of skis')
    """
    text = noun(name)
    return f"{article(text)} {text}"


def ask(template: str, name: str) -> str:
    """The question about `name`. Templates hold {a} ("a dog"), {name} ("dog") or both."""
    return template.format(a=with_article(name), name=noun(name))


def answer(template: str, name: str, yes: bool) -> str:
    """
    >>> answer("{Yes}, I see {a} here.", "dog", True), answer("{Yes}, I see {a} here.", "dog", False)
    ('Yes, I see a dog here.', 'No, I see no dog here.')
    >>> answer("{Yes}, {a} is visible.", "cat", False)
    'No, no cat is visible.'
    """
    word = "yes" if yes else "no"
    thing = with_article(name) if yes else f"no {noun(name)}"
    return template.format(Yes=word.capitalize(), yes=word, a=thing, name=noun(name))


def check_templates(questions: Sequence[str], answers: Sequence[str]) -> None:
    """Refuse templates that lose the object or the polarity.

    Raises:
        SettingsError: none given, one that cannot be filled in, a question without the object, an answer that reads
        the same for yes and no.
    """
    for kind, templates in (("questions", questions), ("answers", answers)):
        if isinstance(templates, str) or not templates:
            raise SettingsError(f"{kind} must be a list of templates, got {templates!r}; write one as ('...',)")
    try:
        blind = [t for t in questions if ask(t, "dog") == ask(t, "cat")]
        mute = [t for t in answers if answer(t, "dog", True) == answer(t, "dog", False)]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise SettingsError(f"templates may hold {{a}}, {{name}}, {{Yes}} and {{yes}} only, got {error!r}") from error
    if blind or mute:
        raise SettingsError(
            f"a question must hold {{a}} or {{name}} and an answer {{Yes}}, {{yes}} or {{a}}, got {(blind + mute)[0]!r}"
        )
