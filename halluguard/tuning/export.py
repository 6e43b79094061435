"""Export a trained adapter as a plain model folder: merged weights, processor and model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from transformers import AutoProcessor, PreTrainedModel

from halluguard import io
from halluguard.checkpoints import load_mllm, load_processor, merge_adapter, no_bars_in_captured_output
from halluguard.errors import InputError, UnsupportedModelError, require
from halluguard.tensor_files import read_shapes

Metric: TypeAlias = float | str | tuple[float, tuple[float, float]]
"""A value, or a value with its interval (low, high)."""

CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
base_model: {base}
{license}tags: [halluguard, hallucination-mitigation]
---
# {title}

`{base}`, fine-tuned by halluguard to hallucinate less, the adapter merged into the weights. It loads
without halluguard:

    AutoModelForImageTextToText.from_pretrained(FOLDER)

## Data

{data}

## Training

{facts}

## Measured

{metrics}
"""


def export(
    base: str | Path,
    adapter: str | Path,
    out: str | Path,
    *,
    facts: Mapping[str, object] | None = None,
    data: str = "",
    licenses: tuple[str, ...] = (),
    metrics: Mapping[str, Metric] | None = None,
    dtype: str = "auto",
) -> Path:
    """Merge `adapter` into `base` and write a folder that transformers loads by itself.

    Args:
        base: hub name or folder of the model the adapter was trained on.
        adapter: folder that `fine_tune` wrote.
        out: folder to write: safetensors, configuration, processor with its chat template, README.md.
        facts: result of `fine_tune`, for the card.
        data: description of the training data, for the card.
        licenses: licences of the data; one that forbids commercial use binds the model's users too.
        metrics: measurements by name, for the card. Without any, the card says that nothing was measured.
        dtype: data type of the written weights; "auto" is the base's.

    Raises:
        InputError: no adapter there. UnsupportedModelError: the adapter was made for another base.
    """
    require("peft", feature="merging an adapter")
    if not (Path(adapter) / "adapter_config.json").exists():
        raise InputError(f"expected a folder with adapter_config.json, got {adapter}; name what fine_tune wrote")
    model, processor = load_mllm(base, dtype=dtype)
    _check_base(model, adapter)
    merged = merge_adapter(model, adapter)
    folder = Path(out)
    with no_bars_in_captured_output():
        merged.save_pretrained(folder, safe_serialization=True)
    if (Path(adapter) / "processor_config.json").exists():
        processor = load_processor(AutoProcessor, adapter)
    processor.save_pretrained(folder)
    io.write_text(folder / "README.md", card(str(base), folder.name, facts, data, licenses, metrics))
    return folder


def card(
    base: str,
    title: str,
    facts: Mapping[str, object] | None = None,
    data: str = "",
    licenses: tuple[str, ...] = (),
    metrics: Mapping[str, Metric] | None = None,
) -> str:
    """The model card: base, data and licences, facts of the training, measured values; "not stated" where unknown."""
    about = [data] if data else ["Not stated."]
    if licenses:
        about.append(f"Licences of the data, which bind users of this model too: {', '.join(sorted(set(licenses)))}.")
    lines = [f"| {name} | {_shown(value)} |" for name, value in (metrics or {}).items()]
    return CARD.format(
        base=base,
        title=title,
        license=f"license: other\nlicense_name: {json.dumps(', '.join(sorted(set(licenses))))}\n" if licenses else "",
        data="\n\n".join(about),
        facts="\n".join(f"- {name}: {value}" for name, value in (facts or {}).items()) or "Not stated.",
        metrics="\n".join(["| value | [95 % interval] |", "|---|---|", *lines])
        if lines
        else "Nothing was measured. Do not assume that it hallucinates less than its base: measure both.",
    )


def _shown(value: Metric) -> str:
    if isinstance(value, tuple | list):
        (point, (low, high)) = value
        return f"{point:.4g} [{low:.4g}, {high:.4g}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_base(model: PreTrainedModel, adapter: str | Path) -> None:
    """Refuse an adapter whose shapes are not those of the base; peft would apply the layers that happen to fit."""
    path = Path(adapter) / "adapter_model.safetensors"
    if not path.exists():
        raise InputError(
            f"expected {path}, got no such file; save the adapter as safetensors (other formats are not read)"
        )
    modules = dict(model.named_modules())
    for name, shape in read_shapes(path):
        layer, _, half = name.removeprefix("base_model.model.").partition(".lora_")
        module = modules.get(layer)
        if module is None or not half or not hasattr(module, "in_features"):
            if half and module is None:
                raise UnsupportedModelError(
                    f"the adapter changes {layer!r}, which {type(model).__name__} does not have; use the base "
                    "model it was trained on"
                )
            continue
        if len(shape) != 2:
            raise UnsupportedModelError(f"the adapter's {name!r} is not a matrix; copy the adapter again")
        width, here = (shape[1], module.in_features) if half[0] == "A" else (shape[0], module.out_features)
        if width != here:
            raise UnsupportedModelError(
                f"the adapter was made for a layer {layer!r} of width {width}, this base has {here}; use the base "
                "model it was trained on"
            )
