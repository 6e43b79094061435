"""Best of K while writing: of several drafts of each sentence, the one that a scorer prefers is kept.

    write the whole answer as always: its sentences are the first drafts
    at each sentence: draw K - 1 more drafts after the sentences kept so far
                      keep the draft of the highest score; the first draft wins a tie
                      where another draft is kept, write the rest anew after it

CGD (Deng et al. 2024, arXiv 2402.15300) keeps the sentences that CLIP prefers; here the scorer is anything: the claims
that a detector supports, a model that checks itself, a function of the caller. The answer ends where its first draft
ends. The choice selects the scorer's false positives too: with a rate f per absent thing, K drafts let up to
1 - (1 - f)^K of them through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from halluguard.decoding.setting_checks import check_range, check_whole
from halluguard.decoding.step_back.settings import ENDS, LONGEST, Judge, Search, ends_unit
from halluguard.decoding.step_back.writer import Written, up_to_stop
from halluguard.errors import SettingsError


class Scorer(Protocol):
    """Score the last sentence of an unfinished answer; higher is better.

    Args:
        prompt: index of the prompt in the batch.
        text: the answer so far, the sentence included.
        start: character at which the sentence begins.
    """

    def __call__(self, prompt: int, text: str, start: int) -> float: ...


@dataclass(frozen=True)
class BestOf:
    """Settings of the choice among drafts.

    Args:
        drafts: K, drafts of each sentence, the first one included; 1 is plain generation.
        unit: unit that is drafted: a "sentence", or a "clause" (commas end one too).
        penalty: what a contradicted claim takes from a draft's score, >= 0; a supported claim adds 1. For a detector.
        temperature: temperature at which the further drafts are drawn, > 0. A call that samples keeps its own.
        top_p: probability that the tokens of further drafts are drawn from, in (0, 1]. The same.
    """

    drafts: int = 4
    unit: Literal["sentence", "clause"] = "sentence"
    penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 0.9

    def __post_init__(self) -> None:
        check_whole("drafts", self.drafts, 1, advice="1 is plain generation")
        check_range("penalty", self.penalty, 0, advice="0 counts the supported claims alone")
        check_range("temperature", self.temperature, 0, above=True, advice="1 draws from the model's own probabilities")
        check_range("top_p", self.top_p, 0, 1, above=True, advice="1 draws from all tokens")
        if self.unit not in ENDS:
            raise SettingsError(f"unit must be one of {list(ENDS)}, got {self.unit!r}; the default is 'sentence'")


@dataclass(frozen=True)
class ClaimScore:
    """Score a sentence by its claims: supported ones minus `penalty` times contradicted ones.

    What the answer has named before counts nothing when it is supported, so that repetition gains nothing.

    Args:
        judge: judges the claims of a sentence, such as `correction.sentence_judge.SentenceJudge`.
        penalty: see `BestOf`.
    """

    judge: Judge
    penalty: float = 1.0

    def __call__(self, prompt: int, text: str, start: int) -> float:
        words = self.judge(prompt, text, start)
        supported = sum(word.decision == "supported" and not word.repeated for word in words)
        return supported - self.penalty * sum(word.decision == "contradicted" for word in words)


class Draw(Protocol):
    """Call `generate` of a model or a view.

    Args:
        prompts: indices of the prompts; one where `answered` is given.
        answered: tokens of the answer so far.
        criterion: added to those of the caller; None for none.
        options: arguments of `generate` that replace the caller's.

    Returns:
        For each sequence the tokens after the prompt and `answered`.
    """

    def __call__(
        self,
        prompts: Sequence[int],
        answered: Sequence[int],
        criterion: StoppingCriteria | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[list[int]]: ...


class _OneUnit(StoppingCriteria):
    """Stop each sequence at the end of its first unit, and note its tokens there."""

    def __init__(self, chooser: _Chooser) -> None:
        self.chooser = chooser
        self.start: int | None = None
        self.ended: dict[int, list[int]] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        if self.start is None:
            self.start = input_ids.shape[1] - 1
        for row, tokens in enumerate(input_ids[:, self.start :].tolist()):
            if row not in self.ended and self.chooser.ends(tokens):
                self.ended[row] = tokens
        return torch.tensor([row in self.ended for row in range(len(input_ids))], device=input_ids.device)


@dataclass
class _Chooser:
    """The drafts of the sentences of one prompt's answer."""

    prompt: int
    settings: BestOf
    score: Scorer
    draw: Draw
    tokenizer: PreTrainedTokenizerBase
    search: Search
    release: Callable[[list[int]], None] | None = None
    replaced: int = 0
    drawn: int = 0

    def chosen(self, first: Sequence[int]) -> Written:
        """The answer, given the first drafts of all its sentences."""
        stops = self.search.stops
        whole, kept = up_to_stop(first, stops), list[int]()
        self.drawn = len(whole)
        while len(kept) < len(whole):
            own = self._first_unit(whole[len(kept) :])
            best = self._best(kept, own)
            kept += best
            ended = kept[-1] in stops or len(kept) >= self.search.limit
            if best != own:
                self.replaced += 1
                rest = [] if ended else up_to_stop(self.draw([self.prompt], kept)[0], stops)
                self.drawn += len(rest)
                whole = [*kept, *rest]
            if self.release is not None:
                self.release(list(kept))
        return Written(kept, self.replaced, self.drawn - len(kept))

    def ends(self, tokens: Sequence[int]) -> bool:
        """Whether the tokens after a sentence are a whole unit."""
        if len(tokens) >= LONGEST or (tokens and tokens[-1] in self.search.stops):
            return True
        return ends_unit(self._text(tokens), self.settings.unit)

    def _first_unit(self, tokens: Sequence[int]) -> list[int]:
        ends = (end for end in range(1, len(tokens)) if self.ends(tokens[:end]))
        return list(tokens[: next(ends, len(tokens))])

    def _best(self, kept: Sequence[int], own: list[int]) -> list[int]:
        """The draft of the highest score after `kept`; the first of them in a tie."""
        if not self._text(own).strip():
            return own  # the end of the answer
        start = len(self._text(kept))
        best, highest = own, self.score(self.prompt, self._text([*kept, *own]), start)
        seen = {self._text(own)}
        for draft in self._further(kept):
            text = self._text(draft)
            if text in seen or not text.strip():
                continue
            seen.add(text)
            score = self.score(self.prompt, self._text([*kept, *draft]), start)
            if score > highest:
                best, highest = draft, score
        return best

    def _further(self, kept: Sequence[int]) -> list[list[int]]:
        """K - 1 further drafts of the sentence after `kept`."""
        options: dict[str, Any] = {"num_return_sequences": self.settings.drafts - 1, "do_sample": True}
        if not self.search.sampling:
            options |= {"temperature": self.settings.temperature, "top_p": self.settings.top_p, "top_k": 0}
        reader = _OneUnit(self)
        rows = self.draw([self.prompt], kept, reader, options)
        drafts = [reader.ended.get(row, tokens) for row, tokens in enumerate(rows)]
        self.drawn += sum(map(len, drafts))
        return drafts

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))


def choose(
    draw: Draw,
    prompts: int,
    settings: BestOf,
    score: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    search: Search,
    *,
    release: Callable[[list[int]], None] | None = None,
) -> list[Written]:
    """Write answers to a batch of prompts, keeping the best draft of each sentence.

    Args:
        draw: calls the model.
        prompts: number of prompts.
        settings: settings of the choice.
        score: scores the drafts of a sentence.
        tokenizer: the model's tokenizer.
        search: how the caller's own call searches; it has one beam.
        release: called with the tokens so far when a sentence of the only answer is chosen.

    Returns:
        `search.each` answers for each prompt, prompt by prompt. Their `returns` are the sentences whose first draft was
        replaced, and `extra` the tokens of drafts that were not kept: per sentence at most (K - 1) * LONGEST, and per
        replaced sentence the rest of the answer.
    """
    outputs = draw(range(prompts), [])
    if settings.drafts == 1:
        return [Written(up_to_stop(tokens, search.stops)) for tokens in outputs]
    return [
        _Chooser(i // search.each, settings, score, draw, tokenizer, search, release).chosen(tokens)
        for i, tokens in enumerate(outputs)
    ]
