"""Join a model, a decoding method and a detector that checks the answers in one call: Guard.

Each of the three also works alone; Guard only joins them.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, Self, get_args

from halluguard._version import __version__
from halluguard.errors import InputError, SettingsError, UnsupportedModelError
from halluguard.records import DEFAULT_PROMPT, Answer, Detector, check_detector

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from halluguard.correction.rewriting.llm_rewriter import Proposer
    from halluguard.correction.rewriting.rewrite import Style
    from halluguard.correction.verification import Calibration, Properties, Thresholds
    from halluguard.decoding import DecodingMethod
    from halluguard.decoding.step_back import BestOf, StepBack
    from halluguard.images import ImageSource
    from halluguard.prompting.checking import Checker
    from halluguard.prompting.conversation import Conversation, Example
    from halluguard.prompting.drafting import Draft, Drafter, ImageScorer

ImageFree = Literal["all", "asked"]
"""Images that the image-free branch does not see; see `Guard.batch`."""


@dataclass(frozen=True)
class _Call:
    """Settings of one call; the arguments are those of `Guard.batch`, and `method` is the decoding method to use."""

    method: DecodingMethod | None
    seed: int | None = None
    image_free: ImageFree = "all"
    audit_thinking: bool = False
    generate: Mapping[str, Any] = field(default_factory=dict)


class Guard:
    """Ask a multimodal model about images and get answers whose claims are checked.

    Args:
        model: image-text-to-text model of transformers.
        processor: the model's processor.
        detector: detector that checks the answers (`halluguard.detectors`); None leaves them as generated.
        decoding: decoding method for every answer (`halluguard.decoding`), or its name; None generates plainly.
        thresholds: detector scores that decide the verdicts; default the detector's own.
        properties: experts on attributes and relations, such as `detectors.colour.Colours()`.
        calibration: fitted curve that turns scores into probabilities (`halluguard.calibration`).
        style: treatment of a contradicted claim: "delete", "drop", "hedge" or "annotate"; see `correct`.
        proposer: language model that may word the correction; `correction.rewriting.llm_rewriter` checks its text.
        complete: True adds objects that the detector finds and an answer leaves out; a list of names looks for these
            objects alone (`correction.correct`).
        step_back: True checks every finished sentence while the model writes, and takes it back if the detector
            contradicts it; a `decoding.step_back.StepBack` sets the details. Needs a detector.
        best_of: number of drafts per sentence; the draft whose claims the detector supports best is kept; or
            a `decoding.step_back.BestOf` with its settings. 1 writes plainly. Not together with `step_back`.
        scorer: function that scores those drafts in place of the detector: (images of the prompt, the answer so far,
            character at which its last sentence begins) -> a number, higher is better.

    Example:
        >>> from halluguard import Guard, sandbox
        >>> guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)
        >>> scene = next(sandbox.fresh_scenes(1))
        >>> guard(scene.image, "Describe the image.", imagination=-0.5).text
        'The image depicts a restaurant with a horse and a wine glass. The overall mood is quiet and bright.'
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        detector: Detector | None = None,
        decoding: DecodingMethod | str | None = None,
        thresholds: Thresholds | None = None,
        properties: Properties = None,
        calibration: Calibration | None = None,
        style: Style = "delete",
        proposer: Proposer | None = None,
        complete: bool | Sequence[str] = False,
        step_back: StepBack | bool = False,
        best_of: BestOf | int = 1,
        scorer: ImageScorer | None = None,
    ) -> None:
        if not any(getattr(processor, part, None) for part in ("image_processor", "video_processor")):
            raise UnsupportedModelError(
                f"expected a processor that takes images, got {type(processor).__name__}; "
                "load it with AutoProcessor from an image-text-to-text checkpoint"
            )
        if not callable(getattr(model, "generate", None)):
            raise UnsupportedModelError(
                f"expected a model that writes its answer token by token, got {type(model).__name__} without a "
                "`generate`; load another with AutoModelForImageTextToText"
            )
        if detector is not None:
            check_detector(detector)
        decoding = _named(decoding)
        self.model, self.processor = model, processor
        self.detector, self.decoding, self.thresholds = detector, decoding, thresholds
        self.properties, self.calibration, self.style, self.proposer = properties, calibration, style, proposer
        self.complete = complete
        self.step_back = _step_back(step_back, detector)
        self.best_of, self.scorer = _best_of(best_of, self.step_back, detector, scorer), scorer

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        detector: str | Path | Detector | None = None,
        decoding: DecodingMethod | str | None = None,
        thresholds: Thresholds | None = None,
        properties: Properties = None,
        calibration: Calibration | None = None,
        style: Style = "delete",
        proposer: Proposer | None = None,
        complete: bool | Sequence[str] = False,
        step_back: StepBack | bool = False,
        best_of: BestOf | int = 1,
        scorer: ImageScorer | None = None,
        adapter: str | Path | None = None,
        device: str | torch.device | None = None,
        device_map: str | dict[str, int | str | torch.device] | None = None,
        max_memory: dict[int | str, int | str] | None = None,
        dtype: str | torch.dtype | None = None,
        quantization_config: QuantizationConfigMixin | dict[str, Any] | None = None,
        attn_implementation: str | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **unknown: Never,
    ) -> Self:
        """Load a model and, where given, a detector and a fine-tuned adapter.

        A model that is loaded already needs no loading: `Guard(model, processor, detector=...)`.

        Args:
            name: hub name or folder of an image-text-to-text model. Only safetensors are read; remote code is not run.
            detector: a detector, or the hub name or folder of one.
            decoding: decoding method for every answer, or its name: "vcd".
            thresholds, properties, calibration, style, proposer, complete, step_back, best_of, scorer: as in the class.
            adapter: hub name or folder of a PEFT adapter trained on this model (needs the extra `train`).
            device: "cuda", "cpu", ...; default the first GPU, else the CPU.
            device_map: placement of the model's parts, in place of `device`, such as "auto" (needs accelerate).
            max_memory: device -> memory that `device_map` may use, such as {0: "20GiB", "cpu": "60GiB"}.
            dtype: "bfloat16", "float16", "float32" or "auto"; default "auto" on a GPU, float32 on a CPU.
            quantization_config: quantization of transformers, such as BitsAndBytesConfig(load_in_4bit=True).
            attn_implementation: "sdpa", "eager", "flash_attention_2", ...; default transformers' choice.
            processor_kwargs: further arguments of the processor, such as {"max_pixels": 512 * 512}.
            revision: commit, branch or tag of the checkpoint.
            cache_dir: folder of downloaded checkpoints.
            token: access token of the hub; default that of `hf auth login`.
            local_files_only: True to use no network.
            unknown: refused, with the argument to write in its place.

        Raises:
            UnsupportedModelError: the checkpoint is not an image-text-to-text model, or its weights are incomplete.
            InputError: no such checkpoint.
            SettingsError: both `device` and `device_map` are given, no decoding method has that name, or there is no
                such argument.
        """
        from halluguard import checkpoints
        from halluguard.arguments import parameters, refuse_unknown

        refuse_unknown("Guard.from_pretrained", unknown, parameters(cls.from_pretrained))
        if device is not None and device_map is not None:
            raise SettingsError(f"expected device or device_map, got {device!r} and {device_map!r}; leave one out")
        decoding = _named(decoding)
        target = checkpoints.default_device(device)
        source: checkpoints.SourceOptions = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
        }
        model, processor = checkpoints.load_mllm(
            name,
            processor_kwargs=processor_kwargs,
            dtype=dtype or ("float32" if target.type == "cpu" and device_map is None else "auto"),
            device_map=device_map,
            max_memory=max_memory,
            quantization_config=quantization_config,
            attn_implementation=attn_implementation,
            **source,
        )
        if adapter is not None:
            checkpoints.load_adapter(model, adapter, cache_dir=cache_dir, token=token)
        if device_map is None and quantization_config is None:
            checkpoints.place(model, target)
        if isinstance(detector, str | Path):
            from halluguard.detectors.checkpoints import load_detector

            detector = load_detector(detector, device=target)
        return cls(
            *(model, processor),
            detector=detector,
            decoding=decoding,
            thresholds=thresholds,
            properties=properties,
            calibration=calibration,
            style=style,
            proposer=proposer,
            complete=complete,
            step_back=step_back,
            best_of=best_of,
            scorer=scorer,
        )

    def __getstate__(self) -> dict[str, Any]:
        # transformers records hidden states by hooks that cannot be pickled; it installs them again when they are
        # missing
        for module in self.model.modules():
            for key, hook in list(module._forward_hooks.items()):
                if hook.__module__ == "transformers.utils.output_capturing":
                    del module._forward_hooks[key]
            module.__dict__.pop("_output_capturing_hooks_installed", None)
        return self.__dict__

    def __repr__(self) -> str:
        model = f"{type(self.model).__name__} {self._model_name!r}, {self.model.dtype} on {self.model.device}"
        parts = {
            "detector": None if self.detector is None else self.detector.name,
            "decoding": self.decoding,
            "thresholds": self.thresholds,
            "properties": self.properties,
            "calibration": None if self.calibration is None else type(self.calibration).__name__,
            "proposer": None if self.proposer is None else type(self.proposer).__name__,
            "step_back": self.step_back,
            "best_of": self.best_of,
        }
        shown = [f"{name}={value!r}" for name, value in parts.items() if value is not None]
        return f"Guard({', '.join([model, *shown, f'style={self.style!r}'])})"

    @property
    def _model_name(self) -> str:
        return getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__

    def __call__(
        self,
        image: ImageSource | Sequence[ImageSource] | None = None,
        prompt: str = DEFAULT_PROMPT,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        images: Sequence[ImageSource] | None = None,
        examples: Iterable[Example] = (),
        imagination: float | None = None,
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        image_free: ImageFree = "all",
        audit_thinking: bool = False,
        **generate: Any,
    ) -> Answer:
        """Answer one prompt about one image, or the last message of a conversation.

        Args:
            image: an image, or several for one prompt.
            prompt: the question.
            messages: a conversation in place of image and prompt; see `chat`.
            images: the images of the placeholders in `messages`.
            examples, imagination, decoding, seed, image_free, audit_thinking: as in `batch`.
            **generate: arguments of the model's `generate`.
        """
        answers = self._answer(
            [_conversation(image, prompt, messages, images)],
            examples,
            _Call(self._method(imagination, decoding), seed, image_free, audit_thinking, generate),
        )
        if len(answers) > 1:
            raise SettingsError(f"expected one answer per call, got {len(answers)}; use guard.batch([image], [prompt])")
        return answers[0]

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        images: Sequence[ImageSource] | None = None,
        examples: Iterable[Example] = (),
        imagination: float | None = None,
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        image_free: ImageFree = "all",
        audit_thinking: bool = False,
        **generate: Any,
    ) -> Answer:
        """Answer the last message of a conversation.

        Args:
            messages: in OpenAI's form or in Hugging Face's: mappings with a role ("system", "user", "assistant") and a
                content, which is a text or a list of parts (text, image, image_url, video as frames); see
                `prompting.conversation.read_messages`.
            images: the images of placeholders {"type": "image"}, in order.
            examples, imagination, decoding, seed, image_free, audit_thinking: as in `batch`.
            **generate: arguments of the model's `generate`.

        Returns:
            The answer. Its claims are checked against all images of the conversation: each is true if one image shows
            it, and a verdict says which ("in image 2", "at 0:07"). Without an image, nothing is contrasted or checked.

        Example:
            >>> from halluguard import Guard, sandbox
            >>> guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)
            >>> scene = next(sandbox.fresh_scenes(1))
            >>> question = [{"type": "image", "image": scene.image}, {"type": "text", "text": "Describe the image."}]
            >>> answer = guard.chat([{"role": "user", "content": question}])
            >>> answer.text == guard(scene.image, "Describe the image.").text
            True
        """
        return self(
            messages=messages,
            images=images,
            examples=examples,
            imagination=imagination,
            decoding=decoding,
            seed=seed,
            image_free=image_free,
            audit_thinking=audit_thinking,
            **generate,
        )

    def batch(
        self,
        images: Sequence[ImageSource | Sequence[ImageSource]],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        *,
        examples: Iterable[Example] = (),
        imagination: float | None = None,
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        image_free: ImageFree = "all",
        audit_thinking: bool = False,
        **generate: Any,
    ) -> list[Answer]:
        """Answer prompts about images in batches.

        Args:
            images: B images: PIL images, uint8 arrays, bytes or paths; an entry may be a list of images for one prompt.
            prompts: one prompt for all images, or B prompts.
            examples: few-shot examples (image, question, answer) that the model reads before each prompt.
            imagination: setting in [-1, 1]: negative is more grounded, 0 plain. The Guard's own `decoding.Imagination`,
                with its controller or schedule, is used if it has one.
            decoding: method for this call, or its name, in place of the Guard's own.
            seed: seed of sampling with `do_sample=True`. The answers are the same in any thread, and the global random
                state stays as it was. The batch that begins at prompt i draws with the seed `seed + i`.
            batch_size: prompts per call of the model's `generate`; default all. A batch that does not fit in memory is
                halved.
            image_free: images that the image-free branch does not see: "all", or "asked" for those of the last question
                only, so that the branch keeps examples and earlier images.
            audit_thinking: True also checks the thoughts of a reasoning model before its answer (`Answer.thoughts`).
            **generate: arguments of the model's `generate`.

        Returns:
            B answers: `draft` is the text that the model wrote, `text` the draft after correction. With
            `num_return_sequences=n`, B * n answers, with the answers to one prompt next to each other.

        Raises:
            ImageError: an image cannot be read.
            SettingsError: the numbers of images and prompts differ, or a setting is out of range.
        """
        return self._answer(
            _questions(images, prompts),
            examples,
            _Call(self._method(imagination, decoding), seed, image_free, audit_thinking, generate),
            batch_size,
        )

    def _answer(
        self,
        conversations: Sequence[Conversation],
        examples: Iterable[Example],
        call: _Call,
        batch_size: int | None = None,
    ) -> list[Answer]:
        from halluguard.prompting.conversation import with_examples

        if not conversations:
            return []
        shots = list(examples)
        conversations = [with_examples(conversation, shots) for conversation in conversations]
        started = time.perf_counter()
        drafts = self._drafter(call).drafts(conversations, batch_size)
        seconds = (time.perf_counter() - started) / len(conversations)
        rows = [
            (draft, conversation)
            for of_prompt, conversation in zip(drafts, conversations, strict=True)
            for draft in of_prompt
        ]
        answers = self._checker.answers([draft for draft, _ in rows], [about for _, about in rows], call.audit_thinking)
        contrasted, plain = self._settings(call), self._settings(replace(call, method=None))

        def settings(answer: Answer, draft: Draft, about: Conversation) -> dict[str, Any]:
            recorded = (contrasted if about.images else plain) | dict(answer.settings)
            if self.step_back is not None:
                return recorded | {"step back": dict(draft.counts)}
            return recorded if self.best_of is None else recorded | {"best of": dict(draft.counts)}

        return [
            replace(
                answer,
                timings={"generate": seconds, **answer.timings},
                settings=settings(answer, draft, about),
            )
            for answer, (draft, about) in zip(answers, rows, strict=True)
        ]

    def stream(
        self,
        image: ImageSource | Sequence[ImageSource] | None = None,
        prompt: str = DEFAULT_PROMPT,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        images: Sequence[ImageSource] | None = None,
        examples: Iterable[Example] = (),
        imagination: float | None = None,
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        image_free: ImageFree = "all",
        **generate: Any,
    ) -> Generator[str, None, Answer]:
        """Yield corrected sentences of one answer while the model writes; arguments are those of a call.

        A sentence is yielded once the model has begun the next one. Joined, the pieces are the text of the answer
        that a call gives, unless a later sentence changes the correction of one that was yielded.

        Returns:
            The answer, as the value of the generator (`StopIteration.value`). Closing the generator stops the model.

        Raises:
            SettingsError: beam search, which fixes no sentence before its end.
        """
        from halluguard.prompting.conversation import with_examples

        conversation = with_examples(_conversation(image, prompt, messages, images), list(examples))
        call = _Call(self._method(imagination, decoding), seed, image_free, generate=generate)
        drafts = self._drafter(call).stream(conversation)
        answer = Answer("", "")
        try:
            for piece, so_far in self._checker.sentences(drafts, conversation):
                answer = so_far
                if piece:
                    yield piece
        finally:
            drafts.close()
        return replace(answer, settings={**self._settings(call), **answer.settings})

    def drafts(
        self,
        images: Sequence[ImageSource | Sequence[ImageSource]],
        prompts: str | Sequence[str],
        *,
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        **generate: Any,
    ) -> list[str]:
        """Generate texts without correction; arguments and order are those of `batch`."""
        drafter = self._drafter(_Call(_named(decoding), seed, generate=generate))
        drafts = drafter.drafts(_questions(images, prompts), batch_size)
        return [draft.text for of_prompt in drafts for draft in of_prompt]

    def margins(
        self,
        images: Sequence[ImageSource | Sequence[ImageSource]],
        questions: str | Sequence[str],
        *,
        decoding: DecodingMethod | str | None = None,
    ) -> list[float]:
        """logit(Yes) - logit(No) of the first answer token, for B questions.

        Answers ranked by this margin give an AUC that does not depend on a general bias towards yes or no.

        Args:
            images: as in `batch`.
            questions: one question for all images, or B questions.
            decoding: method whose formula is applied to the logits; its mask of allowed tokens is not applied.

        Raises:
            UnsupportedModelError: the tokenizer has no token that begins "yes" or "no".
        """
        from halluguard.prompting.yes_no import first_tokens

        conversations = _questions(images, questions)
        if not conversations:
            return []
        logits = self._drafter(_Call(_named(decoding))).first_logits(conversations)
        yes, no = (logits[:, first_tokens(self.processor.tokenizer, word)].logsumexp(-1) for word in ("yes", "no"))
        return (yes - no).tolist()

    def inputs(
        self, images: Sequence[ImageSource | Sequence[ImageSource]], prompts: str | Sequence[str]
    ) -> dict[str, Any]:
        """Model inputs for B images and prompts, made by the processor's chat template, on the model's device."""
        from halluguard.prompting.model_inputs import model_inputs

        return model_inputs(self.model, self.processor, _questions(images, prompts))

    def _drafter(self, call: _Call) -> Drafter:
        from halluguard.prompting.drafting import Drafter, Stepping

        if call.image_free not in get_args(ImageFree):
            raise SettingsError(f"image_free must be one of {get_args(ImageFree)}, got {call.image_free!r}; choose one")
        settings = self.step_back or self.best_of
        stepping = None if settings is None else Stepping(settings, self.detector, self.thresholds, self.scorer)
        keep_examples = call.image_free == "asked"
        return Drafter(self.model, self.processor, call.method, call.seed, keep_examples, call.generate, stepping)

    @property
    def _checker(self) -> Checker:
        from halluguard.prompting.checking import Checker

        return Checker(
            self.detector,
            self.thresholds,
            self.properties,
            self.calibration,
            self.style,
            self.proposer,
            self.complete,
        )

    def _method(self, imagination: float | None, decoding: DecodingMethod | str | None) -> DecodingMethod | None:
        if imagination is not None and decoding is not None:
            raise SettingsError("expected imagination or decoding, got both; give imagination to the method instead")
        if imagination is not None:
            from halluguard.decoding import Imagination

            if isinstance(self.decoding, Imagination):
                return replace(self.decoding, imagination=imagination)
            return Imagination(imagination)
        return self.decoding if decoding is None else _named(decoding)

    def _settings(self, call: _Call) -> dict[str, Any]:
        plain = {key: value for key, value in call.generate.items() if isinstance(value, str | int | float | bool)}
        return {
            "halluguard": __version__,
            "model": self._model_name,
            "decoding": "plain" if call.method is None else repr(call.method),
            "seed": call.seed,
            "generate": plain,
        }


