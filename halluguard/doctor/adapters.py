"""Probe of the adapter: whether it is in the model and changes its answers."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.doctor.report import Finding
from halluguard.doctor.subject import QUESTIONS, Subject, by_generate, differs, noise, quiet
from halluguard.io import parsing, read_json


def layers(model: nn.Module) -> list[nn.Module]:
    """The layers that PEFT put into a model."""
    return [module for module in model.modules() if hasattr(module, "lora_A") or hasattr(module, "adapter_layer_names")]


def applied(subject: Subject) -> Finding:
    """Fault 12: with the adapter switched off, the logits are the same to the last bit."""
    own = layers(subject.model)
    if not own:
        if subject.adapter is not None:
            return Finding(12, "fault", f"no layer of the model holds an adapter, {subject.adapter} was expected", 0)
        return Finding(12, "skipped", "the model has no adapter")
    if subject.found & {2, 10, 15}:
        return Finding(12, "skipped", f"fault {min(subject.found & {2, 10, 15})} keeps the probe from running")
    inputs = subject.reference([[noise(21)]], [QUESTIONS[0]])
    switched_off = shared_copy_of(subject.model)
    for layer in layers(switched_off):
        layer.__dict__["_disable_adapters"] = True
    with quiet():
        with_it, without = subject.fresh_logits(inputs), by_generate(switched_off)(dict(inputs))
    if not differs(with_it, without):
        why = "its matrices B are all zero" if _all_zero(own) else "it is switched off, or its layers are never run"
        return Finding(12, "fault", f"the adapter changes no logit: {why}", 0)
    base = _base(subject)
    if base is not None:
        return Finding(12, "note", f"the adapter was trained on {base!r}, the model is {_name(subject)!r}")
    return Finding(12, "ok", "the adapter changes the logits")


def _all_zero(own: list[nn.Module]) -> bool:
    weights = [one.weight for layer in own for one in getattr(layer, "lora_B", {}).values()]
    return bool(weights) and all(not bool(weight.any()) for weight in weights)


def _name(subject: Subject) -> str:
    return str(getattr(subject.model.config, "_name_or_path", "") or "")


def _base(subject: Subject) -> str | None:
    """The base model that the adapter's config names, where it is another one."""
    if subject.adapter is None:
        return None
    file = Path(subject.adapter) / "adapter_config.json"
    with parsing(file, "the settings of an adapter"):
        named = str(read_json(file).get("base_model_name_or_path") or "") if file.is_file() else ""
    known = _name(subject)
    return named if named and known and Path(named).name != Path(known).name else None
