"""Real processors for the tiny models of `architectures.py`: each family's own classes, built offline.

`processor(tiny)` joins the family's image processor, at the size of the tiny model, with a tokenizer of a thousand
words, in the family's processor class. The ids of the tokenizer's special tokens are those that the model's
configuration names. Where a family's published checkpoints have a chat template, the processor has one of that form.
`processor_recipes.py` has what differs from family to family. Some classes need torchvision: none is built without it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

sys.path.append(str(Path(__file__).parent))  # tests load this file by its path
import architectures
from families import FAMILIES, IMAGE, VISION_START
from processor_recipes import RECIPES, SIDE, Recipe
from visuals import packed

VOCABULARY = architectures.VOCABULARY
SPECIAL = {"<pad>": architectures.PAD, "<s>": architectures.BOS, "</s>": architectures.EOS, "<unk>": 3}
NAMED = {
    "image_token": "<image>",
    "video_token": "<video>",
    "audio_token": "<audio>",
    "context_image_token": "<image>",
    "image_boundary_token": "<fake_token_around_image>",
    "sep_token": "<sep>",
    "image_wrapper_token": "<wrap>",
    "img_line_break_token": "<line>",
    "image_break_token": "<line>",
    "eof_token": "<eof>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<number>",
    "image_id_end_token": "</number>",
    **dict.fromkeys(("boi_token", "image_start_token", "vision_bos_token", "vision_start_token"), "<boi>"),
    **dict.fromkeys(("eoi_token", "image_end_token", "vision_eos_token", "vision_end_token"), "<eoi>"),
    **{"start_image_token": "<boi>", "end_image_token": "<eoi>"},
    **{"video_start_token": "<bov>", "video_end_token": "<eov>"},
    **dict.fromkeys(("boa_token", "audio_bos_token"), "<boa>"),
    **dict.fromkeys(("eoa_token", "audio_eos_token"), "<eoa>"),
}
"""Attributes of a tokenizer that processors read, and the tokens behind them."""

WORDS = "Describe the image . Is there a dog in it ? Yes No yes no What color is cat user assistant system".split()
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }} {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}MARK"
    "{% elif part['type'] == 'text' %} {{ part['text'] }} {% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


class NotBuilt(Exception):  # noqa: N818  # no error of the family's
    """There is no processor to build, or a package that it needs is not installed."""


def tokenizer(tokens: Mapping[str, int | None], named: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of words with special tokens, at their ids or, for None, at the end of the vocabulary.

    Args:
        tokens: special tokens.
        named: whether it has the attributes of `NAMED`.
    """
    ids = {**SPECIAL, **{token: i for token, i in tokens.items() if i is not None}}
    unplaced = [t for t in dict.fromkeys([*tokens, *NAMED.values()]) if t not in ids]
    taken = set(ids.values())
    ids |= dict(zip(unplaced, (i for i in range(VOCABULARY - 1, 889, -1) if i not in taken), strict=False))
    words = [word for word in dict.fromkeys([*WORDS, *(f"w{i}" for i in range(VOCABULARY))]) if word not in ids]
    taken = set(ids.values())
    vocabulary = {**ids, **dict(zip(words, (i for i in range(4, VOCABULARY) if i not in taken), strict=False))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    start = [("<s>", architectures.BOS)]
    backend.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=start)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ids])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        extra_special_tokens=NAMED if named else {},
        model_max_length=8192,
    )


def image_processor(name: str, model: Any) -> Any:
    """The family's image processor at the size of the tiny model."""
    recipe = RECIPES.get(name, Recipe())
    names = [recipe.images] if recipe.images else list(IMAGE_PROCESSOR_MAPPING_NAMES[name].values())
    with_torchvision = transformers.utils.is_torchvision_available()
    names.sort(key=lambda name: name.endswith("Pil") == with_torchvision)
    cls = getattr(transformers, names[0])
    default, vision = cls(), getattr(model.config, "vision_config", None) or model.config
    side = getattr(vision, "image_size", SIDE)
    side = side[0] if isinstance(side, list | tuple) else side
    side = side if isinstance(side, int) and side <= 256 else SIDE
    settings: dict[str, Any] = {}
    size = dict(default.size) if getattr(default, "size", None) else {}
    if {"shortest_edge", "longest_edge"} <= set(size):
        settings["size"] = {"shortest_edge": SIDE * SIDE, "longest_edge": 84 * SIDE}
    elif size:
        settings["size"] = dict.fromkeys(size, side)
    if getattr(default, "crop_size", None):
        settings["crop_size"] = {"height": side, "width": side}
    of_vision = {"patch_size": ("patch_size",), "merge_size": ("spatial_merge_size", "merge_size")}
    for key, fields in {**of_vision, "temporal_patch_size": ("temporal_patch_size",)}.items():
        value = next((getattr(vision, f) for f in fields if isinstance(getattr(vision, f, None), int)), None)
        if isinstance(getattr(default, key, None), int) and value:
            settings[key] = value
    if getattr(model.config, "image_grid_pinpoints", None) and hasattr(default, "image_grid_pinpoints"):
        settings["image_grid_pinpoints"] = model.config.image_grid_pinpoints
    settings |= {key: value(model) if callable(value) else value for key, value in recipe.settings.items()}
    made = cls(**settings)
    for key, value in settings.items():
        if not hasattr(made, key):
            setattr(made, key, value)
    return made


