"""Call the `generate` of a model or a view so that it continues an answer from its first tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from halluguard.decoding.base import DecodingMethod
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.step_back.best_of import BestOf, Scorer, choose
from halluguard.decoding.step_back.continuation import continued
from halluguard.decoding.step_back.settings import Judge, Search, StepBack
from halluguard.decoding.step_back.writer import Written, write
from halluguard.errors import SettingsError, UnsupportedModelError

ENDLESS = 1 << 20
"""Limit of an answer whose call names none."""

CallOf = Callable[[Sequence[int], bool], tuple[Any, Mapping[str, Any]]]
"""Prompts and whether a return came before -> a model or view, and the arguments of its `generate`, inputs included."""


class PromptLength(StoppingCriteria):
    """Note how many tokens the first call of the search begins with; never stop."""

    length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        if self.length is None:
            self.length = input_ids.shape[1] - 1
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class _Reached(LogitsProcessor):
    """Note that the search calls its processors; change no score."""

    yes = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.yes = True
        return scores


@dataclass(frozen=True)
class ModelCalls:
    """Answers of one model to a batch of prompts, with returns.

    Args:
        model: the model itself, whose config names lengths and stop tokens.
        tokenizer: its tokenizer.
        call_of: makes the model or view and the arguments of a call for some of the prompts.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    call_of: CallOf

    def write(
        self,
        prompts: int,
        settings: StepBack,
        judge: Judge,
        release: Callable[[list[int]], None] | None = None,
    ) -> list[Written]:
        """Answers to all prompts; see `writer.write`.

        Raises:
            SettingsError: a search that cannot go back: assisted generation, or a method that goes back itself.
        """
        if settings.retry is not None:
            check_method(settings.retry)
        return write(self, prompts, settings, judge, self.tokenizer, self._search(prompts), release=release)

    def choose(
        self,
        prompts: int,
        settings: BestOf,
        score: Scorer,
        release: Callable[[list[int]], None] | None = None,
    ) -> list[Written]:
        """Answers to all prompts, the best draft of each sentence; see `best_of.choose`.

        Raises:
            SettingsError: a search that has no sentences before its end: beams, assisted generation, or a method that
                goes back itself.
        """
        search = self._search(prompts)
        if search.beams > 1 and settings.drafts > 1:
            raise SettingsError(
                f"one beam is expected when the best of several drafts is kept, got num_beams={search.beams}; leave "
                "num_beams out, or use step_back=True"
            )
        return choose(self._drawn, prompts, settings, score, self.tokenizer, search, release=release)

    def _search(self, prompts: int) -> Search:
        """The search of the caller's own call."""
        model, arguments = self.call_of(range(prompts), False)
        self._check(model, arguments)
        config = arguments.get("generation_config") or self.model.generation_config

        def setting(name: str, default: Any) -> Any:
            value = arguments.get(name, getattr(config, name, None))
            return default if value is None else value

        stops = setting("eos_token_id", [])
        limit = setting("max_new_tokens", None)
        if limit is None:
            ids = arguments.get("input_ids")
            length = 1 if self.model.config.is_encoder_decoder or ids is None else ids.shape[1]
            limit = setting("max_length", ENDLESS) - length
        return Search(
            stops=[stops] if isinstance(stops, int) else [int(stop) for stop in stops],
            limit=limit,
            sampling=bool(setting("do_sample", False)),
            beams=setting("num_beams", 1),
            each=setting("num_return_sequences", 1),
        )

    def _check(self, model: Any, arguments: Mapping[str, Any]) -> None:
        for option in ("prompt_lookup_num_tokens", "assistant_model", "streamer", "custom_generate"):
            if arguments.get(option) is not None:
                raise SettingsError(
                    f"{option} should be left out when a model steps back, got {arguments[option]!r}: sentences are "
                    "read as they are written; leave it out, or use neither step_back nor best_of"
                )
        if isinstance(model, FoldedView):
            check_method(model._origin[0])

    def __call__(
        self,
        prompts: Sequence[int],
        answered: Sequence[int],
        processor: LogitsProcessor,
        criterion: StoppingCriteria,
        retried: bool,
    ) -> list[list[int]]:
        """One call of `generate`; see `writer.Generate`."""
        return self._called(prompts, answered, retried, {}, [processor], [criterion])

    def _drawn(
        self,
        prompts: Sequence[int],
        answered: Sequence[int],
        criterion: StoppingCriteria | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[list[int]]:
        """One call of `generate`; see `best_of.Draw`."""
        return self._called(prompts, answered, False, options or {}, [], [] if criterion is None else [criterion])

    def _called(
        self,
        prompts: Sequence[int],
        answered: Sequence[int],
        retried: bool,
        options: Mapping[str, Any],
        processors: Sequence[LogitsProcessor],
        criteria: Sequence[StoppingCriteria],
    ) -> list[list[int]]:
        model, own = self.call_of(prompts, retried)
        arguments, noted, reached = dict(own), PromptLength(), _Reached()
        if answered:
            arguments = self._shortened(continued(self.model, arguments, answered), len(answered))
            if isinstance(model, FoldedView) and not model._origin[0].is_identity:
                arguments["answered"] = len(answered)
        arguments |= options
        all_processors = [*(arguments.get("logits_processor") or ()), *processors, reached]
        arguments["logits_processor"] = LogitsProcessorList(all_processors)
        all_criteria = [*(arguments.get("stopping_criteria") or ()), *criteria, noted]
        arguments["stopping_criteria"] = StoppingCriteriaList(all_criteria)
        output = model.generate(**arguments)
        if processors and not reached.yes:
            raise UnsupportedModelError(
                f"a model whose generate uses logits_processor is expected when a model steps back, got "
                f"{type(self.model).__name__}, whose own leaves it out: no word could be barred; use step_back=False"
            )
        tokens = output if torch.is_tensor(output) else output.sequences
        return tokens[:, noted.length or 0 :].tolist()

    def _shortened(self, arguments: dict[str, Any], answered: int) -> dict[str, Any]:
        """The arguments of a call that continues after `answered` tokens: limits on new tokens become smaller."""
        config = arguments.get("generation_config") or self.model.generation_config
        for name in ("max_new_tokens", "min_new_tokens"):
            value = arguments.get(name, getattr(config, name, None))
            if value is not None:
                arguments[name] = max(1 if name == "max_new_tokens" else 0, value - answered)
        if getattr(config, "begin_suppress_tokens", None) is not None:
            arguments["begin_suppress_tokens"] = None  # the answer has begun
        return arguments | {"num_return_sequences": 1}


def check_method(method: DecodingMethod) -> None:
    """Raise SettingsError for a method that runs the search of transformers several times itself."""
    if method.runs_search or method.custom_generate is not None:
        raise SettingsError(
            f"a method that leaves the search to transformers is expected when a model steps back, got {method!r}, "
            "which goes back itself; use another method, or step_back=False"
        )
