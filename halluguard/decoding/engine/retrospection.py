"""Retrospection: go back to the token that a whole stretch of the answer has leaned on, and go on otherwise.

    c_t     column that is trusted most at step t, one for each beam: the mode over its candidates of
            argmax_j prod_{i >= j} sigma w_ij
    s       mode of c_t over the beams: the summary token
    back    when #{u <= t : c_u = s} > threshold in every beam, and s >= 10, to step s + 1, where what follows the
            summary token is chosen; after n returns there to step s, after n returns to both no more
    there   any token may follow, by the model's own logit, but the pairs (beam, token) chosen there before

The second half of OPERA (`opera.py`), where paper and code are named.

The search is the host's, which knows no way back: it is dropped, and run again from the prompt with what it decided
up to that step. Steps that are repeated look nothing ahead, so a return to step p costs one reading of the prompt and
p of one token. The prompts of a batch wait for each other: one that has to go back idles until the others have ended
or wait too, so a batch runs as often as the prompt in it that goes back most. Under sampling the repeated steps draw
the same random numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import LogitsProcessorList, StoppingCriteriaList

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 10
"""The first column that may be a summary token."""

Choice = tuple["Tensor", "Tensor"]
"""What was chosen at one step: for each of N sequences, the sequence it went on from and the token it took."""


def summary_token(trusted: Tensor, threshold: int) -> int | None:
    """The column to go back to, if any.

    Args:
        trusted: (beams, steps) long, the column that each beam trusted most at each step so far.
        threshold: times a column may be trusted most.
    """
    summary = trusted[:, -1].mode().values
    if summary < FIRST or not bool(((trusted == summary).sum(-1) > threshold).all()):
        return None
    return int(summary)


@dataclass(frozen=True)
class Judged:
    """What a step made of N sequences: candidates (N, n), their scores (N, n), the column trusted most (N,)."""

    tokens: Tensor
    scores: Tensor
    trusted: Tensor


@dataclass
class Search:
    """What the search of one answer, by its `rows` of the batch, has decided over all its runs.

    known: steps that have been judged; what is repeated of them is not judged again.
    times: how often it went back to a step. banned: the choices that were taken back, by step.
    waits: in this run it found that it has to go back. done: in this run its answer ended.
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
        return self.waits or self.done

    def turns(self, summary: int, chosen: Sequence[Choice]) -> bool:
        """Go back, in the next run, for a summary token; not when both of its places had `limit` returns."""
        for step in (summary + 1, summary):
            if self.times.get(step, 0) < self.limit:
                break
        else:
            return False
        self.waits = True
        self.times[step] = self.times.get(step, 0) + 1
        self.known = step + 1
        self.banned = {at: choices for at, choices in self.banned.items() if at <= step}
        parents, tokens = chosen[step]
        self.banned.setdefault(step, []).append((parents[self.rows], tokens[self.rows]))
        return True

    def free(self, step: int, logits: Tensor, scores: Tensor, keep: Tensor) -> None:
        """At a step gone back to, let every token follow but those chosen there; scores and keep (N, V) are written."""
        if step not in self.banned:
            return
        scores[self.rows], keep[self.rows] = logits[self.rows], True
        for parents, tokens in self.banned[step]:
            keep[parents, tokens] = False


