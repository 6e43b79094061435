"""Findings of an examination, the report that holds them, and the table of the fifteen faults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from halluguard._version import __version__

Status = Literal["ok", "fault", "note", "skipped"]
"""Outcome of a probe: no fault; a fault; something worth knowing; or the probe does not apply or could not run."""

FAULTS: dict[int, tuple[str, str]] = {
    1: ("wrong chat template", "build the prompt with the processor's apply_chat_template(add_generation_prompt=True)"),
    2: ("image lost or out of order", "give every prompt one placeholder per image, and the images in that order"),
    3: ("reduced resolution", "raise max_pixels, longest_edge or size, and pass the image in its own size"),
    4: ("red and blue swapped", "convert images to RGB before the processor (OpenCV reads BGR)"),
    5: (
        "stale positions",
        "let generate count positions, or reset rope_deltas and position_ids for each prompt",
    ),
    6: ("wrong stop token", "add the token that ends the template's assistant turn to generation_config.eos_token_id"),
    7: ("doubled start token", "tokenize the text of the chat template with add_special_tokens=False"),
    8: ("padding attended", "pad on the left, and pass attention_mask at every step"),
    9: ("cache of another image", "key prefix caches by the pixels as well as by the token ids"),
    10: ("wrong number of image tokens", "use the processor of this checkpoint; check patch_size and feature strategy"),
    11: ("overflow in the vision tower", "run the vision tower in bfloat16 or float32"),
    12: ("adapter not applied", "load the adapter on the base model that it names, and check its target modules"),
    13: ("processor of another version", "load the processor from the revision of the weights"),
    14: ("pixels not normalised", "set do_rescale and do_normalize, and apply each once"),
    15: ("prompt truncated", "switch truncation off for prompts with images, or raise max_length"),
}
"""Number -> name of the fault and its cure."""


@dataclass(frozen=True)
class Finding:
    """Outcome of one probe.

    Args:
        fault: number of the fault, a key of `FAULTS`.
        status: outcome.
        reason: the measurement, in plain words.
        measured: the number on which the verdict rests; None where there is none.
        limit: the number it was compared with.
    """

    fault: int
    status: Status
    reason: str
    measured: float | None = None
    limit: float | None = None

    @property
    def name(self) -> str:
        """Name of the fault."""
        return FAULTS[self.fault][0]

    @property
    def cure(self) -> str:
        """The change that removes the fault."""
        return FAULTS[self.fault][1]

    def __str__(self) -> str:
        line = f"{self.fault:>2}  {self.status:<7}  {self.name}: {self.reason}"
        return f"{line}; {self.cure}" if self.status == "fault" else line


@dataclass(frozen=True)
class Report:
    """Findings about one model, in the order of the faults' numbers.

    Args:
        model: name of the model.
        findings: one for each of the fifteen faults.
    """

    model: str
    findings: Sequence[Finding]

    @property
    def faults(self) -> list[Finding]:
        """The findings that are faults."""
        return [finding for finding in self.findings if finding.status == "fault"]

    @property
    def healthy(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    def __str__(self) -> str:
        counts = {status: sum(f.status == status for f in self.findings) for status in ("fault", "ok", "skipped")}
        summary = f"{counts['fault']} faults, {counts['ok']} probes passed, {counts['skipped']} skipped"
        return "\n".join([f"{self.model}: {summary}", *map(str, self.findings)])

    def to_json(self) -> str:
        """The report as JSON, with the version of halluguard."""
        findings = [{**asdict(finding), "name": finding.name, "cure": finding.cure} for finding in self.findings]
        whole = {"halluguard": __version__, "model": self.model, "healthy": self.healthy, "findings": findings}
        return json.dumps(whole, indent=1)
