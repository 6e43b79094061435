"""Run checkpoints of the official Grounding DINO package (`groundingdino-py`, IDEA-Research) on transformers 5.

The package copies three methods of transformers' BERT that no longer exist, and its text enhancer mixes the captions of
a batch (IDEA-Research/GroundingDINO, issue 294). Both are repaired in the package's modules when a model is built:

    TextEncoder        replaces `BertModelWarper`; same sub-modules, so that checkpoints load as they are
    batch_major        orders the masks as `torch.nn.MultiheadAttention` expects them

The result equals transformers' port with the same weights; `make test-groundingdino` measures it.
Needs the extra `groundingdino`, and the torchvision release that fits torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerBase
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

from halluguard.arguments import parameters, refuse_unknown
from halluguard.checkpoints import default_device, load_pretrained
from halluguard.detectors import grounding_prompt
from halluguard.detectors.checkpoints import Device
from halluguard.detectors.geometry import corners, in_pixels
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.detectors.zero_shot_families import Batch, Family, ScoresAndBoxes, grounding_family, texts_of
from halluguard.errors import InputError, SettingsError, UnsupportedModelError, first_line, require
from halluguard.tensor_files import read_tensors

CONFIGS = ("GroundingDINO_SwinT_OGC", "GroundingDINO_SwinB_cfg")
"""Configurations of the package. They are Python files that are run, so no others are accepted."""

PIXELS = {"shortest_edge": 800, "longest_edge": 1333}
"""Image size of the package's `load_image`."""


def _forward(detector: ZeroShotDetector, batch: Batch) -> list[ScoresAndBoxes]:
    prompts = texts_of(detector, batch.queries)
    captions = [grounding_prompt.caption(row) for row in prompts]
    ids = detector.processor.tokenizer(captions)["input_ids"]
    output = batch.model(captions, **batch.pixels)
    boxes = corners(output["pred_boxes"].float().cpu())
    return [
        (
            grounding_prompt.phrase_scores(output["pred_logits"][row], ids[row], prompts[row], detector.pool),
            in_pixels(boxes[row], batch.images[query.image].size),
        )
        for row, query in enumerate(batch.queries)
    ]


