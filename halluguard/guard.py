"""Guard: generate with a model, a decoding method and a detector that checks the answers, in one call.

Each of the three also works alone; Guard only joins them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from halluguard._version import __version__
from halluguard.errors import InputError, SettingsError, UnsupportedModelError
from halluguard.images import load_image
from halluguard.records import DEFAULT_PROMPT, Answer, Detector

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

    from halluguard.correction.rewriting.llm_rewriter import Proposer
    from halluguard.correction.rewriting.rewrite import Style
    from halluguard.correction.verification import Calibration, Properties, Thresholds
    from halluguard.decoding import DecodingMethod
    from halluguard.images import ImageSource


class Guard:
    """Ask a multimodal model about images and get answers whose claims are checked.

    Args:
        model: image-text-to-text model of transformers.
        processor: the model's processor.
        detector: detector that checks the answers (`halluguard.detectors`); None leaves them as generated.
        decoding: decoding method for every answer (`halluguard.decoding`); None generates plainly.
        thresholds: detector scores that decide the verdicts; default the detector's own.
        properties: experts on attributes and relations, such as `detectors.colour.Colours()`.
        calibration: fitted curve that turns scores into probabilities (`halluguard.calibration`).
        style: treatment of a contradicted claim: "delete", "hedge" or "annotate".
        proposer: language model that may word the correction; `correction.rewriting.llm_rewriter` checks its text.

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
        decoding: DecodingMethod | None = None,
        thresholds: Thresholds | None = None,
        properties: Properties = None,
        calibration: Calibration | None = None,
        style: Style = "delete",
        proposer: Proposer | None = None,
    ) -> None:
        if getattr(processor, "image_processor", None) is None:
            raise UnsupportedModelError(
                f"expected a processor that takes images, got {type(processor).__name__}; "
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
        decoding: DecodingMethod | None = None,
        adapter: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a model, and a detector and a fine-tuned adapter where they are named.

        Args:
            name: hub name or folder of an image-text-to-text model. Only safetensors are read; remote code is not run.
            detector: a detector, or the hub name or folder of one.
            decoding: decoding method for every answer.
            adapter: hub name or folder of a PEFT adapter trained on this model (needs the extra `train`).
            device: "cuda", "cpu", ...; default the first GPU, else the CPU.
            dtype: "bfloat16", "float16", "float32" or "auto"; default "auto" on a GPU, float32 on a CPU.
            revision: commit, branch or tag of the checkpoint.
            local_files_only: True to use no network.

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
        image: ImageSource,
        prompt: str = DEFAULT_PROMPT,
        *,
        imagination: float | None = None,
        decoding: DecodingMethod | None = None,
        seed: int | None = None,
        **generate: Any,
    ) -> Answer:
        """Answer one prompt about one image; arguments as in `batch`."""
        return self.batch([image], [prompt], imagination=imagination, decoding=decoding, seed=seed, **generate)[0]

    def batch(
        self,
        images: Sequence[ImageSource],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        *,
        imagination: float | None = None,
        decoding: DecodingMethod | None = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[Answer]:
        """Answer prompts about images in one batch.

        Args:
            images: B images: PIL images, uint8 arrays, bytes or paths.
            prompts: one prompt for all images, or B prompts.
            imagination: setting in [-1, 1]: negative is more grounded, 0 plain. The Guard's own `decoding.Imagination`,
                with its controller or schedule, is used where it has one.
            decoding: method for this call, in place of the Guard's own.
            seed: seed of sampling with `do_sample=True`; the global random state stays as it was.
            **generate: arguments of the model's `generate`.

        Returns:
            B answers: `draft` is the text that the model wrote, `text` the draft after correction.

        Raises:
            ImageError: an image cannot be read.
            SettingsError: the numbers of images and prompts differ, or a setting is out of range.
        """
        from halluguard.correction import correct_many

        loaded = [load_image(image) for image in images]
        prompts = [prompts] * len(loaded) if isinstance(prompts, str) else list(prompts)
        if len(prompts) != len(loaded):
            raise SettingsError(f"expected one prompt or one per image, got {len(prompts)} for {len(loaded)} images")
        if not loaded:
            return []
        method = self._method(imagination, decoding)
        started = time.perf_counter()
        drafts = self.drafts(loaded, prompts, decoding=method, seed=seed, **generate)
        seconds = (time.perf_counter() - started) / len(loaded)
        settings = self._settings(method, seed, generate)
        if self.detector is None:
            answers = [Answer(draft, draft, prompt) for draft, prompt in zip(drafts, prompts, strict=True)]
        else:
            answers = list(
                correct_many(
                    *(drafts, loaded, self.detector, prompts),
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
                image=image,
                timings={"generate": seconds, **answer.timings},
                settings={**settings, **answer.settings},
            )
            for answer, image in zip(answers, loaded, strict=True)
        ]

    def drafts(
        self,
        images: Sequence[Image],
        prompts: Sequence[str],
        *,
        decoding: DecodingMethod | None = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[str]:
        """Generate B texts without correction; arguments as in `batch`."""
        import torch

        inputs = self.inputs(images, prompts)
        arguments: dict[str, Any] = {**inputs, **generate}
        model: Any = self.model
        if decoding is not None:
            model = decoding.on(self.model, self.processor)
            arguments["images"] = list(images)
        with torch.inference_mode(), torch.random.fork_rng() if seed is not None else nullcontext():
            if seed is not None:
                torch.manual_seed(seed)
            tokens = model.generate(**arguments)
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def margins(
        self,
        images: Sequence[ImageSource],
        questions: str | Sequence[str],
        *,
        decoding: DecodingMethod | None = None,
    ) -> list[float]:
        """logit(Yes) - logit(No) of the first answer token, for B questions.

        Answers ranked by this margin give an AUC that does not depend on a general bias towards yes or no.

        Args:
            images: as in `batch`.
            questions: one question for all images, or B questions.
            decoding: method whose formula is applied to the logits; its mask of allowed tokens is not.

        Raises:
            UnsupportedModelError: the tokenizer has no token that begins "yes" or "no".
        """
        import torch

        loaded = [load_image(image) for image in images]
        inputs = self.inputs(loaded, [questions] * len(loaded) if isinstance(questions, str) else questions)
        with torch.inference_mode():
            if decoding is None:
                logits = self.model(**inputs, use_cache=False).logits[:, -1].float()
            else:
                view = decoding.on(self.model, self.processor)
                logits = view.first_token_logits(**inputs, images=loaded)
        yes, no = (logits[:, _first_tokens(self.processor.tokenizer, word)].logsumexp(-1) for word in ("yes", "no"))
        return (yes - no).tolist()

    def inputs(self, images: Sequence[Image], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Model inputs for B images and prompts, by the processor's chat template, on the model's device."""
        import torch

        texts = [self._prompt(prompt) for prompt in prompts]
        self.processor.tokenizer.padding_side = "left"
        batch = self.processor(images=list(images), text=texts, padding=True, return_tensors="pt")
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
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        return self.processor.apply_chat_template(messages, add_generation_prompt=True)

    def _method(self, imagination: float | None, decoding: DecodingMethod | None) -> DecodingMethod | None:
        if imagination is not None and decoding is not None:
            raise SettingsError("expected imagination or decoding, got both; give imagination to the method instead")
        if imagination is not None:
            from halluguard.decoding import Imagination

            if isinstance(self.decoding, Imagination):
                return replace(self.decoding, imagination=imagination)
            return Imagination(imagination)
        _check_method(decoding)
        return self.decoding if decoding is None else decoding

    def _settings(self, method: DecodingMethod | None, seed: int | None, generate: Mapping[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in generate.items() if isinstance(value, str | int | float | bool)}
        return {
            "halluguard": __version__,
            "model": getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__,
            "decoding": "plain" if method is None else repr(method),
            "seed": seed,
            "generate": plain,
        }


def _first_tokens(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Ids of the tokens that begin an answer with `word`, in any case, with or without a leading space."""
    forms = (word, word.capitalize(), word.upper(), f" {word}", f" {word.capitalize()}")
    first = [tokenizer(form, add_special_tokens=False).input_ids[:1] for form in forms]
    ids = {ids[0] for ids in first if ids and str(tokenizer.decode(ids)).strip().lower() == word}
    if not ids:
        raise UnsupportedModelError(
            f"expected a tokenizer with a token for {word!r}, got {type(tokenizer).__name__} without; "
            "compare the answers of batch() instead"
        )
    return sorted(ids)


def _check_method(method: object) -> None:
    if method is not None and not callable(getattr(method, "on", None)):
        raise SettingsError(
            f"expected a decoding method such as VCD(alpha=1.0) from halluguard.decoding, got {method!r}; "
            "methods have .on(model, processor)"
        )
