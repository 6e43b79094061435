"""Score published captions and answers of many models side by side, under every protocol that fits.

    python benchmarks/leaderboard.py FOLDER --write docs/leaderboard.md --plot docs/leaderboard.svg

FOLDER holds the published files (`RUNS` names them, with where they were published) and the ground truth of their
images: `coco_gt_objects.json.gz` (made with the pattern rules), `coco_gt_objects_wordnet.json.gz` (with WordNet) and
`marine/images.jsonl.gz` (MARINE's own). A file that FOLDER lacks is named on the page and left out. Only scores are
written, no caption is copied. The wordnet protocol needs the extra `wordnet`, the plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halluguard.evaluation.comparing import Row, compared, table
from halluguard.metrics import pope
from halluguard.metrics.chair import ChairScorer, Protocol
from halluguard.metrics.ground_truth import read_objects
from halluguard.metrics.pope_questions import Question
from halluguard.metrics.reading import read_captions
from halluguard.metrics.score import Score

PATTERN, WORDNET, MARINE = "coco_gt_objects.json.gz", "coco_gt_objects_wordnet.json.gz", "marine/images.jsonl.gz"


@dataclass(frozen=True)
class Run:
    """One published file.

    Args:
        name: name in the tables.
        file: path in the folder.
        source: who published it, and where.
        objects: file of its images' ground truth.
    """

    name: str
    file: str
    source: str
    objects: str = PATTERN


CAPTIONS = (
    Run("LLaVA-1.5-7B, greedy", "captions/opera_llava15_greedy.jsonl", "OPERA, github:shikiw/OPERA"),
    Run("InstructBLIP-7B, greedy", "captions/opera_instructblip_greedy.jsonl", "OPERA, github:shikiw/OPERA"),
    Run("LLaVA, instruction 1", "captions/pope_llava_instruction1.jsonl", "POPE, github:RUCAIBox/POPE"),
    Run("LLaVA-1.5-7B, short", "marine/captions_plain.jsonl.gz", "MARINE, github:Linxi-ZHAO/MARINE", MARINE),
    Run("LLaVA-1.5-7B + MARINE, short", "marine/captions_marine.jsonl.gz", "MARINE, github:Linxi-ZHAO/MARINE", MARINE),
)
ANSWERS = (
    Run("LLaVA-1.5-7B", "marine/pope_plain.jsonl.gz", "MARINE, github:Linxi-ZHAO/MARINE", MARINE),
    Run("LLaVA-1.5-7B + MARINE", "marine/pope_marine.jsonl.gz", "MARINE, github:Linxi-ZHAO/MARINE", MARINE),
)
PROTOCOLS: tuple[Protocol, ...] = ("pattern", "wordnet", "fixed")
SHOWN = ("CHAIRs", "CHAIRi", "recall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of published outputs")
    parser.add_argument("--write", type=Path, help="page to write; printed by default")
    parser.add_argument("--plot", type=Path, help="plot of CHAIRi against recall to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap [0]")
    args = parser.parse_args()
    missing = [run for run in (*CAPTIONS, *ANSWERS) if not (args.folder / run.file).exists()]
    captions = {
        (run, protocol): captioned(args.folder, run, protocol, args.seed)
        for run in CAPTIONS
        if run not in missing
        for protocol in PROTOCOLS
        if protocol != "wordnet" or run.objects == PATTERN
    }
    answers = {run: answered(args.folder, run, args.seed) for run in ANSWERS if run not in missing}
    text = page(captions, answers, missing, args.plot)
    if args.plot:
        plot({run: score for (run, protocol), score in captions.items() if protocol == "fixed"}, args.plot)
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    else:
        print(text)


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def captioned(folder: Path, run: Run, protocol: Protocol, seed: int) -> Score:
    """CHAIR of a caption file; the wordnet protocol has ground truth made with WordNet."""
    if run.objects == MARINE:
        objects = {row["image"]: row["truth"] for row in lines(folder / MARINE)}
    else:
        objects = read_objects(folder / (WORDNET if protocol == "wordnet" else PATTERN))
    scorer = ChairScorer(objects, protocol, ground_truth=run.objects.split("/")[0].split(".")[0])
    return scorer.score(read_captions(folder / run.file), seed=seed, keep_captions=False)


def answered(folder: Path, run: Run, seed: int) -> Score:
    """POPE of an answer file that holds its questions."""
    rows = lines(folder / run.file)
    questions = [Question(str(i), row["image"], row["question"], row["label"]) for i, row in enumerate(rows)]
    return pope.score(questions, {str(i): row["answer"] for i, row in enumerate(rows)}, seed=seed)


def page(
    captions: dict[tuple[Run, Protocol], Score], answers: dict[Run, Score], missing: list[Run], figure: Path | None
) -> str:
    """The page: what was scored, tables, paired differences, claims, what is missing."""
    parts = [INTRODUCTION, "## Captions\n", caption_table(captions)]
    if figure:
        parts.append(f"![CHAIRi and recall of the runs, protocol fixed]({figure.name})\n")
    short = {
        run.name: captions[run, "fixed"] for run in CAPTIONS if (run, "fixed") in captions and run.objects == MARINE
    }
    parts += ["## The same images, paired\n", PAIRED]
    for scores in (short, {run.name: score for run, score in answers.items()}):
        if len(scores) > 1:
            parts.append(table(compared(scores), "markdown"))
    parts += ["## Published claims under this ruler\n", claims(captions, answers)]
    if missing:
        parts += ["## Not scored\n", *(f"- {run.name}: {run.file} ({run.source}) was not there.\n" for run in missing)]
    return "\n".join(parts)


INTRODUCTION = """# Published outputs under one ruler

