"""Write the table of `coverage.py` as Markdown: one line per family, and below it the sentences of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEGEND = """# Coverage: the families that run under a view

    python benchmarks/coverage.py --write docs/coverage.md

Each family is a tiny random model in fp32 on the CPU, made from the default configuration of its model type
(`benchmarks/architectures.py`; transformers {transformers}, torch {torch}). Every mode of `generate` is compared, token
for token, with a reference that recomputes each branch of each prompt from scratch, alone, with the plain model. Real
checkpoints of a family share its code, not its sizes: the table shows that the mechanism is right, and says nothing
about the quality of answers. Three families take their vision tower from timm; here a tower of transformers takes its
place (gemma3n and fast_vlm: a ResNet; perception_lm: CLIP's). mistral4 takes no image: its branches differ in words.

{counts}

| cell | meaning |
|---|---|
| exact | the same tokens as the reference, and other tokens than plain decoding |
| refused | halluguard raises an error instead of an answer; its sentence is below |
| plain error | the family's plain `generate` fails too; its message is below |
| own generate | refused: the class has a `generate` of its own that bypasses any view |
| vacuous | the same tokens as the reference, but also as plain decoding: this random answer did not change |
| FAULT | anything else: a defect |

Columns: greedy search; three beams; three beams with two returned sequences; nucleus sampling; a static cache; prompt
lookup; two images per prompt, with beams; a negative branch without the image, with beams; and the largest relative
error of that branch's logits over 32 tokens against the text-only prompt (below 1e-5). Each call has two left-padded
prompts of different lengths; prompt lookup has one, because it takes no batch{alone}.

A plain error that ends in "equals recomputation" is an answer that the view gives where plain decoding fails. In all
other cells with a plain error, halluguard raises an error that names the model and the cause.
"""


def rendered(
    table: Mapping[str, Mapping[str, str]],
    not_run: Mapping[str, str],
    versions: Mapping[str, str],
    single: Sequence[str] = (),
) -> str:
    """Markdown of the verdicts `table[family][column]`, with the families `not_run` and their reasons at the end."""
    columns = list(next(iter(table.values())))
    lines = ["| family | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    notes: dict[str, int] = {}
    for family in sorted(table):
        cells = [_cell(table[family][column], notes) for column in columns]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    alone = f", and so have {', '.join(single)}, whose plain batch differs from its prompts run alone" if single else ""
    parts = [LEGEND.format(**versions, counts=counted(table, not_run), alone=alone), "## The table\n", "\n".join(lines)]
    if notes:
        parts += ["\n## Notes\n", "\n".join(f"{n}. {_escaped(note)}" for note, n in notes.items())]
    if not_run:
        parts += ["\n## Not run\n", "\n".join(f"- {name}: {why}" for name, why in sorted(not_run.items()))]
    return "\n".join(parts) + "\n"


def counted(table: Mapping[str, Mapping[str, str]], not_run: Mapping[str, str]) -> str:
    """One sentence that counts the families by their worst cells."""
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
    """The legend's word for a verdict. A small error of the text-only branch counts as exact."""
    if "has a generate of its own" in cell:
        return "own generate"
    head = cell.split(":")[0]
    return {"plain": "plain error", "refused": "refused", "FAULT": "FAULT", "vacuous": "vacuous"}.get(head, "exact")


def _cell(verdict: str, notes: dict[str, int]) -> str:
    _, _, sentence = verdict.partition(": ")
    if not sentence:
        return verdict
    if kind(verdict) == "own generate":
        return "own generate"
    return f"{kind(verdict)} [{notes.setdefault(sentence, len(notes) + 1)}]"


def _escaped(sentence: str) -> str:
    return sentence.replace("\n", " ").replace("|", "\\|").replace("<", "\\<")