def processor(tiny: Any) -> Any:
    """The family's processor for a tiny model.

    Raises:
        NotBuilt: there is none, or a package is missing.
    """
    recipe = RECIPES.get(tiny.name, Recipe())
    if recipe.missing:
        raise NotBuilt(recipe.missing)
    try:
        return _built(tiny, recipe)
    except ImportError as error:
        raise NotBuilt(" ".join(str(error).split())[:120]) from error


def _built(tiny: Any, recipe: Recipe) -> Any:
    name, model = tiny.name, tiny.model
    cls = getattr(transformers, recipe.cls or PROCESSOR_MAPPING_NAMES[name])
    tokens: dict[str, int | None] = {"<boi>": VISION_START, "<eoi>": architectures.VISION_END, "<video>": IMAGE + 1}
    tokens |= {"<audio>": IMAGE + 5, recipe.token: _image_id(model)}
    for token, place in recipe.tokens.items():
        tokens[token] = getattr(model.config, place) if isinstance(place, str) else place
    made = cls(**_parts(cls, tiny, recipe, tokenizer(tokens, recipe.named)))
    for key in set(recipe.options) - set(inspect.signature(cls.__init__).parameters):
        setattr(made, key, recipe.options[key])
    mark = recipe.mark or (f"<boi>{recipe.token}<eoi>" if FAMILIES[name].visual is packed else recipe.token)
    made.chat_template = TEMPLATE.replace("MARK", mark) if recipe.template else None
    return made


def _image_id(model: Any) -> int:
    ids = (getattr(model.config, f, None) for f in ("image_token_id", "image_token_index", "image_patch_id"))
    return next((i for i in ids if isinstance(i, int)), IMAGE)


def _parts(cls: Any, tiny: Any, recipe: Recipe, words: Any) -> dict[str, Any]:
    """The arguments of a processor's class."""
    parameters, config = inspect.signature(cls.__init__).parameters, tiny.model.config
    vision = getattr(config, "vision_config", None) or config
    features = FAMILIES[tiny.name].place
    parts: dict[str, Any] = {
        "tokenizer": words,
        "patch_size": getattr(vision, "patch_size", 14),
        "spatial_merge_size": getattr(config, "spatial_merge_size", 1),
        "vision_feature_select_strategy": getattr(config, "vision_feature_select_strategy", "default"),
        "num_additional_image_tokens": 1,
    }
    if "image_processor" in parameters or "args" in parameters:
        parts["image_processor"] = image_processor(tiny.name, tiny.model)
    if "video_processor" in parameters:
        parts["video_processor"] = _video_processor(cls)
    if "qformer_tokenizer" in parameters:
        parts["qformer_tokenizer"] = tokenizer({})
    if "feature_extractor" in parameters:
        parts["feature_extractor"] = transformers.WhisperFeatureExtractor()
    for key in ("num_query_tokens", "image_seq_length", "image_seq_len", "num_image_tokens"):
        if key in parameters and key not in recipe.options:
            parts[key] = _features(tiny) if features is True else features or 1
    parts |= {key: value(tiny.model) if callable(value) else value for key, value in recipe.options.items()}
    return {key: value for key, value in parts.items() if key in parameters}


def _features(tiny: Any) -> int:
    """Number of features of one image in the tiny model."""
    return architectures.placeholders(tiny.model, FAMILIES[tiny.name].visual(tiny.model, 1, 0))


def _video_processor(cls: Any) -> Any:
    stem = re.sub("Processor$", "", cls.__name__)
    own = getattr(transformers, f"{stem}VideoProcessor", None) or transformers.Qwen2VLVideoProcessor
    return own()
