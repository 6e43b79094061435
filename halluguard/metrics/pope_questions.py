"""Build POPE's questions from the objects in images, or read them from a file and recognise its version.

Li et al., 2023, "Evaluating Object Hallucination in Large Vision-Language Models" (arXiv 2305.10355), main.py and
utils.py of RUCAIBox/POPE. Differences: the choice is seeded; an image for which no absent object is left is an error,
where the original loops for ever; "an apple" is written without turning "image" into "imange".
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.ground_truth import ById, ImageId, image_key
from halluguard.metrics.reading import field, read_rows, text_field

Kind = Literal["random", "popular", "adversarial"]
Label = Literal["yes", "no"]

_ASKED = re.compile(r"^Is there an? (.+?) in the ima(?:n)?ge\?", re.IGNORECASE)
# Beginning of the sha256 over "image number, object, label" of all questions, for the files at the heads of
# RUCAIBox/POPE and YanNeu/RePOPE.
_CONTENT = {"3a84c3ea41a3a1b7": "random", "09739b86fee6ee52": "popular", "151c97cab7840eba": "adversarial"}
_CORRECTED = {"d87918a29791e622": "random", "7bc1c1d0a4de7d40": "popular", "4114f89d22f331d9": "adversarial"}


@dataclass(frozen=True, slots=True)
class Question:
    """One yes/no question.

    Args:
        question_id: id in the file, or a number from 1.
        image: file name or id of the image.
        text: the question itself.
        label: the right answer.
    """

    question_id: str
    image: str
    text: str
    label: Label

    @property
    def object(self) -> str | None:
        """The object in the question; None if the question does not have POPE's form."""
        match = _ASKED.match(self.text)
        return match[1] if match else None

    def to_dict(self) -> dict[str, int | str]:
        """The question as a row of an official file."""
        number = int(self.question_id) if self.question_id.isdecimal() else self.question_id
        return {"question_id": number, "image": self.image, "text": self.text, "label": self.label}


def ask(name: str, template: str = "Is there a {} in the image?") -> str:
    """The question about an object, with "an" before the letters a, e, i, o, u, however they are pronounced.

    >>> ask("umbrella"), ask("skis")
    ('Is there an umbrella in the image?', 'Is there a skis in the image?')
    """
    return (template.replace(" a {}", " an {}") if name[:1] in "aeiou" else template).format(name)


def _checked(objects: ById[Sequence[str]], per_image: int) -> dict[ImageId, list[str]]:
    """The images with at least `per_image` objects."""
    kept: dict[ImageId, list[str]] = {}
    for image, names in objects.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise InputError(f"objects of image {image!r} must be a list of names, got {names!r}; convert them")
        if len(set(names)) != len(list(names)):
            raise InputError(f"objects of image {image!r} must differ, got {list(names)}; keep each once")
        if len(names) >= per_image:
            kept[image] = list(names)
    return kept


def _negative_lists(sampled: Mapping[ImageId, list[str]], kind: Kind) -> tuple[list[str], dict[str, list[str]]]:
    """All objects by falling frequency, and object -> the objects seen together with it, by falling frequency.

    Objects of equal frequency stay in the order of their first images. For the kind "random" the order does not matter.
    """
    frequency = Counter(name for names in sampled.values() for name in names)
    together: dict[str, Counter[str]] = {name: Counter() for name in frequency}
    if kind == "adversarial":
        for names in sampled.values():
            for name in names:
                together[name].update(other for other in names if other != name)
    ranked = {name: [other for other, _ in counts.most_common()] for name, counts in together.items()}
    return [name for name, _ in frequency.most_common()], ranked


