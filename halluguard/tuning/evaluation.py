"""Evaluate on held-out images while training, and warn when a number improves for the wrong reason.

A model can hallucinate less because it says "no" more often, or because it says less. Accuracy and CHAIR are therefore
reported together with the yes-ratio, the AUC (which a lean towards yes or no does not move), recall, the length of
captions, and questions that have nothing to do with hallucination. A value
that moves from the start by more than its limit raises an alarm.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import torch
from PIL.Image import Image
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from halluguard.errors import InputError
from halluguard.metrics import chair, pope
from halluguard.records import DEFAULT_PROMPT

SPLITS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")

T = TypeVar("T")
Values: TypeAlias = dict[str, float]


class Answering(Protocol):
    """A model that answers: `halluguard.Guard` around the very model that is trained."""

    model: PreTrainedModel

    def drafts(self, images: Sequence[Image], prompts: Sequence[str], *, max_new_tokens: int) -> list[str]: ...

    def margins(self, images: Sequence[Image], questions: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True)
class HeldOut:
    """Images that no training row shows.

    Args:
        images: PIL images.
        objects: for each image, the names of all its objects, in CHAIR's vocabulary.
        retention: (image, question, answer) triples that training should not change; a reply is right if it begins with
            the answer.
        prompt: prompt of the captions.
        seed: seed of POPE's questions.

    Raises:
        InputError: no images, or not one collection of objects for each.
    """

    images: Sequence[Image]
    objects: Sequence[Collection[str]]
    retention: Sequence[tuple[Image, str, str]] = ()
    prompt: str = DEFAULT_PROMPT
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.objects):
            raise InputError(
                f"expected images and the objects of each, got {len(self.images)} images and {len(self.objects)} "
                "collections of objects; give one collection per image"
            )


@dataclass(frozen=True)
class Limits:
    """Largest changes of a value since the start of the training, above which an alarm is raised.

    Args:
        yes_ratio: yes-ratio of POPE, up or down, as a fraction.
        recall: recall of POPE, and of objects in captions, down, as a fraction.
        length: length of captions, down, as a share of the start.
        retention: retention questions answered rightly, down, as a fraction.
        chosen_logp: log-probability of the chosen answers, down, in nats per token.
    """

    yes_ratio: float = 0.03
    recall: float = 0.02
    length: float = 0.2
    retention: float = 0.02
    chosen_logp: float = 0.1


def measure(guard: Answering, held: HeldOut, *, batch_size: int = 32, max_new_tokens: int = 128) -> Values:
    """Measure POPE (means over the splits that can be asked), CHAIR, and the retention questions.

    Returns:
        pope_acc, pope_recall, pope_yes_ratio, pope_auc, chair_s, chair_i, chair_recall, length, and retention where
        there are such questions. All are fractions, except length, in words.
    """
    truth = {number: sorted(names) for number, names in enumerate(held.objects)}
    values = _pope(guard, held, truth, batch_size)
    captions: list[str] = []
    for images in _batches(held.images, batch_size):
        captions += guard.drafts(images, [held.prompt] * len(images), max_new_tokens=max_new_tokens)
    score = chair.score(list(enumerate(captions)), truth, protocol="fixed", resamples=0, ground_truth="held-out")
    values |= {"chair_s": score["CHAIRs"], "chair_i": score["CHAIRi"], "chair_recall": score["recall"]}
    values |= {"length": score["length"]}
    if held.retention:
        values["retention"] = _retention(guard, held, batch_size)
    return values


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _pope(guard: Answering, held: HeldOut, truth: Mapping[int, list[str]], batch_size: int) -> Values:
    """Means over the splits; nothing where there are too few objects to ask about."""
    rich = {number: names for number, names in truth.items() if len(names) >= 3}
    by_split = {split: pope.build_questions(rich, split, seed=held.seed) for split in (SPLITS if rich else ())}
    pairs = list(dict.fromkeys((int(q.image), q.text) for questions in by_split.values() for q in questions))
    margins: dict[tuple[int, str], float] = {}
    for batch in _batches(pairs, batch_size):
        of_batch = guard.margins([held.images[image] for image, _ in batch], [text for _, text in batch])
        margins |= zip(batch, of_batch, strict=True)
    scores = []
    for split, questions in by_split.items():
        logits = {q.question_id: margins[int(q.image), q.text] for q in questions}
        answers = {key: "Yes." if margin > 0 else "No." for key, margin in logits.items()}
        scores.append(pope.score(questions, answers, logits=logits, resamples=0, split=f"held-out-{split}"))
    names = ("acc", "recall", "yes_ratio", "auc") if scores else ()
    return {f"pope_{name}": sum(score[name] for score in scores) / len(scores) for name in names}


def _retention(guard: Answering, held: HeldOut, batch_size: int) -> float:
    right = 0
    for batch in _batches(held.retention, batch_size):
        images, questions = [image for image, _, _ in batch], [question for _, question, _ in batch]
        replies = guard.drafts(images, questions, max_new_tokens=16)
        for reply, (_, _, answer) in zip(replies, batch, strict=True):
            right += _words(reply)[: len(_words(answer))] == _words(answer)
    return right / len(held.retention)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def alarms(start: Mapping[str, float], now: Mapping[str, float], limits: Limits | None = None) -> list[str]:
    """Sentences about values that moved further than their limits.

    >>> alarms({"pope_yes_ratio": 0.52, "length": 80.0}, {"pope_yes_ratio": 0.45, "length": 79.0})
    ['yes-ratio moved from 52.0 % to 45.0 %: accuracy may only have changed its lean; read the AUC']
    """
    limits = limits or Limits()
    sentences = []

    def change(name: str) -> float:
        return now[name] - start[name] if name in start and name in now else 0.0

    def move(name: str) -> str:
        return f"from {100 * start[name]:.1f} % to {100 * now[name]:.1f} %"

    if abs(change("pope_yes_ratio")) > limits.yes_ratio:
        sentences.append(
            f"yes-ratio moved {move('pope_yes_ratio')}: accuracy may only have changed its lean; read the AUC"
        )
    for name, words in (("pope_recall", "recall of yes/no questions"), ("chair_recall", "recall of captions")):
        if change(name) < -limits.recall:
            sentences.append(f"{words} fell {move(name)}: present objects are denied or left out")
    if change("length") < -limits.length * start.get("length", 0.0):
        sentences.append(
            f"captions went from {start['length']:.1f} to {now['length']:.1f} words: CHAIR falls with length alone"
        )
    if change("retention") < -limits.retention:
        sentences.append(f"retention fell {move('retention')}: other abilities are lost")
    return sentences


class Evaluation(TrainerCallback):
    """Measure at the start, at regular steps and at the end; warn about alarms, and stop if `stop` is set.

    Args:
        guard: `Guard(model, processor)` around the model given to the trainer; LoRA layers are added in place, so it
            answers with what has been learnt so far.
        held: the held-out images. Every process measures all of them, so that all stop together.
        every: steps between measurements.
        limits: limits of the alarms.
        stop: whether to end the training at the first alarm.
        out: folder for `evaluation.jsonl`, one line per measurement; None writes none.
        batch_size: images per call of the model.
        max_new_tokens: longest caption, in tokens.

    `history` holds (step, values), `raised` (step, alarm). Values also enter the trainer's log as `heldout/NAME`.

    Example:
        >>> watch = Evaluation(Guard(model, processor), HeldOut(images, objects), every=200, stop=True)
        ...                                                                           # doctest: +SKIP
        >>> fine_tune(model, processor, rows, "adapter/", callbacks=[watch])          # doctest: +SKIP
    """

    def __init__(
        self,
        guard: Answering,
        held: HeldOut,
        *,
        every: int = 200,
        limits: Limits | None = None,
        stop: bool = False,
        out: str | Path | None = None,
        batch_size: int = 32,
        max_new_tokens: int = 128,
    ) -> None:
        self.guard, self.held, self.every, self.stop = guard, held, every, stop
        self.limits = limits or Limits()
        self.out = None if out is None else Path(out)
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.history: list[tuple[int, Values]] = []
        self.raised: list[tuple[int, str]] = []
        self._first_logp: float | None = None

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._measure(state, control)

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            self._measure(state, control)

    def on_train_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if not self.history or self.history[-1][0] != state.global_step:
            self._measure(state, control)

    def on_log(
        self,
        args: Arguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """Warn of likelihood displacement: the margin grows while the chosen answers themselves become less likely."""
        now = (logs or {}).get("logps/chosen_per_token")
        if now is None:
            return
        if self._first_logp is None:
            self._first_logp = float(now)
        elif float(now) < self._first_logp - self.limits.chosen_logp:
            sentence = (
                f"chosen answers went from {self._first_logp:.2f} to {float(now):.2f} nats per token: likelihood "
                "displacement; raise anchor_weight, or add the loss 'sft'"
            )
            self._raise(state, control, [sentence])

    def _measure(self, state: TrainerState, control: TrainerControl) -> None:
        training = self.guard.model.training
        self.guard.model.eval()
        try:
            with torch.random.fork_rng():
                values = measure(self.guard, self.held, batch_size=self.batch_size, max_new_tokens=self.max_new_tokens)
        finally:
            self.guard.model.train(training)
        self.history.append((state.global_step, values))
        state.log_history.append(
            {"step": state.global_step, **{f"heldout/{name}": value for name, value in values.items()}}
        )
        raised = alarms(self.history[0][1], values, self.limits)
        if self.out is not None and state.is_world_process_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            with (self.out / "evaluation.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **values, "alarms": raised}) + "\n")
        self._raise(state, control, raised)

    def _raise(self, state: TrainerState, control: TrainerControl, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self.raised.append((state.global_step, sentence))
            warnings.warn(f"step {state.global_step}: {sentence}", stacklevel=2)
        if sentences and self.stop:
            control.should_training_stop = True
