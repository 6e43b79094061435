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
    import torch
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
    from transformers.utils.quantization_config import QuantizationConfigMixin

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
        decoding: decoding method for every answer (`halluguard.decoding`), or its name; None generates plainly.
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
        decoding: DecodingMethod | str | None = None,
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
        decoding = _named(decoding)
        self.model, self.processor = model, processor
        self.detector, self.decoding, self.thresholds = detector, decoding, thresholds
        self.properties, self.calibration, self.style, self.proposer = properties, calibration, style, proposer

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        detector: str | Path | Detector | None = None,
        decoding: DecodingMethod | str | None = None,
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
    ) -> Self:
        """Load a model, and a detector and a fine-tuned adapter where they are named.

        Args:
            name: hub name or folder of an image-text-to-text model. Only safetensors are read; remote code is not run.
            detector: a detector, or the hub name or folder of one.
            decoding: decoding method for every answer, or its name: "vcd".
            adapter: hub name or folder of a PEFT adapter trained on this model (needs the extra `train`).
            device: "cuda", "cpu", ...; default the first GPU, else the CPU.
            device_map: placement of the model's parts, in place of `device`, such as "auto" (needs accelerate).
            max_memory: device -> memory that `device_map` may use, such as {0: "20GiB", "cpu": "60GiB"}.
            dtype: "bfloat16", "float16", "float32" or "auto"; default "auto" on a GPU, float32 on a CPU.
            quantization_config: of transformers, such as BitsAndBytesConfig(load_in_4bit=True).
            attn_implementation: "sdpa", "eager", "flash_attention_2", ...; default transformers' choice.
            processor_kwargs: further arguments of the processor, such as {"max_pixels": 512 * 512}.
            revision: commit, branch or tag of the checkpoint.
            cache_dir: folder of downloaded checkpoints.
            token: access token of the hub; default that of `hf auth login`.
            local_files_only: True to use no network.

        Raises:
            UnsupportedModelError: the checkpoint is not an image-text-to-text model, or its weights are not whole.
            InputError: no such checkpoint.
            SettingsError: both `device` and `device_map` are given, or no decoding method has that name.
        """
        from halluguard import checkpoints

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
        return cls(model, processor, detector=detector, decoding=decoding)

    def __getstate__(self) -> dict[str, Any]:
        # transformers records hidden states by hooks that cannot be pickled; it installs them again where they are gone
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
        }
        shown = [f"{name}={value!r}" for name, value in parts.items() if value is not None]
        return f"Guard({', '.join([model, *shown, f'style={self.style!r}'])})"

    @property
    def _model_name(self) -> str:
        return getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__

    def __call__(
        self,
        image: ImageSource,
        prompt: str = DEFAULT_PROMPT,
        *,
        imagination: float | None = None,
        decoding: DecodingMethod | str | None = None,
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
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[Answer]:
        """Answer prompts about images in one batch.

        Args:
            images: B images: PIL images, uint8 arrays, bytes or paths.
            prompts: one prompt for all images, or B prompts.
            imagination: setting in [-1, 1]: negative is more grounded, 0 plain. The Guard's own `decoding.Imagination`,
                with its controller or schedule, is used where it has one.
            decoding: method for this call, or its name, in place of the Guard's own.
            seed: seed of sampling with `do_sample=True`. The answers are the same in any thread, and the global random
                state stays as it was.
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
        decoding: DecodingMethod | str | None = None,
        seed: int | None = None,
        **generate: Any,
    ) -> list[str]:
        """Generate B texts without correction; arguments as in `batch`."""
        import torch

        from halluguard.seeding import Seeded

        inputs = self.inputs(images, prompts)
        arguments: dict[str, Any] = {**inputs, **generate}
        model: Any = self.model
        if (method := _named(decoding)) is not None:
            model = method.on(self.model, self.processor)
            arguments["images"] = list(images)
        with torch.inference_mode(), nullcontext() if seed is None else Seeded(seed):
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
        decoding: DecodingMethod | str | None = None,
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
            method = _named(decoding)
            if method is None:
                logits = self.model(**inputs, use_cache=False).logits[:, -1].float()
            else:
                view = method.on(self.model, self.processor)
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

    def _method(self, imagination: float | None, decoding: DecodingMethod | str | None) -> DecodingMethod | None:
        if imagination is not None and decoding is not None:
            raise SettingsError("expected imagination or decoding, got both; give imagination to the method instead")
        if imagination is not None:
            from halluguard.decoding import Imagination

            if isinstance(self.decoding, Imagination):
                return replace(self.decoding, imagination=imagination)
            return Imagination(imagination)
        return self.decoding if decoding is None else _named(decoding)

    def _settings(self, method: DecodingMethod | None, seed: int | None, generate: Mapping[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in generate.items() if isinstance(value, str | int | float | bool)}
        return {
            "halluguard": __version__,
            "model": self._model_name,
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


def _named(method: DecodingMethod | str | None) -> DecodingMethod | None:
    """The decoding method, made by its name where one is given.

    Raises:
        SettingsError: there is no method of that name, or it is no method.
    """
    if isinstance(method, str):
        from halluguard.decoding import METHODS, get_method

        name, colon, preset = method.partition(":")
        spelling = {one.lower(): one for one in METHODS}.get(name.strip().lower(), name)
        return get_method(f"{spelling}{colon}{preset}")
    if method is not None and not callable(getattr(method, "on", None)):
        raise SettingsError(
            f"expected a decoding method such as VCD(alpha=1.0) from halluguard.decoding, or its name, got {method!r}"
        )
    return method
