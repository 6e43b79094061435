"""The official Grounding DINO package (`groundingdino-py`, IDEA-Research), with its own checkpoints, on transformers 5.

The package copies three methods of transformers' BERT that no longer exist, and its text enhancer mixes the captions of
a batch (IDEA-Research/GroundingDINO, issue 294). Both are put right here, in the package's modules, when a model is
built:

    TextEncoder        takes the place of `BertModelWarper`; same sub-modules, so checkpoints load as they are
    batch_major        the order of masks that `torch.nn.MultiheadAttention` wants

With that it equals transformers' port with the same weights; `make test-groundingdino` measures it.
Needs the extra `groundingdino`, and torchvision of the release that fits torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from halluguard.checkpoints import load_pretrained
from halluguard.detectors import grounding_prompt
from halluguard.detectors.geometry import corners, in_pixels
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.detectors.zero_shot_families import PHRASES_IN_A_CAPTION, Ask, Family, texts_of
from halluguard.errors import InputError, SettingsError, UnsupportedModelError, require

CONFIGS = ("GroundingDINO_SwinT_OGC", "GroundingDINO_SwinB_cfg")
"""The configurations that the package carries. They are Python files that get run, so no other is accepted."""

PIXELS = {"shortest_edge": 800, "longest_edge": 1333}
"""How the package's `load_image` sizes a picture."""


class GroundingDinoPy(ZeroShotDetector):
    """An official Grounding DINO checkpoint as an expert; the arguments and promises are those of `ZeroShotDetector`.

    Example:
        >>> expert = GroundingDinoPy.from_checkpoint(                                    # doctest: +SKIP
        ...     "GroundingDINO_SwinT_OGC", "groundingdino_swint_ogc.pth", tokenizer="bert-base-uncased/"
        ... )
    """

    families: ClassVar[Mapping[str, Family]] = {
        "groundingdino-py": Family(
            lambda detector, pictures, asks: _look(detector, pictures, asks), (0.35, 0.2), **PHRASES_IN_A_CAPTION
        )
    }

    @classmethod
    def from_checkpoint(
        cls,
        config: str,
        checkpoint: str | Path,
        *,
        tokenizer: str | Path = "bert-base-uncased",
        device: Any = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint of the official release.

        Args:
            config: one of `CONFIGS`.
            checkpoint: the `.pth` (read with `weights_only`, nothing in it is run) or `.safetensors` file.
            tokenizer: hub name or folder of bert-base-uncased; a checkpoint holds no tokenizer.
            device: where it runs; default the first GPU, else the CPU.
            options: the arguments of the class.

        Raises:
            SettingsError: the configuration is not one of the package's.
            InputError: the file cannot be read, or its weights are not those of the configuration.
            MissingExtraError: the package or torchvision is not installed.
        """
        import torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = load_weights(build(packaged_config(config), tokenizer), Path(checkpoint))
        options.setdefault("name", f"groundingdino:{config},{Path(checkpoint).name}")
        return cls.of(model.to(device), **options)

    @classmethod
    def of(cls, model: Any, **options: Any) -> Self:
        """The expert of a model that `build` made."""
        return cls(_AsTransformers(model), _Processor(model.tokenizer), **options)


def _look(detector: ZeroShotDetector, pictures: list[Any], asks: list[Ask]) -> list[tuple[Any, Any]]:
    prompts = texts_of(detector, asks)
    written = [grounding_prompt.caption(row) for row in prompts]
    ids = detector.processor.tokenizer(written)["input_ids"]
    output = detector.model(written, **detector.pixels(pictures, asks))
    boxes = corners(output["pred_boxes"].float().cpu())
    return [
        (
            grounding_prompt.phrase_scores(output["pred_logits"][row], ids[row], prompts[row], detector.pool),
            in_pixels(boxes[row], pictures[ask.image].size),
        )
        for row, ask in enumerate(asks)
    ]


def packaged_config(name: str) -> dict[str, Any]:
    """The settings of one of the package's own configurations.

    Raises:
        SettingsError: another name, or a path.
    """
    import importlib

    stem = str(name).removesuffix(".py")
    if stem not in CONFIGS:
        raise SettingsError(
            f"expected one of the package's configurations {', '.join(CONFIGS)}, got {name!r}; "
            "others are Python files that would be run, and are refused"
        )
    require("groundingdino.config", extra="groundingdino", feature="the official Grounding DINO")
    module = importlib.import_module(f"groundingdino.config.{stem}")
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


def build(settings: Mapping[str, Any], tokenizer: str | Path, *, text: Any = None) -> Any:
    """A model of the package with random weights, its text encoder on transformers 5 and its batches kept apart.

    Args:
        settings: as in the package's configurations.
        tokenizer: hub name or folder of bert-base-uncased.
        text: the BERT's configuration; default that of bert-base-uncased. Its weights come from the checkpoint.
    """
    from types import SimpleNamespace

    from transformers import AutoTokenizer, BertConfig, BertModel

    module = _package()
    words = load_pretrained(AutoTokenizer, tokenizer)
    grounding_prompt.check_separators(words, "Grounding DINO")
    config = text or BertConfig()
    config._attn_implementation = "sdpa"
    # Checkpointing saves memory in training alone, and warns without it.
    args = SimpleNamespace(**{**settings, "use_checkpoint": False, "use_transformer_ckpt": False})
    args.text_encoder_type = str(tokenizer)
    swaps = {"BertModelWarper": text_encoder_class()}
    loaders = {
        "get_tokenlizer": lambda name: words,
        "get_pretrained_language_model": lambda name: BertModel(config),
    }
    with _Swapped(module, swaps), _Swapped(module.get_tokenlizer, loaders):
        model = module.build_groundingdino(args)
    for layer in model.transformer.encoder.text_layers:
        layer.forward = batch_major(layer)
    return model.eval()


def text_encoder_class() -> type[Any]:
    """The class that takes the place of the package's `BertModelWarper`."""
    import torch

    class TextEncoder(torch.nn.Module):
        """BERT under a mask of its own per pair of tokens: True where a token sees another.

        The mask reaches the layers as an additive float mask, (B, 1, T, T), 0 or the least number: transformers adds a
        boolean one as 0 and 1 under eager attention, and every token sees every other.
        """

        def __init__(self, bert_model: Any) -> None:
            super().__init__()
            self.config = bert_model.config
            self.embeddings = bert_model.embeddings
            self.encoder = bert_model.encoder
            self.pooler = bert_model.pooler

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any, position_ids: Any) -> Any:
            hidden = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids, position_ids=position_ids)
            mask = torch.zeros(attention_mask.shape, dtype=hidden.dtype, device=hidden.device)
            mask = mask.masked_fill(~attention_mask.bool(), torch.finfo(hidden.dtype).min)
            output = self.encoder(hidden, attention_mask=mask[:, None])
            return {"last_hidden_state": output.last_hidden_state}

    return TextEncoder


