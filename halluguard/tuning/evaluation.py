"""Evaluate while training, on held-out pictures, and say when a number improves for the wrong reason.

A model that says no more often hallucinates less; so does one that says less. So beside accuracy and CHAIR stand the
yes-ratio, the AUC (which a lean towards yes or no does not move), recall, the length of captions, and questions that
have nothing to do with hallucination. What moves against the start by more than its limit raises an alarm.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from halluguard.errors import InputError, require
from halluguard.metrics import chair, pope
from halluguard.records import DEFAULT_PROMPT

transformers = require("transformers", extra="train", feature="evaluating while training")

SPLITS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")


class Answering(Protocol):
    """What is asked: `halluguard.Guard` around the very model that is trained."""

    model: Any

    def drafts(self, images: Sequence[Any], prompts: Sequence[str], **generate: Any) -> list[str]: ...

    def margins(self, images: Sequence[Any], questions: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True)
class HeldOut:
    """Pictures that no training row shows.

    Args:
        images: PIL images or paths.
        objects: of each, the names of everything in it, in CHAIR's vocabulary.
        retention: (picture, question, answer) that training should not change; an answer counts where it is the first
            of the words said.
        prompt: for the captions.
        seed: of POPE's questions.
    """

    images: Sequence[Any]
    objects: Sequence[Collection[str]]
    retention: Sequence[tuple[Any, str, str]] = ()
    prompt: str = DEFAULT_PROMPT
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.objects):
            raise InputError(
                f"expected pictures and the objects of each, got {len(self.images)} and {len(self.objects)}"
            )


@dataclass(frozen=True)
class Limits:
    """How far a value may move from the start of the training before an alarm.

    Args:
        yes_ratio: either way, fraction.
        recall: of POPE, and of objects in captions, downwards, fraction.
        length: of captions, downwards, share of the start.
        retention: downwards, fraction.
        chosen_logp: of the chosen answers, downwards, nats per token.
    """

    yes_ratio: float = 0.03
    recall: float = 0.02
    length: float = 0.2
    retention: float = 0.02
    chosen_logp: float = 0.1


def measure(guard: Answering, held: HeldOut, *, batch_size: int = 32, max_new_tokens: int = 128) -> dict[str, float]:
    """POPE (means of the splits that can be asked), CHAIR, and the retention questions: name -> value.

    Returns:
        pope_acc, pope_recall, pope_yes_ratio, pope_auc, chair_s, chair_i, chair_recall, length, and
        retention where there are such questions. Fractions, but for length, in words.
    """
    truth = {number: sorted(names) for number, names in enumerate(held.objects)}
    values = _pope(guard, held, truth, batch_size)
    told: list[str] = []
    for start in range(0, len(held.images), batch_size):
        pictures = list(held.images[start : start + batch_size])
        told += guard.drafts(pictures, [held.prompt] * len(pictures), max_new_tokens=max_new_tokens)
    score = chair.score(list(enumerate(told)), truth, protocol="fixed", resamples=0, ground_truth="held-out")
    values |= {"chair_s": score["CHAIRs"], "chair_i": score["CHAIRi"], "chair_recall": score["recall"]}
    values |= {"length": score["length"]}
    if held.retention:
        values["retention"] = _retention(guard, held, batch_size)
    return values


def _pope(guard: Answering, held: HeldOut, truth: Mapping[int, list[str]], batch_size: int) -> dict[str, float]:
    """Means over the splits; nothing where there are too few objects to ask about."""
    rich = {number: names for number, names in truth.items() if len(names) >= 3}
    found: dict[str, list[float]] = {}
    known: dict[tuple[int, str], float] = {}
    for split in SPLITS if rich else ():
        questions = pope.build_questions(rich, split, seed=held.seed)
        pairs = [(int(question.image), question.text) for question in questions]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        for start in range(0, len(new), batch_size):
            batch = new[start : start + batch_size]
            margins = guard.margins([held.images[image] for image, _ in batch], [text for _, text in batch])
            known |= zip(batch, margins, strict=True)
        leaning = {q.question_id: known[pair] for q, pair in zip(questions, pairs, strict=True)}
        answers = {key: "Yes." if margin > 0 else "No." for key, margin in leaning.items()}
        score = pope.score(questions, answers, logits=leaning, resamples=0, split=f"held-out-{split}")
        for name in ("acc", "recall", "yes_ratio", "auc"):
            found.setdefault(f"pope_{name}", []).append(score[name])
    return {name: sum(values) / len(values) for name, values in found.items()}


def _retention(guard: Answering, held: HeldOut, batch_size: int) -> float:
    right = 0
    for start in range(0, len(held.retention), batch_size):
        batch = held.retention[start : start + batch_size]
        said = guard.drafts([image for image, _, _ in batch], [question for _, question, _ in batch], max_new_tokens=16)
        for text, (_, _, answer) in zip(said, batch, strict=True):
            right += _words(text)[: len(_words(answer))] == _words(answer)
    return right / len(held.retention)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def alarms(start: Mapping[str, float], now: Mapping[str, float], limits: Limits | None = None) -> list[str]:
    """What moved further than it may, in words.

    >>> alarms({"pope_yes_ratio": 0.52, "length": 80.0}, {"pope_yes_ratio": 0.45, "length": 79.0})
    ['yes-ratio moved from 52.0 % to 45.0 %: accuracy may only have changed its lean; read the AUC']
    """
    limits = limits or Limits()
    found = []

    def moved(name: str) -> float:
        return now[name] - start[name] if name in start and name in now else 0.0

    def told(name: str) -> str:
        return f"from {100 * start[name]:.1f} % to {100 * now[name]:.1f} %"

    if abs(moved("pope_yes_ratio")) > limits.yes_ratio:
        found.append(f"yes-ratio moved {told('pope_yes_ratio')}: accuracy may only have changed its lean; read the AUC")
    for name, words in (("pope_recall", "recall of yes/no questions"), ("chair_recall", "recall of captions")):
        if moved(name) < -limits.recall:
            found.append(f"{words} fell {told(name)}: present things are denied or left out")
    if moved("length") < -limits.length * start.get("length", 0.0):
        found.append(
            f"captions went from {start['length']:.1f} to {now['length']:.1f} words: CHAIR falls with length alone"
        )
    if moved("retention") < -limits.retention:
        found.append(f"retention fell {told('retention')}: other abilities are lost")
    return found


class Evaluation(transformers.TrainerCallback):  # type: ignore[name-defined]
    """Measure at the start, every so many steps and at the end; warn, and stop when asked to.

    Args:
        guard: `Guard(model, processor)` around the model given to the trainer; LoRA layers are added in place, so it
            answers with what has been learnt so far.
        held: the pictures. They are measured by every process alike, so that all stop together.
        every: steps between measurements.
        limits: of the alarms.
        stop: end the training at the first alarm.
        out: folder for `evaluation.jsonl`, one line a measurement; None writes none.
        batch_size, max_new_tokens: of the measurement.

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
        self.history: list[tuple[int, dict[str, float]]] = []
        self.raised: list[tuple[int, str]] = []
        self._first_logp: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._measure(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            self._measure(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.history or self.history[-1][0] != state.global_step:
            self._measure(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Likelihood displacement: the margin grows while the chosen answers themselves become less likely."""
        now = (logs or {}).get("logps/chosen_per_token")
        if now is None:
            return
        if self._first_logp is None:
            self._first_logp = float(now)
        elif float(now) < self._first_logp - self.limits.chosen_logp:
            told = (
                f"chosen answers went from {self._first_logp:.2f} to {float(now):.2f} nats per token: likelihood "
                "displacement; raise anchor_weight, or add the loss 'sft'"
            )
            self._raise(state, control, [told])

    def _measure(self, state: Any, control: Any) -> None:
        import torch

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
        found = alarms(self.history[0][1], values, self.limits)
        if self.out is not None and state.is_world_process_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            with (self.out / "evaluation.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **values, "alarms": found}) + "\n")
        self._raise(state, control, found)

    def _raise(self, state: Any, control: Any, found: Sequence[str]) -> None:
        for told in found:
            self.raised.append((state.global_step, told))
            warnings.warn(f"step {state.global_step}: {told}", stacklevel=2)
        if found and self.stop:
            control.should_training_stop = True
