"""Generate drafts: one call of `generate` per batch, its prompt cut off, thoughts kept apart from the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from halluguard.correction.sentence_judge import SentenceJudge
from halluguard.correction.verification import Thresholds
from halluguard.decoding.base import DecodingMethod
from halluguard.decoding.engine.checks import explained
from halluguard.decoding.negative_inputs import NoImage
from halluguard.decoding.step_back import BestOf, ClaimScore, ModelCalls, Scorer, StepBack, Written
from halluguard.decoding.step_back.model_calls import PromptLength
from halluguard.errors import SettingsError
from halluguard.images import ImageSource
from halluguard.prompting.conversation import Conversation
from halluguard.prompting.model_inputs import model_inputs
from halluguard.records import Detector
from halluguard.seeding import Seeded
from halluguard.thinking import thoughts, without_tags

Result = TypeVar("Result")

ALONE = frozenset(
    {"blip", "emu3", "git", "hunyuan_vl", "kosmos-2", "kosmos-2.5", "pix2struct", "vision-encoder-decoder"}
)
"""Model types whose prompts of unequal length differ in a batch from each alone, in plain generation too: they run one
by one. docs/coverage.md has the measurement."""

ALONE_IF_UNEQUAL = frozenset({"idefics"})
"""Model types whose processor puts the image of a prompt in front of the text, and behind it in a batch in which
another prompt has several: prompts with unequal numbers of images run one by one."""


@dataclass(frozen=True)
class Draft:
    """The output of a model for one prompt.

    Args:
        text: the answer.
        thinking: its reasoning before the answer, without the tags around it; "" for most models.
        counts: what stepping back or the choice among drafts did, by name; empty without either.
    """

    text: str
    thinking: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


ImageScorer: TypeAlias = "Callable[[Sequence[ImageSource], str, int], float]"
"""Images of a prompt, an unfinished answer, and the character at which its last sentence begins -> a score of it."""


@dataclass(frozen=True)
class Stepping:
    """Settings and expert of stepping back, or of the choice among drafts of each sentence.

    Args:
        settings: settings of either.
        detector: detector that is asked at the end of each sentence; None with a `scorer`.
        thresholds: scores that decide its verdicts; default the detector's own.
        scorer: scores the drafts of a sentence, in place of the detector's claims.
    """

    settings: StepBack | BestOf
    detector: Detector | None
    thresholds: Thresholds | None = None
    scorer: ImageScorer | None = None

    def write(
        self,
        calls: ModelCalls,
        conversations: Sequence[Conversation],
        release: Callable[[list[int]], None] | None = None,
    ) -> list[Written]:
        """Answers to some conversations."""
        if isinstance(self.settings, StepBack):
            return calls.write(len(conversations), self.settings, self._judge(conversations), release)
        return calls.choose(len(conversations), self.settings, self._score(conversations), release)

    def counts(self, written: Written) -> dict[str, int]:
        """Numbers of what was done, by name."""
        if isinstance(self.settings, StepBack):
            return {"returns": written.returns, "tokens taken back": written.extra}
        return {"sentences replaced": written.returns, "tokens of other drafts": written.extra}

    def _judge(self, conversations: Sequence[Conversation]) -> SentenceJudge:
        assert self.detector is not None
        images = [[image for image, _ in conversation.subjects] for conversation in conversations]
        questions = [conversation.question for conversation in conversations]
        return SentenceJudge(self.detector, images, questions, thresholds=self.thresholds)

    def _score(self, conversations: Sequence[Conversation]) -> Scorer:
        scorer = self.scorer
        if scorer is None:
            assert isinstance(self.settings, BestOf)
            return ClaimScore(self._judge(conversations), self.settings.penalty)
        return lambda prompt, text, start: scorer(conversations[prompt].images, text, start)


@dataclass(frozen=True)
class Drafter:
    """A model, its processor and the settings of one call.

    Args:
        model: image-text-to-text model.
        processor: its processor.
        method: decoding method; None generates plainly. A batch in which no prompt has an image is generated plainly.
        seed: seed of sampling; None draws from the global random state.
        keep_examples: whether a branch without the image loses the asked image alone, and keeps those of the examples
            and of earlier messages.
        generate: arguments of `model.generate`.
        stepping: settings and expert of stepping back or of the choice among drafts; None for neither. A batch in
            which a prompt has no image is generated without it.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    method: DecodingMethod | None
    seed: int | None
    keep_examples: bool
    generate: Mapping[str, Any]
    stepping: Stepping | None = None

    def drafts(self, conversations: Sequence[Conversation], batch_size: int | None = None) -> list[list[Draft]]:
        """The drafts of each of B conversations: one, or as many as `num_return_sequences`.

        Args:
            conversations: B conversations.
            batch_size: conversations per call of `generate`; default all. A batch that does not fit in memory is
                halved.
        """
        check_settings(self.generate)
        if batch_size is not None and not (isinstance(batch_size, int) and batch_size >= 1):
            raise SettingsError(f"batch_size must be a whole number >= 1, got {batch_size!r}; leave it out for all")
        size = 1 if self._runs_alone(conversations) else batch_size or len(conversations)
        return in_batches(self._batch, list(conversations), size)

    def _runs_alone(self, conversations: Sequence[Conversation]) -> bool:
        """Whether prompts run one by one: in some families, and where a tokenizer has no token to pad with."""
        kind = self.model.config.model_type
        if getattr(self.processor.tokenizer, "pad_token", None) is None or kind in ALONE:
            return True
        return kind in ALONE_IF_UNEQUAL and len({len(one.images) for one in conversations}) > 1

    def _batch(self, conversations: Sequence[Conversation], start: int) -> list[list[Draft]]:
        seeded = nullcontext() if self.seed is None else Seeded(self.seed, start)
        if self.stepping is not None and all(conversation.subjects for conversation in conversations):
            with torch.inference_mode(), seeded:
                written = self._stepped(conversations)
            each = len(written) // len(conversations)
            drafts = [self._stepped_draft(one) for one in written]
            return [drafts[i * each : (i + 1) * each] for i in range(len(conversations))]
        inputs = model_inputs(self.model, self.processor, conversations)
        model, arguments = self._call(inputs, conversations)
        noted = PromptLength()
        criteria = StoppingCriteriaList([*(arguments.pop("stopping_criteria", None) or []), noted])
        with torch.inference_mode(), seeded:
            output = self._generated(model, **arguments, stopping_criteria=criteria)
        tokens = output if torch.is_tensor(output) else output.sequences
        prompt = inputs.get("input_ids")
        candidates = arguments.get("prompt_lookup_num_tokens") or arguments.get("assistant_model")
        length = noted.length
        if candidates or length is None:  # several tokens may have been accepted before the first note
            length = prompt.shape[1] if prompt is not None and _begins_with(tokens, prompt) else 0
        drafts = [decoded(self.processor, sequence) for sequence in tokens[:, length:]]
        each = len(drafts) // len(conversations)
        return [drafts[i * each : (i + 1) * each] for i in range(len(conversations))]

    def _stepped(
        self, conversations: Sequence[Conversation], release: Callable[[list[int]], None] | None = None
    ) -> list[Written]:
        """Answers whose sentences are judged while the model writes; see `decoding.step_back`."""
        assert self.stepping is not None
        retry = getattr(self.stepping.settings, "retry", None)
        retrying = self if retry is None else replace(self, method=retry)

        def call_of(prompts: Sequence[int], retried: bool) -> tuple[Any, Mapping[str, Any]]:
            chosen = [conversations[prompt] for prompt in prompts]
            drafter = retrying if retried else self
            return drafter._call(model_inputs(self.model, self.processor, chosen), chosen)

        calls = ModelCalls(self.model, self.processor.tokenizer, call_of)
        return self.stepping.write(calls, conversations, release)

    def _stepped_draft(self, written: Written) -> Draft:
        assert self.stepping is not None
        draft = decoded(self.processor, torch.tensor(written.tokens, dtype=torch.long))
        return replace(draft, counts=self.stepping.counts(written))

    def _call(self, inputs: Mapping[str, Any], conversations: Sequence[Conversation]) -> tuple[Any, dict[str, Any]]:
        """The model or a view of it, and the arguments of its `generate`."""
        # A family's generate may write into its inputs (BLIP does), and they are read again afterwards.
        arguments = {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}
        arguments |= self.generate
        images = [conversation.images for conversation in conversations]
        if self.method is None or not any(images):
            return self.model, arguments
        arguments["images"] = images
        makers = self.method.negative_branches
        if self.keep_examples and any(isinstance(maker, NoImage) for maker in makers):
            fewer = [conversation.without_asked_image() for conversation in conversations]
            kept = model_inputs(self.model, self.processor, fewer)
            apart = {**dict.fromkeys(inputs), **kept}  # inputs that only the asked image has are removed
            arguments["negative_inputs"] = [apart if isinstance(maker, NoImage) else maker for maker in makers]
        return self.method.on(self.model, self.processor), arguments

    def _generated(self, model: Any, **arguments: Any) -> Any:
        """`model.generate(**arguments)`; errors of transformers are raised as errors of halluguard."""
        try:
            return model.generate(**arguments)
        except Exception as error:
            refusal = explained(error, self.model, in_view=model is not self.model)
            if refusal is None:
                raise
            raise refusal from error

    def first_logits(self, conversations: Sequence[Conversation]) -> Tensor:
        """(B, V) scores of the first token in fp32, before the mask of allowed tokens."""
        size = 1 if self._runs_alone(conversations) else len(conversations)
        parts = [conversations[i : i + size] for i in range(0, len(conversations), size)]
        return torch.cat([self._first_logits(part) for part in parts])

    def _first_logits(self, conversations: Sequence[Conversation]) -> Tensor:
        inputs = model_inputs(self.model, self.processor, conversations)
        model, arguments = self._call(inputs, conversations)
        with torch.inference_mode():
            if model is not self.model:
                return model.first_token_logits(**arguments)
            settings = {"max_new_tokens": 1, "do_sample": False, "num_beams": 1, "num_return_sequences": 1}
            output = self._generated(model, **arguments, **settings, return_dict_in_generate=True, output_logits=True)
            return output.logits[0].float()

    def stream(self, conversation: Conversation) -> Generator[Draft, None, None]:
        """The draft so far, after each token that the model writes."""
        check_settings(self.generate)
        stop = _Stop()
        queue: _Queue = SimpleQueue()
        criteria = [*(self.generate.get("stopping_criteria") or []), stop]
        watched = replace(self, generate={**self.generate, "stopping_criteria": StoppingCriteriaList(criteria)})
        seeded = nullcontext() if self.seed is None else Seeded(self.seed)

        def run() -> None:
            try:
                with torch.inference_mode(), seeded:
                    watched._write_into(queue, conversation)
                queue.put(None)
            except BaseException as error:
                queue.put(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while (item := queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item if isinstance(item, Draft) else decoded(self.processor, torch.tensor(item))
        finally:
            stop.now = True
            thread.join()

    def _write_into(self, queue: _Queue, conversation: Conversation) -> None:
        """Write one answer; the tokens so far go into the queue, after each token or, with returns, each sentence."""
        if self.stepping is not None and conversation.subjects:
            (written,) = self._stepped([conversation], queue.put)
            queue.put(self._stepped_draft(written))
            return
        model, arguments = self._call(model_inputs(self.model, self.processor, [conversation]), [conversation])
        self._generated(model, **arguments, streamer=_Tokens(queue))


_Queue: TypeAlias = "SimpleQueue[list[int] | Draft | BaseException | None]"
"""Carries the tokens so far, repeatedly, or the draft. None ends the stream, and so does an error of the call."""


class _Tokens(BaseStreamer):
    """Put the tokens of an answer so far into a queue.

    Args:
        queue: gets a list of tokens after each new token.
    """

    def __init__(self, queue: _Queue) -> None:
        self.queue, self.tokens, self.prompt = queue, list[int](), True

    def put(self, value: Any) -> None:
        if not self.prompt:
            self.tokens += value.flatten().tolist()
            self.queue.put(list(self.tokens))
        self.prompt = False

    def end(self) -> None:
        """Do nothing: the queue ends when the call returns."""


class _Stop(StoppingCriteria):
    """Stop generation once the caller no longer reads the stream."""

    now = False

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), self.now, dtype=torch.bool, device=input_ids.device)