def _step_back(setting: StepBack | bool, detector: Detector | None) -> StepBack | None:
    """The settings of stepping back, or None.

    Raises:
        SettingsError: there is no detector to contradict sentences, or the setting has another type.
    """
    if setting is False:
        return None
    if detector is None:
        raise SettingsError("step_back needs a detector that checks the sentences, got none; pass detector=...")
    from halluguard.decoding.step_back import StepBack

    if setting is True:
        return StepBack()
    if not isinstance(setting, StepBack):
        raise SettingsError(
            f"step_back must be True, False or a StepBack from decoding.step_back, got {setting!r}; "
            "True takes the defaults"
        )
    return setting


def _best_of(
    setting: BestOf | int, step_back: StepBack | None, detector: Detector | None, scorer: ImageScorer | None
) -> BestOf | None:
    """The settings for the choice among drafts, or None for no choice.

    Raises:
        SettingsError: there is no detector or scorer to prefer a draft, `step_back` is set too, or the setting has
            another type.
    """
    if setting == 1:
        if scorer is not None:
            raise SettingsError("a scorer needs several drafts to score, got best_of=1; pass best_of=4 too")
        return None
    if step_back is not None:
        raise SettingsError("expected step_back or best_of, got both; leave one out")
    if detector is None and scorer is None:
        raise SettingsError("best_of needs a detector or a scorer that prefers a draft, got neither; pass detector=...")
    from halluguard.decoding.step_back import BestOf

    if isinstance(setting, int):
        return BestOf(setting)
    if not isinstance(setting, BestOf):
        raise SettingsError(f"best_of must be a number or a BestOf from decoding.step_back, got {setting!r}")
    return setting


