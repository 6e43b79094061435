"""Write answers with returns: one call of `generate` for the batch, and one more for each return.

A return is a call of its own over the prompt and the tokens that are kept, so what follows it is a recomputation from
scratch, for every family, cache and decoding method. A batch runs together until it ends; an answer that has to return
stops in it, and goes on alone afterwards. Under greedy search the return goes to the contradicted word, under sampling
to the start of its sentence, which makes the result a draw from the sentences that are not contradicted. In beam search
nothing returns: a hypothesis with a contradicted claim ends, if its prompt has another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from halluguard.decoding.step_back.settings import LONGEST, Judge, Search, StepBack, Word


class Generate(Protocol):
    """Call `generate` of a model or a view.

    Args:
        prompts: indices of the prompts; one where `answered` is given.
        answered: tokens of the answer so far.
        processor, criterion: added to those of the caller.
        retried: whether the call follows a return.

    Returns:
        For each sequence the tokens after the prompt and `answered`.
    """

    def __call__(
        self,
        prompts: Sequence[int],
        answered: Sequence[int],
        processor: LogitsProcessor,
        criterion: StoppingCriteria,
        retried: bool,
    ) -> list[list[int]]: ...


@dataclass(frozen=True)
class Written:
    """One answer.

    Args:
        tokens: its token ids.
        returns: number of returns; in a choice among drafts, of sentences whose first draft was replaced.
        extra: tokens that were written and not kept.
        restored: number of places at which the first draft came back.
    """

    tokens: list[int]
    returns: int = 0
    extra: int = 0
    restored: int = 0


_AN = re.compile(r"\b(an)\s+$", re.IGNORECASE)

Place = tuple[int, ...]
"""A place in an answer, identified by the tokens before it: an index would change when words are taken back."""


@dataclass
class _Answer:
    """State of one answer.

    Args:
        prompt: index of its prompt.
        search: how the caller's own call searches; under sampling a return goes to the start of the sentence.
        release: called with the tokens so far when a sentence is finished.
    """

    prompt: int
    settings: StepBack
    judge: Judge
    tokenizer: PreTrainedTokenizerBase
    search: Search
    release: Callable[[list[int]], None] | None = None
    tokens: list[int] = field(default_factory=list)
    sentence: int = 0  # token at which the sentence under way begins
    ended: bool = False
    wrong: int | None = None  # token of the contradicted word
    barred: dict[Place, set[int]] = field(default_factory=dict)
    attempts: dict[Place, int] = field(default_factory=dict)
    first: dict[Place, tuple[list[int], bool]] = field(default_factory=dict)
    accepted: set[Place] = field(default_factory=set)
    returns: int = 0
    generated: int = 0
    restored: int = 0

    def read(self, tokens: Sequence[int]) -> bool:
        """Take the tokens of the answer so far; return True if it stops here, at its end or before a return."""
        if self.wrong is not None or self.ended:
            return True
        self.tokens = list(tokens)
        self.ended = bool(tokens) and tokens[-1] in self.search.stops
        long = len(tokens) - self.sentence >= LONGEST
        if self.ended or long or self.settings.ended(self._text(self.tokens[self.sentence :])):
            self.check()
        return self.wrong is not None or self.ended

    def take(self, kept: Sequence[int], rest: Sequence[int]) -> None:
        """Take what a call of `generate` wrote after `kept`. If the answer did not stop the call, it is complete."""
        if self.wrong is None:
            self.tokens, self.ended = up_to_stop([*kept, *rest], self.search.stops), True
        self.generated += len(self.tokens) - len(kept)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def check(self) -> None:
        """Judge the sentence under way: find its first contradicted word, or release it."""
        text, start = self._text(self.tokens), len(self._text(self.tokens[: self.sentence]))
        if not text[start:].strip():
            return
        words = [(self._token_at(word.start), word) for word in self.judge(self.prompt, text, start)]
        open_places = self._attempted()
        for at, word in words:
            if at < self.sentence:
                continue
            place, attempt = self._article_or(at, word, text), 0
            if self.search.sampling:
                attempt = self.attempts.get(self._place(at), 0)
            else:  # the first claim at a place that was returned to, or behind it, is the replacement
                replaced = [one for one in open_places if one <= at]
                open_places = [one for one in open_places if one > at]
                if replaced:
                    place = replaced[-1]
                    attempt = self.attempts[tuple(self.tokens[:place])]
            if tuple(self.tokens[:place]) not in self.accepted and self.settings.rejects(word, attempt):
                self.wrong = place
                return
        self.sentence = len(self.tokens)
        if self.release is not None:
            self.release(list(self.tokens))

    def _attempted(self) -> list[int]:
        """The places of the sentence under way that were returned to, as numbers of tokens before them."""
        places = range(self.sentence, len(self.tokens))
        return [place for place in places if tuple(self.tokens[:place]) in self.attempts]

    def _article_or(self, at: int, word: Word, text: str) -> int:
        """The token of "an" in front of a word, which few other words can follow, or that of the word itself."""
        article = None if self.search.sampling else _AN.search(text[: word.start])
        return at if article is None else max(self.sentence, self._token_at(article.start(1)))

    def _token_at(self, character: int) -> int:
        """Index of the token that writes a character of the answer."""
        low, high = 0, len(self.tokens) - 1
        while low < high:
            middle = (low + high) // 2
            if len(self._text(self.tokens[: middle + 1])) > character:
                high = middle
            else:
                low = middle + 1
        return low

    def _place(self, at: int) -> Place:
        return tuple(self.tokens[: self.sentence if self.search.sampling else at])

    def go_back(self) -> bool:
        """Go back from a contradicted word; False where the first draft came back instead."""
        assert self.wrong is not None
        at, place = self.wrong, self._place(self.wrong)
        self.first.setdefault(place, (list(self.tokens), self.ended))
        self.wrong = None
        if self.attempts.get(place, 0) >= self.settings.retries or self.returns >= self.settings.returns:
            self.tokens, self.ended = list(self.first[place][0]), self.first[place][1]
            self.restored += 1
            self._accept(place, at)
            self.check()
            return False
        self.attempts[place] = self.attempts.get(place, 0) + 1
        self.returns += 1
        self.barred.setdefault(tuple(self.tokens[:at]), set()).add(self.tokens[at])
        self.tokens, self.ended = list(place), False
        return True

    def _accept(self, place: Place, at: int) -> None:
        """Keep the words of a draft that came back: the one at its place, or all of its sentence under sampling."""
        ends = range(len(place), len(self.tokens)) if self.search.sampling else [len(place)]
        self.accepted |= {tuple(self.tokens[:end]) for end in ends}

    @property
    def written(self) -> Written:
        return Written(self.tokens, self.returns, self.generated - len(self.tokens), self.restored)


class _Reader(StoppingCriteria):
    """Show each sequence to its answer after every token; a sequence stops where its answer says so."""

    def __init__(self, answers: Sequence[_Answer], answered: Sequence[int]) -> None:
        self.answers, self.answered = answers, list(answered)
        self.start: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        if self.start is None:
            self.start = input_ids.shape[1] - 1
        rows = input_ids[:, self.start :].tolist()
        stopped = [a.read([*self.answered, *row]) for a, row in zip(self.answers, rows, strict=True)]
        return torch.tensor(stopped, device=input_ids.device)


class _Bars(LogitsProcessor):
    """Bar tokens at the places of one answer that was taken back there."""

    def __init__(self, answer: _Answer | None, answered: Sequence[int]) -> None:
        self.answer, self.answered = answer, list(answered)
        self.start: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.answer is None:
            return scores
        if self.start is None:
            self.start = input_ids.shape[1]
        place = (*self.answered, *input_ids[0, self.start :].tolist())
        barred = self.answer.barred.get(place)
        if not barred:
            return scores
        left = scores.clone()
        left[:, sorted(barred)] = -torch.inf
        # a grammar or another constraint may leave nothing else: then the word stays, and correction edits it
        return left if bool((left > -torch.inf).any()) else scores


class _Hypotheses(LogitsProcessor):
    """End the hypotheses of a beam search that hold a contradicted claim, where their prompt has another one."""

    def __init__(self, settings: StepBack, judge: Judge, tokenizer: PreTrainedTokenizerBase, beams: int) -> None:
        self.settings, self.judge, self.tokenizer, self.beams = settings, judge, tokenizer, beams
        self.start: int | None = None
        self.dead: dict[tuple[int, Place], bool] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.start is None:
            self.start = input_ids.shape[1]
        rows = [tuple(row) for row in input_ids[:, self.start :].tolist()]
        dead = [self._dead(i // self.beams, row) for i, row in enumerate(rows)]
        if not any(dead):
            return scores
        scores = scores.clone()
        for first in range(0, len(rows), self.beams):
            of_prompt = range(first, first + self.beams)
            alive = {rows[i] for i in of_prompt if not dead[i]}
            for i in of_prompt if alive else ():
                if dead[i]:
                    scores[i] = -torch.inf
        return scores

    def _dead(self, prompt: int, row: Place) -> bool:
        if not row:
            return False
        key = prompt, row
        if key not in self.dead:
            parent = self.dead.get((prompt, row[:-1]), False)
            self.dead[key] = parent or self._contradicted(prompt, row)
        return self.dead[key]

    def _contradicted(self, prompt: int, row: Place) -> bool:
        text = str(self.tokenizer.decode(list(row), skip_special_tokens=True))
        if not self.settings.ended(text):
            return False
        return any(word.decision == "contradicted" for word in self.judge(prompt, text, 0))


class _Silent(StoppingCriteria):
    """Never stop."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def write(
    generate: Generate,
    prompts: int,
    settings: StepBack,
    judge: Judge,
    tokenizer: PreTrainedTokenizerBase,
    search: Search,
    *,
    release: Callable[[list[int]], None] | None = None,
) -> list[Written]:
    """Write answers to a batch of prompts, stepping back where the judge contradicts.

    Args:
        generate: calls the model.
        prompts: number of prompts.
        settings: settings of stepping back.
        judge: judges the words of finished sentences.
        tokenizer: the model's tokenizer.
        search: how the caller's own call searches; with several beams, hypotheses end and nothing returns.
        release: called with the tokens so far when a sentence of the only answer is finished.

    Returns:
        `search.each` answers for each prompt, prompt by prompt.
    """
    everything = range(prompts)
    if search.beams > 1 or settings.retries == 0:
        beamed = search.beams > 1
        processor = _Hypotheses(settings, judge, tokenizer, search.beams) if beamed else _Bars(None, [])
        outputs = generate(everything, [], processor, _Silent(), False)
        return [Written(up_to_stop(tokens, search.stops)) for tokens in outputs]
    answers = [
        _Answer(prompt, settings, judge, tokenizer, search, release)
        for prompt in everything
        for _ in range(search.each)
    ]
    outputs = generate(everything, [], _Bars(None, []), _Reader(answers, []), False)
    for answer, tokens in zip(answers, outputs, strict=True):
        answer.take([], tokens)
        _finish(answer, generate, search.limit)
    return [answer.written for answer in answers]


def _finish(answer: _Answer, generate: Generate, limit: int) -> None:
    """Step back and write on until the answer has ended and nothing is left to take back."""
    while True:
        if answer.wrong is None and answer.sentence < len(answer.tokens):
            answer.check()  # the answer may end without a full stop
        if answer.wrong is None:
            return
        retried = False
        while answer.wrong is not None and not retried:
            retried = answer.go_back()
        if not retried and (answer.ended or len(answer.tokens) >= limit):
            return
        kept = list(answer.tokens)
        reader, bars = _Reader([answer], kept), _Bars(answer, kept)
        (rest,) = generate([answer.prompt], kept, bars, reader, retried)
        answer.take(kept, rest)


def up_to_stop(tokens: Sequence[int], stops: Collection[int]) -> list[int]:
    """The tokens up to the first that ends an answer: what follows is padding."""
    end = next((i for i, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return list(tokens[: end + 1])