class GroundingDinoPy(ZeroShotDetector):
    """An official Grounding DINO checkpoint; arguments and promises are those of `ZeroShotDetector`.

    Example:
        >>> expert = GroundingDinoPy.from_checkpoint(                                    # doctest: +SKIP
        ...     "GroundingDINO_SwinT_OGC", "groundingdino_swint_ogc.pth", tokenizer="bert-base-uncased/"
        ... )
    """

    families: ClassVar[Mapping[str, Family]] = {"groundingdino-py": grounding_family(_forward)}

    @classmethod
    def from_checkpoint(
        cls,
        config: str,
        checkpoint: str | Path,
        *,
        tokenizer: str | Path = "bert-base-uncased",
        device: Device = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint of the official release.

        Args:
            config: one of `CONFIGS`.
            checkpoint: the `.pth` (read with `weights_only`, nothing in it is run) or `.safetensors` file.
            tokenizer: hub name or folder of bert-base-uncased; a checkpoint holds no tokenizer.
            device: device of the model; default the first GPU, else the CPU.
            options: arguments of the class.

        Raises:
            SettingsError: the configuration is not one of the package's, or an option is none of the class.
            InputError: the file cannot be read, or its weights are not those of the configuration.
            MissingExtraError: the package or torchvision is not installed.
        """
        refuse_unknown(f"{cls.__name__}.from_checkpoint", options, parameters(cls.from_checkpoint, cls))
        model = load_weights(build(packaged_config(config), tokenizer), Path(checkpoint))
        name = f"groundingdino:{config},{Path(checkpoint).name}"
        return cls.of(model.to(default_device(device)), **{"name": name, **options})

    @classmethod
    def of(cls, model: Any, **options: Any) -> Self:
        """The detector around a model that `build` made."""
        wrapped: Any = _AsTransformers(model)
        processor: Any = _Processor(model.tokenizer)
        return cls(wrapped, processor, **options)


def packaged_config(name: str) -> dict[str, Any]:
    """The settings of one of the package's own configurations.

    Raises:
        SettingsError: another name, or a path.
    """
    stem = str(name).removesuffix(".py")
    if stem not in CONFIGS:
        raise SettingsError(
            f"expected one of the package's configurations {', '.join(CONFIGS)}, got {name!r}; "
            "others are Python files that would be run, and are refused"
        )
    require("groundingdino.config", extra="groundingdino", feature="the official Grounding DINO")
    module = importlib.import_module(f"groundingdino.config.{stem}")
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


def build(settings: Mapping[str, Any], tokenizer: str | Path, *, text: BertConfig | None = None) -> Any:
    """A model of the package with random weights, its text encoder on transformers 5 and its batches kept apart.

    Args:
        settings: those of one of the package's configurations.
        tokenizer: hub name or folder of bert-base-uncased.
        text: configuration of the BERT; default that of bert-base-uncased. Its weights come from the checkpoint.
    """
    module = _package()
    own_tokenizer = load_pretrained(AutoTokenizer, tokenizer)
    grounding_prompt.check_separators(own_tokenizer, "Grounding DINO")
    config = text or BertConfig()
    config._attn_implementation = "sdpa"
    # Checkpointing saves memory in training alone, and warns without it.
    args = SimpleNamespace(**{**settings, "use_checkpoint": False, "use_transformer_ckpt": False})
    args.text_encoder_type = str(tokenizer)
    swaps = {"BertModelWarper": TextEncoder}
    loaders = {
        "get_tokenlizer": lambda name: own_tokenizer,
        "get_pretrained_language_model": lambda name: BertModel(config),
    }
    with _Swapped(module, swaps), _Swapped(module.get_tokenlizer, loaders):
        model = module.build_groundingdino(args)
    for layer in model.transformer.encoder.text_layers:
        layer.forward = batch_major(layer)
    return model.eval()


class TextEncoder(torch.nn.Module):
    """BERT with a mask of its own per pair of tokens: True where a token sees another.

    The layers get an additive float mask (B, 1, T, T), 0 or the least number: transformers adds a boolean one as 0 and
    1 under eager attention, and then every token sees every other.
    """

    def __init__(self, bert_model: BertModel) -> None:
        super().__init__()
        self.config = bert_model.config
        self.embeddings = bert_model.embeddings
        self.encoder = bert_model.encoder
        self.pooler = bert_model.pooler

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, position_ids: Tensor
    ) -> dict[str, Tensor]:
        hidden = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids, position_ids=position_ids)
        mask = torch.zeros(attention_mask.shape, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(~attention_mask.bool(), torch.finfo(hidden.dtype).min)
        output = self.encoder(hidden, attention_mask=mask[:, None])
        return {"last_hidden_state": output.last_hidden_state}


def batch_major(layer: Any) -> Callable[..., Tensor]:
    """The forward pass of a text enhancer layer, each caption with its own mask.

    The package repeats the masks (B, T, T) as a whole, once per head: b0 b1 b0 b1. `MultiheadAttention` reads
    (B * heads, T, T) as b0 b0 b1 b1, so that in a batch captions get each other's masks.
    """
    forward = layer.forward

    def fixed(
        src: Tensor, src_mask: Tensor, src_key_padding_mask: Tensor | None = None, pos: Tensor | None = None
    ) -> Tensor:
        # (T, B, C) and (B, T, T); the layer changes a mask only if there is one per caption.
        return forward(src, src_mask.repeat_interleave(layer.nhead, dim=0), src_key_padding_mask, pos)

    return fixed


def load_weights(model: torch.nn.Module, checkpoint: Path) -> torch.nn.Module:
    """Put a checkpoint's weights into the model; raise if weights are missing, unknown or of another shape.

    Raises:
        InputError: unreadable, or not the weights of this configuration.
    """
    try:
        if checkpoint.suffix == ".safetensors":
            state: dict[str, Any] = read_tensors(checkpoint, content="weights", advice="download it again")[0]
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files end in a dozen kinds of error
        raise InputError(
            f"cannot read the weights {str(checkpoint)!r} ({first_line(error)}); expected the .pth of the official "
            "release, or the same as .safetensors"
        ) from error
    tensors: dict[str, Tensor] = state.get("model", state) if isinstance(state, Mapping) else {}
    weights = {str(key).removeprefix("module."): value for key, value in tensors.items()}
    mine = model.state_dict()
    wrong = {key for key in weights.keys() & mine.keys() if weights[key].shape != mine[key].shape}
    missing = sorted(mine.keys() - weights.keys())
    unexpected = sorted(key for key in weights.keys() - mine.keys() if not key.endswith(_HARMLESS))
    if wrong or missing or unexpected:
        raise InputError(
            f"the weights {str(checkpoint)!r} are not those of this configuration: {len(missing)} missing "
            f"{_some(missing)}, {len(unexpected)} unknown {_some(unexpected)}, {len(wrong)} of another shape "
            f"{_some(sorted(wrong))}; name the configuration it was trained with"
        )
    model.load_state_dict(weights, strict=False)
    return model


_HARMLESS = ("embeddings.position_ids", "relative_position_index", "label_enc.weight")
"""Keys of older releases that hold no trained weight of the detector."""


def _some(names: list[str]) -> str:
    return f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "()"


def _package() -> ModuleType:
    try:
        return require(
            "groundingdino.models.GroundingDINO.groundingdino",
            extra="groundingdino",
            feature="the official Grounding DINO",
        )
    except RuntimeError as error:  # torchvision's operators: "operator torchvision::nms does not exist"
        raise UnsupportedModelError(
            f"the official Grounding DINO needs the torchvision that fits torch, got one that does not load ({error}); "
            "reinstall both together"
        ) from error


class _Swapped:
    """Rebind names of a module during a block."""

    def __init__(self, module: ModuleType, names: Mapping[str, Any]) -> None:
        self.module, self.names = module, dict(names)

    def __enter__(self) -> None:
        self.before = {name: getattr(self.module, name) for name in self.names}
        for name, value in self.names.items():
            setattr(self.module, name, value)

    def __exit__(self, *error: object) -> None:
        for name, value in self.before.items():
            setattr(self.module, name, value)


class _Processor:
    """The tokenizer and the package's image preparation, under the names that `ZeroShotDetector` uses."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.image_processor = GroundingDinoImageProcessorPil(size=PIXELS)


class _AsTransformers:
    """A model of the package with the `config` and the call of transformers' port."""

    def __init__(self, model: Any) -> None:
        self.module = model
        self.name_or_path = ""
        self.config = SimpleNamespace(model_type="groundingdino-py", max_text_len=model.max_text_len)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def eval(self) -> Self:
        self.module.eval()
        return self

    def __call__(self, texts: Iterable[str], pixel_values: Tensor, pixel_mask: Tensor) -> dict[str, Tensor]:
        """Logits (B, Q, 256) and boxes (B, Q, 4) of B captions; `pixel_mask` is 1 on the image, 0 on padding."""
        from groundingdino.util.misc import NestedTensor

        return self.module(NestedTensor(pixel_values, pixel_mask == 0), captions=list(texts))
