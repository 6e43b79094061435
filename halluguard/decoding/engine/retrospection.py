"""Retrospection: return to the token that the following tokens attend to most, and continue with another token.

    c_t      most trusted column at step t, one per beam: mode over its candidates of argmax_j prod_{i >= j} sigma w_ij
    s        summary token: the mode of c_t over the beams
    return   if #{u <= t : c_u = s} > threshold in every beam, and s >= 10, to step s + 1, at which the token after the
             summary token is chosen; after n returns there, to step s; after n returns to both, not at all
    there    any token may follow, by the model's own logit, except the pairs (beam, token) chosen there before

This is the second half of OPERA; `opera.py` names paper and code.

The search of transformers cannot go back. It is stopped and run again from the prompt, with the decisions made up to
that step. Repeated steps do not look ahead, so a return to step p costs one forward over the prompt and p forwards over
one token. The prompts of a batch wait for each other: one that has to return stays idle until the others have ended or
wait too, so a batch runs as often as its prompt with the most returns. Under sampling, repeated steps draw the same
random numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, LogitsProcessorList, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from halluguard.decoding.engine.compatibility import cache_name

FIRST = 10
"""The first column that may be a summary token."""

Choice = tuple[Tensor, Tensor]
"""The choice at one step: for each of N sequences, the sequence it continues and the token it took."""


def summary_token(trusted: Tensor, threshold: int) -> int | None:
    """The column to return to, if any.

    Args:
        trusted: (beams, steps) long, the most trusted column of each beam at each step so far.
        threshold: number of times that a column may be the most trusted one.
    """
    summary = trusted[:, -1].mode().values
    if summary < FIRST or not bool(((trusted == summary).sum(-1) > threshold).all()):
        return None
    return int(summary)


@dataclass(frozen=True)
class Judged:
    """Judgement of one step of N sequences: candidates (N, n), their scores (N, n), most trusted columns (N,)."""

    tokens: Tensor
    scores: Tensor
    trusted: Tensor


@dataclass
class Search:
    """Decisions of the search for one answer, over all its runs.

    Args:
        rows: sequences of the answer along the batch axis.
        limit: number of returns to one step.
        known: number of steps that have been judged; they are not judged again when repeated.
        times: number of returns, by step.
        banned: choices that were taken back, by step.
        waits: whether this run found that it has to return.
        done: whether the answer ended in this run.
    """

    rows: slice
    limit: int
    known: int = 0
    times: dict[int, int] = field(default_factory=dict)
    banned: dict[int, list[Choice]] = field(default_factory=dict)
    waits: bool = False
    done: bool = False

    @property
    def idle(self) -> bool:
        """Whether this run has nothing more to decide."""
        return self.waits or self.done

    def turns(self, summary: int, chosen: Sequence[Choice]) -> bool:
        """Plan a return to a summary token for the next run. False if both of its steps had `limit` returns."""
        step = next((s for s in (summary + 1, summary) if self.times.get(s, 0) < self.limit), None)
        if step is None:
            return False
        self.waits = True
        self.times[step] = self.times.get(step, 0) + 1
        self.known = step + 1
        self.banned = {at: choices for at, choices in self.banned.items() if at <= step}
        parents, tokens = chosen[step]
        self.banned.setdefault(step, []).append((parents[self.rows], tokens[self.rows]))
        return True

    def free(self, step: int, logits: Tensor, scores: Tensor, allowed: Tensor) -> None:
        """At a step that was returned to, allow all tokens but those chosen there. Changes scores, allowed (N, V)."""
        if step not in self.banned:
            return
        scores[self.rows], allowed[self.rows] = logits[self.rows], True
        for parents, tokens in self.banned[step]:
            allowed[parents, tokens] = False


class Retrospection:
    """History of one call of `generate`: its searches, their judgements and choices.

    Args:
        view: the folded view of the call.
        threshold: number of times that a column may be the most trusted one.
        limit: number of returns to one step.
    """

    def __init__(self, view: GenerationMixin, threshold: int, limit: int) -> None:
        self.view, self.threshold, self.limit = view, threshold, limit
        self.searches: list[Search] = []
        self.judged: list[Judged] = []  # by step
        self.chosen: list[Choice] = []  # by step
        self.parents: Tensor | None = None  # (N,), the sequence that each continues; None: itself
        self.prompt = 0

    def judge(self, step: int, look_ahead: Callable[[], Judged]) -> Judged:
        """The earlier judgement of a step, or `look_ahead()` if a search comes there for the first time."""
        if not self.judged[step:] or any(search.known <= step and not search.idle for search in self.searches):
            self.judged[step : step + 1] = [look_ahead()]
        return self.judged[step]

    def free(self, step: int, logits: Tensor, scores: Tensor, allowed: Tensor) -> None:
        """See `Search.free`."""
        for search in self.searches:
            search.free(step, logits, scores, allowed)

    def search(self, own: Callable[..., Any], input_ids: Tensor, **kwargs: Any) -> Any:
        """Run the search `own` of transformers until it ends without a return."""
        config = kwargs["generation_config"]
        self.prompt = input_ids.shape[1]
        self.searches = [
            Search(slice(first, first + config.num_beams), self.limit)
            for first in range(0, len(input_ids), config.num_beams)
        ]
        kwargs["logits_processor"] = LogitsProcessorList([self._observe, *kwargs["logits_processor"]])
        if config.num_beams > 1:
            self._observe_beams()
        else:
            kwargs["stopping_criteria"] = _ObservedCriteria(kwargs["stopping_criteria"], self._stopped)
        streamer, cache = kwargs.pop("streamer", None), cache_name(kwargs)
        random_state = _random_state(input_ids.device) if config.do_sample else []
        while True:
            for search in self.searches:
                search.waits = search.done = False
            self.parents, run = None, dict(kwargs)
            if cache is not None:
                run[cache] = copy.deepcopy(kwargs[cache])
            buffer = _Buffer()
            if streamer is not None:
                run["streamer"] = buffer
            try:
                output = own(input_ids, **run)
            except _Return:
                output = None
            if not any(search.waits for search in self.searches):
                break
            for module, state in random_state:
                module.set_rng_state(state)
        if streamer is not None:
            for value in buffer.values:
                streamer.put(value)
            streamer.end()
        return output

    def _observe(self, ids: Tensor, scores: Tensor) -> Tensor:
        """A logits processor that changes nothing: between two steps, it sees the sequences."""
        step = ids.shape[1] - self.prompt
        if step:
            parents = torch.arange(len(ids), device=ids.device) if self.parents is None else self.parents
            self.chosen[step - 1 : step] = [(parents, ids[:, -1].clone())]
        for search in self.searches:
            if search.idle or search.known > step:
                continue
            search.known = step + 1
            trusted = torch.stack([judged.trusted[search.rows] for judged in self.judged[: step + 1]], -1)
            summary = summary_token(trusted, self.threshold)
            if summary is not None:
                search.turns(summary, self.chosen)
        if all(search.idle for search in self.searches) and any(search.waits for search in self.searches):
            raise _Return
        return scores

    def _stopped(self, stopped: Tensor) -> None:
        for search in self.searches:
            search.done |= bool(stopped[search.rows].all())

    def _observe_beams(self) -> None:
        """Note which prompts are done: beam search asks this for the whole batch after each step."""
        unfinished = self.view._beam_search_has_unfinished_sequences

        def observed(improving: Tensor, finished: Tensor, stopped: Tensor, early_stopping: bool | str) -> Tensor:
            for i, search in enumerate(self.searches):
                one = slice(i, i + 1)
                search.done |= not bool(unfinished(improving[one], finished[one], stopped[one], early_stopping))
            return unfinished(improving, finished, stopped, early_stopping)

        self.view.__dict__["_beam_search_has_unfinished_sequences"] = observed


class _Return(Exception):  # noqa: N818, nothing went wrong
    """Raised to stop the current run, so that the search can go back."""


class _ObservedCriteria(StoppingCriteriaList):
    """Stopping criteria that report their verdicts (N,)."""

    def __init__(self, criteria: StoppingCriteriaList, report: Callable[[Tensor], None]) -> None:
        super().__init__(criteria)
        self._report = report

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        stopped = super().__call__(input_ids, scores, **kwargs)
        self._report(stopped)
        return stopped


class _Buffer(BaseStreamer):
    """A streamer that keeps its values."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def put(self, value: Tensor) -> None:
        self.values.append(value)

    def end(self) -> None:
        pass


def _random_state(device: torch.device) -> list[tuple[ModuleType, Tensor]]:
    """The global random states that a search on `device` may draw from, each with the module that sets it."""
    modules = [torch, *([] if device.type == "cpu" else [torch.get_device_module(device)])]
    return [(module, module.get_rng_state()) for module in modules]