`python benchmarks/leaderboard.py FOLDER --write docs/leaderboard.md --plot docs/leaderboard.svg` scores captions and
answers that others published, each under every protocol that fits. Intervals are 95 % over images (seed 0, 1,000
resamples). Runs on different images are not comparable: LLaVA-1.5's CHAIRs is 45 % on one published set of 500 images
and 50 % on another. A shorter caption has fewer hallucinations: read CHAIR together with recall and length.
"""

PAIRED = """Differences to the first row, with 95 % intervals; bold where Holm's adjusted p is below .05.
"""


def caption_table(captions: dict[tuple[Run, Protocol], Score]) -> str:
    rows = [
        "| run | published with | images | protocol | CHAIRs | CHAIRi | recall | words |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (run, protocol), score in captions.items():
        cells = [f"{100 * score[name]:.1f} [{span(score, name)}]" for name in SHOWN]
        first = [run.name, run.source.split(",")[0], str(score.settings["n"]), protocol]
        rows.append(f"| {' | '.join([*first, *cells])} | {score['length']:.1f} |")
    return "\n".join(rows) + "\n"


def span(score: Score, name: str) -> str:
    low, high = score.intervals[name]
    return f"{100 * low:.1f}, {100 * high:.1f}"


def claims(captions: dict[tuple[Run, Protocol], Score], answers: dict[Run, Score]) -> str:
    """The values that a paper printed, and those that its published outputs give."""
    rows = ["| claim | printed | from the published outputs | it holds |", "|---|---|---|---|"]
    llava = {protocol: score for (run, protocol), score in captions.items() if run == CAPTIONS[0]}
    if "wordnet" in llava:
        found = sorted(100 * score["CHAIRi"] for score in llava.values())
        rows.append(
            "| OPERA, table 1: LLaVA-1.5 greedy, CHAIRi | 14.7 | "
            f"{found[0]:.1f} to {found[-1]:.1f} by protocol | no: OPERA's own log has 12.7 |"
        )
        whole = 100 * llava["wordnet"]["CHAIRs"]
        rows.append(f"| OPERA, table 1: LLaVA-1.5 greedy, CHAIRs | 45.0 | {whole:.1f} | yes |")
    plain, guided = ((run, "fixed") for run in CAPTIONS[3:5])
    if plain in captions and guided in captions:
        changes = {row.value: row for row in compared({"plain": captions[plain], "guided": captions[guided]})}
        rows += [claim(f"lowers {name} of short captions", changes[name], -1) for name in ("CHAIRs", "CHAIRi")]
        rows.append(claim("raises recall of short captions", changes["recall"], 1))
    if len(answers) == 2:
        changes = {row.value: row for row in compared({run.name: score for run, score in answers.items()})}
        rows.append(claim("raises the accuracy on POPE's questions", changes["acc"], 1))
    return "\n".join(rows) + "\n"


def claim(what: str, change: Row, sign: int) -> str:
    """A row about MARINE: whether a difference has a sign, at p below .05."""
    verdict = "yes" if change.p < 0.05 and change.difference * sign > 0 else "not shown"
    span = f"{100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}], p {change.p:.3f}"
    return f"| MARINE {what} | direction | {span} | {verdict} |"


def plot(scores: dict[Run, Score], path: Path) -> None:
    """CHAIRi against recall, with intervals; down and right is better."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "halluguard"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for i, (run, score) in enumerate(scores.items()):
        x, y = 100 * score["recall"], 100 * score["CHAIRi"]
        errors = [
            [[value - 100 * score.intervals[name][0]], [100 * score.intervals[name][1] - value]]
            for value, name in ((x, "recall"), (y, "CHAIRi"))
        ]
        marker = "os^Dv"[i % 5]
        axes.errorbar(
            x,
            y,
            xerr=errors[0],
            yerr=errors[1],
            fmt=marker,
            capsize=2,
            label=f"{run.name} ({score['length']:.0f} words)",
        )
    axes.set_xlabel("recall of objects, %")
    axes.set_ylabel("CHAIRi, %")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
