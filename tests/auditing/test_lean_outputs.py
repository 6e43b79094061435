"""The content of a part is written once, and every command reads parts, compressed or not."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from halluguard.auditing import AuditConfig, audit, read_parts
from halluguard.auditing.outputs.explain import find_rows
from halluguard.auditing.part_lines import index_of, read_row, to_line
from halluguard.io import json_line, open_text


@pytest.fixture
def config(captions_file, objects_file, tmp_path):
    return AuditConfig(captions_file, tmp_path / "out", detector=f"objects:{objects_file}", report=True)


def test_rows_stand_once_unless_json_lines_are_wanted(config, tmp_path, read_lines):
    audit(config)
    assert not {path.name for path in config.out.iterdir()} & {"captions.jsonl", "claims.jsonl"}
    audit(replace(config, json_lines=True))
    rows = list(read_parts(config.out))
    assert read_lines(config.out / "captions.jsonl") == rows
    assert read_lines(config.out / "claims.jsonl") == parquet.read_table(config.out / "claims.parquet").to_pylist()
    audit(config)
    assert not (config.out / "captions.jsonl").exists(), "it would not be renewed"


def test_a_compact_run_says_the_same(config, tmp_path):
    export = tmp_path / "clean.jsonl"
    audit(replace(config, export=export))
    compact = replace(
        config, out=tmp_path / "compact", compact=True, json_lines=True, export=tmp_path / "compact.jsonl"
    )
    audit(compact)
    assert list(read_parts(compact.out)) == list(read_parts(config.out))
    assert find_rows(compact.out, "#1") == find_rows(config.out, "#1")
    for name in ("claims.parquet", "captions.parquet", "skipped.jsonl"):
        assert (compact.out / name).read_bytes() == (config.out / name).read_bytes()
    assert compact.export.read_bytes() == export.read_bytes()
    whole, lean = ((run.out / "summary.json").read_text(encoding="utf-8") for run in (config, compact))
    assert lean.count("\n") == 1
    assert json.loads(lean)["by_label"] == json.loads(whole)["by_label"]
    with open_text(compact.out / "captions.jsonl.zst") as file:
        assert [json.loads(line) for line in file] == list(read_parts(config.out))
    pages = [(run.out / "report.html").read_text(encoding="utf-8") for run in (config, compact)]
    assert [page.count("<article") for page in pages] == [3, 3]


_TEXTS = st.text(alphabet=st.characters(exclude_categories=()), max_size=20) | st.sampled_from(
    ["found 'a dog' at 0.50", "'' and '' {}", "{}", "it's 1.5 of 2", "no 'x{y}' found: best score 0.1 < 0.2", "1.", ""]
)


_BOXES = st.lists(st.sampled_from([{"label": "dog", "score": 1.0}, {"label": "dog", "score": 1.0, "xyxy": [0.0] * 4}]))
_KINDS = st.sampled_from(["existence", "count"])


@given(st.lists(st.tuples(_TEXTS, _TEXTS, _BOXES, _KINDS), max_size=5), _TEXTS, st.booleans(), st.booleans())
def test_a_row_is_read_back_as_it_was(quadruples, caption, changed, in_order):
    verdicts = [
        {"claim": i if in_order else 3 - i, "evidence": boxes, "expert": expert, "reason": reason}
        for i, (expert, reason, boxes, _) in enumerate(quadruples)
    ]
    pairs = [(expert, reason) for expert, reason, _, _ in quadruples]
    claims = [
        {"kind": kind, "phrase": caption[i : i + 3], "start": i, "end": i + 3}
        for i, (*_, kind) in enumerate(quadruples)
    ]
    claims += [{"kind": "text", "phrase": "not there", "start": 0, "end": 2}]
    row = {"index": 7, "code": "ok", "caption": caption, "corrected": caption + "." * changed, "claims": claims}
    row |= {"verdicts": verdicts, "edits": [{"reason": reason} for _, reason in pairs], "omitted": None}
    line = to_line(row)
    assert line.count("\n") == 1
    assert index_of(line) == 7
    assert json_line(read_row(line)) == json_line(row), "the same fields in the same order"
