"""The table of `coverage.py` as Markdown: one family a line, the sentences behind its cells below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEGEND = """# Which families run under a view

    python benchmarks/coverage.py --write docs/coverage.md

Each family is a tiny random model in fp32 on the CPU, made from the default configuration of its model type
(`benchmarks/architectures.py`; transformers {transformers}, torch {torch}). Every mode of `generate` is compared, token
for token, with recomputing each row of each prompt from scratch, alone, with the plain model. Real checkpoints of a
family share its code, not its sizes: the table says that the mechanism is right, nothing about the quality of answers.
Three families take their vision tower from timm; here a tower of transformers takes its place (gemma3n and fast_vlm: a
ResNet; perception_lm: CLIP's). mistral4 takes no picture: its rows differ in their words.

{counts}

| cell | meaning |
|---|---|
| exact | the same tokens as recomputation, and other tokens than plain decoding |
| refused | an error of halluguard before or instead of an answer; its sentence is below |
| host error | the family's plain `generate` cannot do it either; what it says is below |
| own generate | refused: the class has a `generate` of its own that goes past any view |
| vacuous | the same tokens as recomputation, but as plain decoding too: this random model's answer did not change |
| FAULT | anything else: a defect |

Columns: greedy search; three beams; three beams with two returns; nucleus sampling; a static cache; prompt lookup;
two pictures a prompt, with beams; a negative row without the picture, with beams; and the largest relative error of
that row's logits over 32 tokens against the text-only prompt (below 1e-5). Two left-padded prompts of unlike length a
call, one in prompt lookup, which takes no batch{alone}.

A host error that ends in "equals recomputation" is an answer the view gives where plain decoding cannot; all others
raise an error of halluguard that names the model and the cause.
"""


def rendered(
    table: Mapping[str, Mapping[str, str]],
    not_run: Mapping[str, str],
    versions: Mapping[str, str],
    single: Sequence[str] = (),
) -> str:
    """Markdown of the verdicts `table[family][column]`, the families `not_run` with their reasons below."""
    columns = list(next(iter(table.values())))
    lines = ["| family | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    notes: dict[str, int] = {}
    for family in sorted(table):
        cells = [_cell(table[family][column], notes) for column in columns]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    alone = (
        f"; and one prompt of {', '.join(single)}, whose plain batch differs from its prompts run alone"
        if single
        else ""
    )
    parts = [LEGEND.format(**versions, counts=counted(table, not_run), alone=alone), "## The table\n", "\n".join(lines)]
    if notes:
        parts += ["\n## What the notes say\n", "\n".join(f"{n}. {_escaped(note)}" for note, n in notes.items())]
    if not_run:
        parts += ["\n## Not run\n", "\n".join(f"- {name}: {why}" for name, why in sorted(not_run.items()))]
    return "\n".join(parts) + "\n"


def counted(table: Mapping[str, Mapping[str, str]], not_run: Mapping[str, str]) -> str:
    """One sentence that counts families by their worst cells."""
    kinds = [{kind(cell) for cell in row.values()} for row in table.values()]
    whole = sum(k == {"exact"} for k in kinds)
    faults = sum("FAULT" in k for k in kinds)
    wholly_refused = sum(k <= {"refused", "own generate"} for k in kinds)
    partly = len(kinds) - whole - faults - wholly_refused
    return (
        f"Of {len(table) + len(not_run)} image-text-to-text model types, {whole} are exact in every column, {partly} "
        f"in some and refused, failing in plain decoding too or vacuous in the others, {wholly_refused} are refused "
        f"outright, {faults} have a fault, and {len(not_run)} were not run."
    )


def kind(cell: str) -> str:
    """The legend's word for a verdict; an error of the text-only row that is small counts as exact."""
    if "has a generate of its own" in cell:
        return "own generate"
    head = cell.split(":")[0]
    return {"host": "host error", "refused": "refused", "FAULT": "FAULT", "vacuous": "vacuous"}.get(head, "exact")


def _cell(verdict: str, notes: dict[str, int]) -> str:
    _, _, sentence = verdict.partition(": ")
    if not sentence:
        return verdict
    if kind(verdict) == "own generate":
        return "own generate"
    return f"{kind(verdict)} [{notes.setdefault(sentence, len(notes) + 1)}]"


def _escaped(sentence: str) -> str:
    return sentence.replace("\n", " ").replace("|", "\\|").replace("<", "\\<")