class Retrospection:
    """The past of one call of `generate`: what its searches saw and chose, and its runs.

    Args:
        twin: the model of the call.
        threshold: times a column may be trusted most.
        limit: returns to one place.
    """

    def __init__(self, twin: Any, threshold: int, limit: int) -> None:
        self.twin, self.threshold, self.limit = twin, threshold, limit
        self.searches: list[Search] = []
        self.judged: list[Judged] = []  # by step
        self.chosen: list[Choice] = []  # by step
        self.parents: Tensor | None = None  # (N,), which sequence each goes on from; the beams' own order when None
        self.prompt = 0

    # --- for the fold -------------------------------------------------------------------------------------------

    def judge(self, step: int, look: Callable[[], Judged]) -> Judged:
        """What was decided at a step before; `look` ahead when a search comes here for the first time."""
        if not self.judged[step:] or any(search.known <= step and not search.idle for search in self.searches):
            self.judged[step : step + 1] = [look()]
        return self.judged[step]

    def free(self, step: int, logits: Tensor, scores: Tensor, keep: Tensor) -> None:
        """See `Search.free`."""
        for search in self.searches:
            search.free(step, logits, scores, keep)

    # --- the runs -----------------------------------------------------------------------------------------------

    def search(self, own: Any, input_ids: Tensor, **kwargs: Any) -> Any:
        """Run the host's search `own` until it ends without a return."""
        config = kwargs["generation_config"]
        self.prompt = input_ids.shape[1]
        self.searches = [
            Search(slice(first, first + config.num_beams), self.limit)
            for first in range(0, len(input_ids), config.num_beams)
        ]
        kwargs["logits_processor"] = LogitsProcessorList([self._look, *kwargs["logits_processor"]])
        if config.num_beams > 1:
            self._hear_beams()
        else:
            kwargs["stopping_criteria"] = _Heard(kwargs["stopping_criteria"], self._stopped)
        streamer = kwargs.pop("streamer", None)
        state = _random_state(input_ids.device) if config.do_sample else None
        while True:
            for search in self.searches:
                search.waits = search.done = False
            self.parents, cache = None, copy.deepcopy(kwargs.get("past_key_values"))
            run = kwargs if cache is None else {**kwargs, "past_key_values": cache}
            held = None if streamer is None else _Held()
            try:
                output = own(input_ids, **run, **({} if held is None else {"streamer": held}))
            except _Back:
                output = None
            if not any(search.waits for search in self.searches):
                break
            _restore(state)
        if held is not None:
            held.release(streamer)
        return output

    def _look(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Between two steps, as a processor of the host's, which is shown the sequences."""
        import torch

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
            raise _Back
        return scores

    def _stopped(self, stopped: Tensor) -> None:
        for search in self.searches:
            search.done |= bool(stopped[search.rows].all())

    def _hear_beams(self) -> None:
        """Learn from the host, which asks it for the whole batch after each step, which prompts are done."""
        goes_on = self.twin._beam_search_has_unfinished_sequences

        def heard(improving: Tensor, finished: Tensor, stopped: Tensor, early_stopping: Any) -> Any:
            for i, search in enumerate(self.searches):
                one = slice(i, i + 1)
                search.done |= not bool(goes_on(improving[one], finished[one], stopped[one], early_stopping))
            return goes_on(improving, finished, stopped, early_stopping)

        self.twin.__dict__["_beam_search_has_unfinished_sequences"] = heard


class _Back(Exception):  # noqa: N818, nothing went wrong
    """The run under way is dropped."""


class _Heard(StoppingCriteriaList):
    """The host's criteria, whose verdicts (N,) are told."""

    def __init__(self, criteria: Sequence[Any], told: Callable[[Tensor], None]) -> None:
        super().__init__(criteria)
        self._told = told

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        stopped = super().__call__(input_ids, scores, **kwargs)
        self._told(stopped)
        return stopped


class _Held:
    """A streamer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Tensor] = []

    def put(self, value: Tensor) -> None:
        self.heard.append(value)

    def end(self) -> None:
        pass

    def release(self, streamer: Any) -> None:
        for value in self.heard:
            streamer.put(value)
        streamer.end()


def _random_state(device: Any) -> list[tuple[Any, Tensor]]:
    """The global random states that a search on `device` may draw from, each with what sets it."""
    import torch

    modules = [torch, *([] if device.type == "cpu" else [torch.get_device_module(device)])]
    return [(module, module.get_rng_state()) for module in modules]


def _restore(state: list[tuple[Any, Tensor]] | None) -> None:
    for module, value in state or ():
        module.set_rng_state(value)