def in_batches(
    call: Callable[[Sequence[Conversation], int], list[Result]], items: Sequence[Conversation], size: int
) -> list[Result]:
    """`call(batch, start)` for all items, batch by batch; a batch that does not fit in memory is halved.

    Raises:
        torch.OutOfMemoryError, MemoryError: one item alone does not fit.
    """
    results: list[Result] = []
    while len(results) < len(items):
        start = len(results)
        try:
            results += call(items[start : start + size], start)
            continue
        except (torch.OutOfMemoryError, MemoryError):
            if min(size, len(items) - start) == 1:
                raise
        # outside of the handler, so that the failed call's tensors are freed
        size = max(1, min(size, len(items) - start) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def check_settings(generate: Mapping[str, Any]) -> None:
    """Raise SettingsError for arguments of `generate` whose result would not be an answer."""
    if generate.get("return_dict_in_generate"):
        raise SettingsError(
            "return_dict_in_generate should be left out, as answers are texts; call "
            "model.generate(**guard.inputs(...)) for scores and hidden states"
        )
    if isinstance(generate.get("streamer"), BaseStreamer):
        raise SettingsError("streamer should be left out, as answers are whole; use guard.stream(...)")


def _begins_with(tokens: Tensor, prompt: Tensor) -> bool:
    each = len(tokens) // len(prompt)
    return tokens.shape[1] >= prompt.shape[1] and torch.equal(
        tokens[:, : prompt.shape[1]], prompt.repeat_interleave(each, 0)
    )


def decoded(processor: ProcessorMixin, tokens: Tensor) -> Draft:
    """The text of an answer's tokens, with the reasoning before it kept apart."""
    tokenizer = processor.tokenizer
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    whole = tokenizer.decode(tokens, skip_special_tokens=False)  # tags of thoughts may be special tokens
    ranges = thoughts(whole)
    if not ranges:
        return Draft(text.strip())
    answer, thinking, end = [], [], 0
    for start, stop in ranges:
        answer.append(whole[end:start])
        thinking.append(without_tags(whole[start:stop]))
        end = stop
    answer.append(whole[end:])
    special = sorted(tokenizer.all_special_tokens, key=len, reverse=True)
    return Draft(_without("".join(answer), special), _without("\n".join(thinking), special))


def _without(text: str, tokens: Sequence[str]) -> str:
    for token in tokens:
        text = text.replace(token, "")
    return text.strip()
