"""Find plumbing faults that look like hallucination: a lost image, a wrong template, a cache of another image.

    report = examine(model, processor)
    print(report)                      # a line per fault: what was measured, and the cure

Fifteen probes compare the user's way of calling a model with what its checkpoint says. None needs labels, and all run
on any image-text-to-text model of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel, ProcessorMixin

from halluguard.chat_templates import TemplateLimitError
from halluguard.doctor import adapters, image_features, pixel_values, prompts, recomputation
from halluguard.doctor.report import FAULTS, Finding, Report
from halluguard.doctor.subject import Prepare, Run, Subject, by_generate, by_processor, check_subject

__all__ = ["FAULTS", "Finding", "Prepare", "Report", "Run", "Subject", "by_generate", "by_processor", "examine"]

PROBES: dict[int, Callable[[Subject], Finding]] = {
    15: prompts.truncation,
    7: prompts.start_token,
    1: prompts.chat_template,
    6: prompts.stop_token,
    10: image_features.count,
    2: recomputation.image_used,
    14: pixel_values.normalisation,
    4: pixel_values.channels,
    3: pixel_values.resolution,
    13: pixel_values.version,
    11: image_features.overflow,
    9: recomputation.other_cache,
    5: recomputation.stale_positions,
    8: recomputation.padding,
    12: adapters.applied,
}
"""The probe of each fault, in the order in which they run: a fault that explains another is looked for first."""


def examine(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    prepare: Prepare | None = None,
    run: Run | None = None,
    stop: Sequence[int] | None = None,
    adapter: str | Path | None = None,
) -> Report:
    """Run the fifteen probes on a model as its user calls it.

    Args:
        model: image-text-to-text model of transformers; it is left as it is.
        processor: the checkpoint's own processor, the reference for prompts and pixels.
        prepare: the user's way to make inputs: a list of images per prompt, and texts, to the model's inputs. Default:
            the processor with its chat template.
        run: the user's way to run the model: inputs to logits (B, T, V) of the first T answer tokens, chosen greedily.
            Default: `model.generate`.
        stop: ids of the user's stop tokens; default those of the model's generation config.
        adapter: hub name or folder of the adapter that should be in the model.

    Raises:
        UnsupportedModelError: no model that generates, no processor, or a chat template without end.

    >>> from halluguard import sandbox
    >>> report = examine(*sandbox.load_mllm())
    >>> report.healthy
    True
    """
    check_subject(model, processor)
    subject = Subject(model, processor, prepare, run, stop, adapter)
    findings = []
    for number, probe in PROBES.items():
        finding = _probed(number, probe, subject)
        if finding.status == "fault":
            subject.found.add(number)
        findings.append(finding)
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return Report(str(name), sorted(findings, key=lambda finding: finding.fault))


def _probed(number: int, probe: Callable[[Subject], Finding], subject: Subject) -> Finding:
    """The finding of a probe: "skipped" if the model or the user's way of calling fails inside it."""
    try:
        return probe(subject)
    except TemplateLimitError:  # each of the probes would wait for it again
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "no message")
        return Finding(number, "skipped", f"the probe could not run ({type(error).__name__}: {first[:160]})")
