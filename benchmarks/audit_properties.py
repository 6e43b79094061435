"""Count the unverifiable claims of an audit, with and without experts on colours, relations and numbers.

    python benchmarks/audit_properties.py [--ask sandbox]

The sandbox's model describes the 200 shipped scenes, and `halluguard audit` checks the captions with the sandbox's
detector: once with existence claims alone, once with the default experts, and once more with the model that `--ask`
names. Prints one line of JSON per run: the share of unverifiable claims with its interval over images, verdicts by
kind, and how many contradicted colours and sides are true in the scene. The scenes are drawn: this shows what becomes
judged, not how well on photos.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from halluguard import sandbox
from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.run_folder import read_parts
from halluguard.guard import Guard
from halluguard.sandbox.measure import captions

SEED, DRAWS = 0, 2000
_EXISTENCE_ONLY = {"attributes": False, "relations": False, "counts": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ask", help="vision-language model for what pixels and boxes do not show")
    parser.add_argument("--scenes", type=int, help="number of scenes; default all")
    args = parser.parse_args()
    samples = sandbox.scenes(args.scenes)
    texts = captions(Guard.from_pretrained(sandbox.MLLM), samples)
    runs: dict[str, dict[str, Any]] = {"existence alone": _EXISTENCE_ONLY, "default": {}}
    if args.ask:
        runs[f"with --ask {args.ask}"] = {"ask": args.ask}
    with tempfile.TemporaryDirectory() as folder:
        write(samples, texts, Path(folder))
        for name, settings in runs.items():
            out = Path(folder, name.replace(" ", "-"))
            config = AuditConfig(
                Path(folder, "captions.jsonl"), out, detector="sandbox", images=Path(folder), **settings
            )
            audit(config)
            rows = list(read_parts(out))
            print(json.dumps({"run": name, **measured(rows, samples)}))


def write(samples: Sequence[sandbox.Sample], texts: Sequence[str], folder: Path) -> None:
    """The scenes and their captions as the input of an audit."""
    lines = []
    for sample, text in zip(samples, texts, strict=True):
        sample.image.save(folder / f"{sample.image_id}.png")
        lines.append(json.dumps({"image": f"{sample.image_id}.png", "caption": text}) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines), encoding="utf-8")


def measured(rows: Sequence[dict[str, Any]], samples: Sequence[sandbox.Sample]) -> dict[str, Any]:
    """The figures of one run."""
    kinds: dict[str, Counter[str]] = {}
    per_image = np.array([[counts["unverifiable"], counts.total()] for row in rows if (counts := decisions(row))])
    wrong, contradicted = 0, 0
    for row, sample in zip(rows, samples, strict=True):
        for verdict in row["verdicts"]:
            claim = row["claims"][verdict["claim"]]
            kinds.setdefault(claim["kind"], Counter())[verdict["decision"]] += 1
            if verdict["decision"] == "contradicted" and claim["kind"] in ("attribute", "relation"):
                contradicted += 1
                wrong += is_true(claim, sample)
    draws = np.random.default_rng(SEED).integers(len(per_image), size=(DRAWS, len(per_image)))
    shares = per_image[draws].sum(1)
    low, high = np.quantile(shares[:, 0] / shares[:, 1], [0.025, 0.975])
    return {
        "scenes": len(rows),
        "claims": int(per_image[:, 1].sum()),
        "unverifiable": round(float(per_image[:, 0].sum() / per_image[:, 1].sum()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "by_kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(kinds.items())},
        "contradicted attributes and relations": contradicted,
        "of them true in the scene": wrong,
        "seed": SEED,
    }


def decisions(row: dict[str, Any]) -> Counter[str]:
    return Counter(verdict["decision"] for verdict in row["verdicts"])


def is_true(claim: dict[str, Any], sample: sandbox.Sample) -> bool:
    """Whether a colour or a side holds for some object of the scene."""
    named = [thing for thing in sample.objects if thing.name == claim["name"]]
    if claim["kind"] == "attribute":
        return any(thing.color == claim["attribute"] for thing in named)
    others = [thing for thing in sample.objects if thing.name == claim.get("other_name")]
    sign = {"left of": 1, "right of": -1}.get(claim["relation"], 0)
    return any(sign * (b.center[0] - a.center[0]) > 0 for a in named for b in others)


if __name__ == "__main__":
    main()