def _conversation(
    image: ImageSource | Sequence[ImageSource] | None,
    prompt: str,
    messages: Sequence[Mapping[str, Any]] | None,
    images: Sequence[ImageSource] | None,
) -> Conversation:
    from halluguard.prompting.conversation import asked, read_messages

    if messages is not None:
        if image is not None:
            raise InputError("expected an image and a prompt, or messages, got both; put the image into a message")
        return read_messages(messages, images)
    if images is not None or image is None:
        raise InputError("expected an image with a prompt, or messages (with images=[...]), got neither; give one")
    return asked(image, prompt)


def _questions(
    images: Sequence[ImageSource | Sequence[ImageSource]], prompts: str | Sequence[str]
) -> list[Conversation]:
    """One question per image.

    Raises:
        SettingsError: the numbers of images and prompts differ.
    """
    from halluguard.prompting.conversation import asked

    texts = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
    if len(texts) != len(images):
        raise SettingsError(
            f"expected one prompt or one per image, got {len(texts)} for {len(images)} images; "
            "give one for all or one for each"
        )
    return [asked(image, text) for image, text in zip(images, texts, strict=True)]


def _named(method: DecodingMethod | str | None) -> DecodingMethod | None:
    """The given decoding method, or the one with the given name.

    Raises:
        SettingsError: there is no method of that name, or it is not a method.
    """
    if isinstance(method, str):
        from halluguard.decoding import METHODS, get_method

        name, colon, preset = method.partition(":")
        spelling = {one.lower(): one for one in METHODS}.get(name.strip().lower(), name)
        return get_method(f"{spelling}{colon}{preset}")
    if method is not None and not callable(getattr(method, "on", None)):
        raise SettingsError(
            f"expected a decoding method such as VCD(alpha=1.0) from halluguard.decoding, or its name, got {method!r}; "
            "see halluguard.decoding for all"
        )
    return method