def batch_major(layer: Any) -> Any:
    """The forward pass of a text enhancer layer with each caption under its own mask.

    The package repeats the masks (B, T, T) as a whole, once per head: b0 b1 b0 b1. `MultiheadAttention` reads
    (B * heads, T, T) as b0 b0 b1 b1, so that in a batch captions get each other's masks.
    """
    forward = layer.forward

    def fixed(src: Any, src_mask: Any, src_key_padding_mask: Any = None, pos: Any = None) -> Any:
        # (T, B, C) and (B, T, T); the layer leaves masks alone that are not one per caption.
        return forward(src, src_mask.repeat_interleave(layer.nhead, dim=0), src_key_padding_mask, pos)

    return fixed


def load_weights(model: Any, checkpoint: Path) -> Any:
    """Put a checkpoint's weights into the model, and refuse one that lacks any or has others.

    Raises:
        InputError: unreadable, or not the weights of this configuration.
    """
    import pickle

    import torch

    try:
        if checkpoint.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(checkpoint)
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot read the weights {str(checkpoint)!r} ({reason}); expected the .pth of the official release"
        ) from error
    except Exception as error:  # safetensors raises a class of its own
        raise InputError(f"cannot read the weights {str(checkpoint)!r} ({error})") from error
    state = state.get("model", state) if isinstance(state, Mapping) else {}
    weights = {str(key).removeprefix("module."): value for key, value in state.items()}
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
    """Names of a module rebound for the time of a block."""

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
    """The tokenizer, and the package's way to prepare a picture, under the names `ZeroShotDetector` knows."""

    def __init__(self, tokenizer: Any) -> None:
        from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
            GroundingDinoImageProcessorPil,
        )

        self.tokenizer = tokenizer
        self.image_processor = GroundingDinoImageProcessorPil(size=PIXELS)


class _AsTransformers:
    """A model of the package under the names of transformers' port: `config`, and a call that returns the output."""

    def __init__(self, model: Any) -> None:
        from types import SimpleNamespace

        self.module = model
        self.name_or_path = ""
        self.config = SimpleNamespace(model_type="groundingdino-py", max_text_len=model.max_text_len)

    @property
    def device(self) -> Any:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> Any:
        return next(self.module.parameters()).dtype

    def eval(self) -> Self:
        self.module.eval()
        return self

    def __call__(self, texts: Iterable[str], pixel_values: Any, pixel_mask: Any) -> Any:
        """Logits (B, Q, 256) and boxes (B, Q, 4) of B captions; `pixel_mask` is 1 on the picture, 0 on padding."""
        from groundingdino.util.misc import NestedTensor

        return self.module(NestedTensor(pixel_values, pixel_mask == 0), captions=list(texts))
