"""Write the table of `coverage.py` as Markdown: one line per family, and below it the sentences of its cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LEGEND = """# Coverage: the families that run

    python benchmarks/coverage.py --results decoding.json
    python benchmarks/guard_coverage.py --results guard.json
    python benchmarks/coverage.py --results decoding.json --guard guard.json --write docs/coverage.md

Two tables: [decoding methods](#decoding), on model inputs, and [`Guard`](#guard), on images and questions with each
family's own processor.

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
| vacuous | the same tokens as the reference, but also as plain decoding: this random answer did not change |
| FAULT | anything else: a defect |

## Decoding

Columns: greedy search; three beams; three beams with two returned sequences; nucleus sampling; a static cache; prompt
lookup; two images per prompt, with beams; a negative branch without the image, with beams; the largest relative error
of that branch's logits over 32 tokens against the text-only prompt (below 1e-5); and step back, whose laws
(`benchmarks/step_back_laws.py`) are checked plainly, with a changed image and, where there is such a branch, without
the image: a judge that supports all changes nothing, in greedy and in beam search; after two returns the answer goes
on as a recomputation does; the tokens taken back are bounded. Each call has two left-padded prompts of different
lengths; prompt lookup has one, because it takes no batch{alone}.

A plain error that ends in "equals recomputation" is an answer that the view gives where plain decoding fails. In all
other cells with a plain error, halluguard raises an error that names the model and the cause.
"""


GUARD = """
## Guard

Each family has its real processor, built offline: its own classes, a tokenizer of a thousand words, and a chat template
where the published checkpoints have one (`benchmarks/processors.py`). The reference shares no code with halluguard: it
calls the processor with one prompt at a time, and asks plain `model.generate` for one token at a time, from the whole
prompt; the contrasts are written out again. Some processors need torchvision, SmolVLM's also num2words.

{counts}

Columns: one image and a question; two of them, of unequal length, in a batch; three in batches of two; two images for
one question; a conversation of two turns; the margin of yes over no; the imagination setting at -1, whose branch has no
image, for one prompt and in a batch; a contrast with the inverted image, in a batch (VCD's formula). A plain error that
ends in "Guard: ..." has Guard's own sentence; "not run" has no processor here.
"""

PARTLY = """
### Which part is not exact, and why

The families that are exact in some columns only. "plain" is an error of transformers itself, "refused" one of
halluguard.

| families | columns | cause |
|---|---|---|"""

KINDS = {"plain": "plain error"} | {word: word for word in ("refused", "FAULT", "vacuous", "not run")}


def rendered(
    table: Mapping[str, Mapping[str, str]],
    not_run: Mapping[str, str],
    versions: Mapping[str, str],
    single: Sequence[str] = (),
    guard: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """The page.

    Args:
        table: verdicts `table[family][column]` of decoding methods.
        not_run: families that are not in the table, and why.
        versions: versions of transformers and torch.
        single: families that were run with one prompt.
        guard: verdicts of Guard; None leaves its table out.
    """
    notes: dict[str, int] = {}
    lines = _table(table, notes)
    alone = f", and so have {', '.join(single)}, whose plain batch differs from its prompts run alone" if single else ""
    parts = [LEGEND.format(**versions, counts=counted(table, not_run), alone=alone), "\n".join(lines)]
    partly = _partly(table)
    if partly:
        parts += [PARTLY, *partly]
    if guard:
        parts += [GUARD.format(counts=counted_guard(guard)), *_table(guard, notes)]
    if notes:
        parts += ["\n## Notes\n", "\n".join(f"{n}. {_escaped(note)}" for note, n in notes.items())]
    if not_run:
        parts += ["\n## Not run\n", "\n".join(f"- {name}: {why}" for name, why in sorted(not_run.items()))]
    return "\n".join(parts) + "\n"


def _table(table: Mapping[str, Mapping[str, str]], notes: dict[str, int]) -> list[str]:
    """The lines of a table; sentences are numbered in `notes`."""
    columns = list(next(iter(table.values())))
    lines = ["| family | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for family in sorted(table):
        cells = [_cell(table[family][column], notes) for column in columns]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return lines


def _partly(table: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Lines of the families that are exact in some columns only: one for each cause."""
    found: dict[str, dict[str, list[str]]] = {}
    for family, row in sorted(table.items()):
        if any(kind(cell) == "exact" for cell in row.values()):
            for column, cell in row.items():
                if kind(cell) != "exact":
                    cause = re.sub(r"\b[A-Z]\w+(For[A-Z]\w+|Model|_V3)\b", "the model", cell)
                    found.setdefault(cause, {}).setdefault(family, []).append(column)
    lines: dict[str, list[str]] = {}
    for cause, of_family in found.items():
        columns = dict.fromkeys(column for some in of_family.values() for column in some)
        lines.setdefault(_escaped(cause), []).append(f"| {', '.join(of_family)} | {', '.join(columns)} |")
    return [f"{line} {cause} |" for cause, some in lines.items() for line in some]


def counted_guard(table: Mapping[str, Mapping[str, str]]) -> str:
    """One sentence that counts the families by what Guard does with them."""
    kinds = [{kind(cell) for cell in row.values()} for row in table.values()]
    runs = sum("exact" in k for k in kinds)
    faults = sum("FAULT" in k for k in kinds)
    whole = sum(k == {"exact"} for k in kinds)
    missing = sum(k == {"not run"} for k in kinds)
    return (
        f"Of {len(table)} model types, {runs} run through `Guard`: {whole} are exact in every column, "
        f"{runs - whole} in all that is not vacuous, refused or an error of the family's own code. "
        f"{faults} have a fault. {missing} have no processor that could be built here, and "
        f"{len(table) - runs - missing} give no answer."
    )


def counted(table: Mapping[str, Mapping[str, str]], not_run: Mapping[str, str]) -> str:
    """One sentence that counts the families by their worst cells."""
    kinds = [{kind(cell) for cell in row.values()} for row in table.values()]
    whole = sum(k == {"exact"} for k in kinds)
    faults = sum("FAULT" in k for k in kinds)
    wholly_refused = sum(k <= {"refused"} for k in kinds)
    partly = len(kinds) - whole - faults - wholly_refused
    return (
        f"Of {len(table) + len(not_run)} image-text-to-text model types, {whole} are exact in every column, {partly} "
        f"in some and refused, failing in plain decoding too, vacuous or not run in the others, {wholly_refused} are "
        f"refused outright, {faults} have a fault, and {len(not_run)} were not run."
    )


def kind(cell: str) -> str:
    """The legend's word for a verdict. A small error of the text-only branch counts as exact."""
    head = cell.split(":")[0]
    return KINDS.get(head, "exact")


def _cell(verdict: str, notes: dict[str, int]) -> str:
    _, _, sentence = verdict.partition(": ")
    if not sentence:
        return verdict
    return f"{kind(verdict)} [{notes.setdefault(sentence, len(notes) + 1)}]"


def _escaped(sentence: str) -> str:
    return sentence.replace("\n", " ").replace("|", "\\|").replace("<", "\\<")
