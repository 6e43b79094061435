"""Guard: a model, a way to decode and an expert, joined. Each layer also works alone; nothing else is hidden here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from halluguard._version import __version__
from halluguard.errors import InputError, SettingsError, UnsupportedModelError
from halluguard.images import load_image
from halluguard.records import DEFAULT_PROMPT, Answer, Detector


class Guard:
    """Ask a multimodal model about pictures and get answers whose claims have been checked.

    Args:
        model: any transformers image-text-to-text model.
        processor: its processor.
        detector: an expert that checks the answers (`halluguard.detectors`); None leaves them as drafted.
        decoding: a method of `halluguard.decoding` used for every answer; None decodes plainly.
        thresholds: `correction.verify.Thresholds`, when the expert's own do not fit.
        properties: experts on attributes and relations, such as `detectors.colour.Colours()`.
        calibration: turns scores into probabilities (`halluguard.calibration`).
        style: what becomes of a contradicted claim: "delete", "hedge" or "annotate".
        proposer: a language model that may word the correction, under the checks of `correction.propose`.

    Example:
        >>> from halluguard import Guard, sandbox                                    # doctest: +SKIP
        >>> guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)    # doctest: +SKIP
        >>> guard(image, "Describe the image.", imagination=-0.5).text               # doctest: +SKIP
        'The image shows a kitchen with a bowl and a banana.'
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        detector: Detector | None = None,
        decoding: Any = None,
        thresholds: Any = None,
        properties: Any = None,
        calibration: Any = None,
        style: Literal["delete", "hedge", "annotate"] = "delete",
        proposer: Any = None,
    ) -> None:
        if getattr(processor, "image_processor", None) is None:
            raise UnsupportedModelError(
                f"expected a processor that takes pictures, got {type(processor).__name__}; "
                "load it with AutoProcessor from an image-text-to-text checkpoint"
            )
        _check_method(decoding)
        self.model, self.processor = model, processor
        self.detector, self.decoding, self.thresholds = detector, decoding, thresholds
        self.properties, self.calibration, self.style, self.proposer = properties, calibration, style, proposer

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        detector: str | Path | Detector | None = None,
        decoding: Any = None,
        adapter: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a model by hub name or folder, with an expert and a fine-tuned adapter when named.

        Args:
            name: image-text-to-text checkpoint. Weights are read from safetensors; remote code is never run.
            detector: an expert, or the hub name or folder of an object detector.
            decoding: a method of `halluguard.decoding`.
            adapter: hub name or folder of a PEFT adapter made for this model (needs the extra `train`).
            device: "cuda", "cpu", ...; by default the GPU when there is one.
            dtype: "bfloat16", "float16", "float32" or "auto"; by default "auto" on a GPU, float32 on a CPU.
            revision: commit or tag of the checkpoint.
            local_files_only: never ask the network.

        Raises:
            UnsupportedModelError: the checkpoint is not an image-text-to-text model.
        """
        from halluguard import checkpoints

        target = checkpoints.default_device(device)
        dtype = dtype or ("float32" if target.type == "cpu" else "auto")
        model, processor = checkpoints.load_mllm(
            name, dtype=dtype, revision=revision, local_files_only=local_files_only
        )
        if adapter is not None:
            checkpoints.load_adapter(model, adapter)
        checkpoints.place(model, target)
        if isinstance(detector, str | Path):
            from halluguard.detectors.checkpoints import load_detector

            detector = load_detector(detector, device=target)
        return cls(model, processor, detector=detector, decoding=decoding)

    def __call__(
        self,
        image: Any,
        prompt: str = DEFAULT_PROMPT,
        *,
        imagination: float | None = None,
        decoding: Any = None,
        seed: int | None = None,
        **generate: Any,
    ) -> Answer:
        """Answer one prompt about one picture; see `batch` for the arguments."""
        return self.batch([image], [prompt], imagination=imagination, decoding=decoding, seed=seed, **generate)[0]

    def batch(
        self,
        images: Sequence[Any],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        *,
        imagination: float | None = None,
        decoding: Any = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[Answer]:
        """Answer prompts about pictures in one batch.

        Args:
            images: B pictures: PIL images, uint8 arrays, bytes or paths.
            prompts: one prompt for all, or B prompts.
            imagination: in [-1, 1], negative is more grounded, 0 plain; uses `decoding.Imagination`, the Guard's own
                (with its controller or schedule) where it has one.
            decoding: a method for this call, in place of the Guard's own.
            seed: of sampling, when `do_sample=True`; the global random state is left as it was.
            **generate: everything the model's `generate` takes.

        Returns:
            B answers: `draft` is what the model said, `text` what is left of it after the expert's verdicts.

        Raises:
            ImageError, SettingsError: with what to do.
        """
        from halluguard.correction import correct_many

        pictures = [load_image(image) for image in images]
        asked = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
        if len(asked) != len(pictures):
            raise SettingsError(
                f"expected one prompt or one per picture, got {len(asked)} for {len(pictures)} pictures"
            )
        if not pictures:
            return []
        method = self._method(imagination, decoding)
        started = time.perf_counter()
        drafts = self.drafts(pictures, asked, decoding=method, seed=seed, **generate)
        spent = (time.perf_counter() - started) / len(pictures)
        settings = self._settings(method, seed, generate)
        if self.detector is None:
            answers = [Answer(draft, draft, question) for draft, question in zip(drafts, asked, strict=True)]
        else:
            answers = list(
                correct_many(
                    *(drafts, pictures, self.detector, asked),
                    thresholds=self.thresholds,
                    properties=self.properties,
                    calibration=self.calibration,
                    style=self.style,
                    proposer=self.proposer,
                )
            )
        return [
            replace(
                answer,
                image=picture,
                timings={"generate": spent, **answer.timings},
                settings={**settings, **answer.settings},
            )
            for answer, picture in zip(answers, pictures, strict=True)
        ]

    def drafts(
        self,
        pictures: Sequence[Any],
        prompts: Sequence[str],
        *,
        decoding: Any = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[str]:
        """What the model says, before any correction: B strings. The arguments are those of `batch`."""
        import torch

        inputs = self.inputs(pictures, prompts)
        view = self.model if decoding is None else decoding.on(self.model, self.processor)
        extra = {} if decoding is None else {"images": list(pictures)}
        with torch.inference_mode(), torch.random.fork_rng() if seed is not None else nullcontext():
            if seed is not None:
                torch.manual_seed(seed)
            produced = view.generate(**inputs, **extra, **generate)
        if not self.model.config.is_encoder_decoder:
            produced = produced[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(produced, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def margins(self, images: Sequence[Any], questions: str | Sequence[str], *, decoding: Any = None) -> list[float]:
        """How much rather the model says yes than no: logit(Yes) - logit(No) of the first token, B numbers.

        Ranking by this margin gives an AUC that a general lean towards yes or no does not move.

        Args:
            images, questions: as in `batch`.
            decoding: a method; its formula is applied, its support is not.

        Raises:
            UnsupportedModelError: the tokenizer has no token that begins "yes" or "no".
        """
        import torch

        asked = [questions] * len(images) if isinstance(questions, str) else list(questions)
        pictures = [load_image(image) for image in images]
        inputs = self.inputs(pictures, asked)
        with torch.inference_mode():
            if decoding is None:
                logits = self.model(**inputs, use_cache=False).logits[:, -1].float()
            else:
                view = decoding.on(self.model, self.processor)
                logits = view.first_token_logits(**inputs, images=pictures)
        yes, no = (logits[:, _tokens_of(self.processor.tokenizer, word)].logsumexp(-1) for word in ("yes", "no"))
        return (yes - no).tolist()

    def inputs(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The model's inputs for B pictures and prompts, through its own chat template, on its device."""
        import torch

        texts = [self._prompt(prompt) for prompt in prompts]
        self.processor.tokenizer.padding_side = "left"
        batch = self.processor(images=list(pictures), text=texts, padding=True, return_tensors="pt")
        return {
            key: value.to(self.model.device, self.model.dtype)
            if torch.is_tensor(value) and value.is_floating_point()
            else value.to(self.model.device)
            for key, value in batch.items()
        }

    def _prompt(self, prompt: str) -> str:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"expected a prompt with words, got {prompt!r}; ask something, e.g. {DEFAULT_PROMPT!r}")
        if getattr(self.processor, "chat_template", None) is None:
            return prompt
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        chat = [{"role": "user", "content": content}]
        return self.processor.apply_chat_template(chat, add_generation_prompt=True)

    def _method(self, imagination: float | None, decoding: Any) -> Any:
        if imagination is not None and decoding is not None:
            raise SettingsError("expected imagination or decoding, got both; give imagination to the method instead")
        if imagination is not None:
            from halluguard.decoding import Imagination

            if isinstance(self.decoding, Imagination):
                return replace(self.decoding, imagination=imagination)
            return Imagination(imagination)
        _check_method(decoding)
        return self.decoding if decoding is None else decoding

    def _settings(self, method: Any, seed: int | None, generate: Mapping[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in generate.items() if isinstance(value, str | int | float | bool)}
        return {
            "halluguard": __version__,
            "model": getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__,
            "decoding": "plain" if method is None else repr(method),
            "seed": seed,
            "generate": plain,
        }


def _tokens_of(tokenizer: Any, word: str) -> list[int]:
    """Ids of the tokens that begin an answer with `word`, in any case, with or without a leading space."""
    forms = (word, word.capitalize(), word.upper(), f" {word}", f" {word.capitalize()}")
    first = [tokenizer(form, add_special_tokens=False).input_ids[:1] for form in forms]
    ids = {ids[0] for ids in first if ids and tokenizer.decode(ids).strip().lower() == word}
    if not ids:
        raise UnsupportedModelError(
            f"expected a tokenizer with a token for {word!r}, got {type(tokenizer).__name__} without; "
            "compare the answers of batch() instead"
        )
    return sorted(ids)


def _check_method(method: Any) -> None:
    if method is not None and not callable(getattr(method, "on", None)):
        raise SettingsError(
            f"expected a decoding method such as VCD(alpha=1.0) from halluguard.decoding, got {method!r}; "
            "methods have .on(model, processor)"
        )