def build_questions(
    objects: ById[Sequence[str]],
    kind: Kind,
    seed: int = 0,
    *,
    images: int | None = None,
    per_image: int = 3,
    template: str = "Is there a {} in the image?",
) -> list[Question]:
    """Build questions that alternate between objects in the image and objects that are not in it.

    The first `per_image` objects of each image are asked about, each followed by an absent object: one drawn at random
    from all objects ("random"), the most frequent one over the images ("popular"), or the one most often seen together
    with the present object ("adversarial"). No object is asked about twice. When no companion is left, the choice is
    random, as in the original.

    Args:
        objects: image -> names of its objects, in the order in which they are asked about. Images with fewer than
            `per_image` objects are left out.
        kind: choice of absent objects: "random", "popular" or "adversarial".
        seed: seed of the sample of images and of the random choices.
        images: number of images to sample; by default all, in their order.
        per_image: number of present objects per image.
        template: the question, with {} for the object.

    Returns:
        2 * per_image questions per image, labels yes, no, yes, no, ...; ids from 1.

    Raises:
        SettingsError: unknown kind, or `images` is larger than the number of images with enough objects.
        InputError: the objects are not lists of different names, or an image has no absent object left.
    """
    if kind not in get_args(Kind):
        raise SettingsError(f"kind must be one of {get_args(Kind)}, got {kind!r}; choose one")
    if per_image < 1:
        raise SettingsError(f"per_image must be at least 1, got {per_image}; raise it")
    usable = _checked(objects, per_image)
    count = len(usable) if images is None else images
    if not 1 <= count <= len(usable):
        raise SettingsError(
            f"{count} images were requested, but {len(usable)} of {len(objects)} have {per_image} objects or "
            "more; lower images or per_image"
        )
    rng = random.Random(seed)
    chosen = list(usable) if images is None else rng.sample(list(usable), images)
    sampled = {image: usable[image] for image in chosen}
    frequent, companions = _negative_lists(sampled, kind)

    questions: list[Question] = []
    for image, names in sampled.items():
        used: set[str] = set()
        for name in names[:per_image]:
            used.add(name)
            absent = [other for other in frequent if other not in used and other not in names]
            if not absent:
                raise InputError(
                    f"no object that is absent from image {image!r} is left for a question; use more images"
                )
            companion = next((other for other in companions[name] if other in absent), None)
            if kind == "popular":
                negative = absent[0]
            elif kind == "adversarial" and companion is not None:
                negative = companion
            else:
                negative = rng.choice(absent)
            used.add(negative)
            number = len(questions) + 1
            questions.append(Question(str(number), str(image), ask(name, template), "yes"))
            questions.append(Question(str(number + 1), str(image), ask(negative, template), "no"))
    return questions


def read_questions(path: str | Path) -> list[Question]:
    """Read a question file: JSON lines with question_id, image, text, label.

    Raises:
        InputError: see `reading.read_rows`; or a field is missing, a label is not yes or no, or an id comes twice.
    """
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, row in read_rows(path):
        label = yes_or_no(text_field(path, number, row, "label"), f"{path}, line {number}")
        key = question_key(field(path, number, row, "question_id"), f"{path}, line {number}")
        if key in seen:
            raise InputError(
                f"{path}, line {number}: question_id {key} was already used on line {seen[key]}; "
                "give each question its own id"
            )
        seen[key] = number
        image = field(path, number, row, "image")
        image_key(image)  # raises for a value that is not an id
        text = text_field(path, number, row, "text", "question")
        questions.append(Question(key, str(image), text, label))
    return questions


def yes_or_no(label: str, place: str) -> Label:
    """The right answer "yes" or "no", read in any case. `place` is its position, for errors."""
    word = label.strip().lower()
    if word not in ("yes", "no"):
        raise InputError(f"{place}: label must be yes or no, got {label!r}; correct it")
    return cast(Label, word)


def question_key(question_id: object, place: str) -> str:
    """The canonical form of a question id: 12 and "12" are the same. `place` is its position, for errors."""
    if isinstance(question_id, bool) or not isinstance(question_id, (int, str)) or str(question_id).strip() == "":
        raise InputError(f"{place}: question_id must be a number or a name, got {question_id!r}; correct it")
    return str(question_id).strip()


def file_version(questions: Iterable[Question]) -> str:
    """Recognise the published COCO files of questions by their content.

    Three versions circulate: the head of RUCAIBox/POPE, 3 x 3000 questions; VCD's, the same but with "imange" left in
    57 adversarial questions; and the older one of OPERA, VISTA and LLaVA, with 2910 random questions and "imange".

    Returns:
        "coco-random", "coco-popular" or "coco-adversarial" for the head; the same with "-vcd" or "-old" at the end for
        the other versions; "coco-repope-random" and so on for RePOPE's corrected files; "custom" for any other file.
    """
    listed = list(questions)
    digest = hashlib.sha256()
    for q in listed:
        digest.update(f"{image_key(q.image)},{q.object},{q.label}\n".encode(errors="surrogatepass"))
    misspelt = sum("imange" in q.text for q in listed)
    content = digest.hexdigest()[:16]
    if content in _CORRECTED:
        return f"coco-repope-{_CORRECTED[content]}"
    kind = _CONTENT.get(content)
    if kind is None:
        old = len(listed) == 2910 and misspelt > 0 and all(q.image.startswith("COCO_val2014") for q in listed)
        return "coco-random-old" if old else "custom"
    if misspelt == 0:
        return f"coco-{kind}"
    return f"coco-{kind}-{'vcd' if kind == 'adversarial' and misspelt == 57 else 'old'}"
