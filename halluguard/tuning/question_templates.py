"""Templates of yes/no questions and answers, the same for yes and for no.

A template used with one answer only would reveal the answer. So each template serves both: {a} becomes "a dog" or
"no dog", {Yes} becomes "Yes" or "No", and the two answers have the same number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from halluguard.errors import SettingsError
from halluguard.vocabulary import article


def _read_templates() -> dict[str, tuple[str, ...]]:
    sections: dict[str, list[str]] = {}
    for line in files("halluguard.tuning").joinpath("templates.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {name: tuple(lines) for name, lines in sections.items()}


TEMPLATES = _read_templates()
"""Templates of `templates.txt` by section."""

QUESTIONS = TEMPLATES["existence questions"]
ANSWERS = TEMPLATES["existence answers"]
POPE_QUESTION = QUESTIONS[0]
SHORT_ANSWERS = ANSWERS[:1]

_PAIRS = frozenset(("scissors", "skis", "glasses", "pants", "trousers", "jeans", "shorts", "sunglasses", "binoculars"))


def noun(name: str) -> str:
    """The countable noun of a name: objects that come in pairs are counted as pairs.

    >>> noun("dog"), noun("scissors")
    ('dog', 'pair of scissors')
    """
    return f"pair of {name}" if name.rpartition(" ")[2] in _PAIRS else name


def with_article(name: str) -> str:
    """The countable noun of a name with its indefinite article.

    >>> with_article("umbrella"), with_article("unicycle"), with_article("skis")
    ('an umbrella', 'a unicycle', 'a pair of skis')
    """
    text = noun(name)
    return f"{article(text)} {text}"


def ask(template: str, name: str) -> str:
    """The question about `name`. Templates hold {a} ("a dog"), {name} ("dog") or both."""
    return template.format(a=with_article(name), name=noun(name))


def answer(template: str, name: str, yes: bool) -> str:
    """The answer about `name`. Templates also hold {Yes} or {yes}, and {a} becomes "no dog" in a denial.

    >>> answer("{Yes}, I see {a} here.", "dog", True), answer("{Yes}, I see {a} here.", "dog", False)
    ('Yes, I see a dog here.', 'No, I see no dog here.')
    >>> answer("{Yes}, {a} is visible.", "cat", False)
    'No, no cat is visible.'
    """
    word = "yes" if yes else "no"
    phrase = with_article(name) if yes else f"no {noun(name)}"
    return template.format(Yes=word.capitalize(), yes=word, a=phrase, name=noun(name))


def check_templates(questions: Sequence[str], answers: Sequence[str]) -> None:
    """Refuse templates that lose the object or the polarity.

    Raises:
        SettingsError: no template, one that cannot be filled in, a question without the object, or an answer that
        reads the same for yes and no.
    """
    for kind, templates in (("questions", questions), ("answers", answers)):
        if isinstance(templates, str) or not templates:
            raise SettingsError(f"{kind} must be a list of templates, got {templates!r}; write one as ('...',)")
    try:
        blind = [t for t in questions if ask(t, "dog") == ask(t, "cat")]
        mute = [t for t in answers if answer(t, "dog", True) == answer(t, "dog", False)]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"templates may hold {{a}}, {{name}}, {{Yes}} and {{yes}} only, got {error!r}; remove it"
        ) from error
    if blind or mute:
        raise SettingsError(
            f"a question must hold {{a}} or {{name}} and an answer {{Yes}}, {{yes}} or {{a}}, got {(blind + mute)[0]!r}"
        )
