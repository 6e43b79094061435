"""Rows in the parts of a run: each text once, and a clear error for what another version wrote."""

import pytest

from halluguard.auditing.part_lines import read_row, to_line
from halluguard.errors import InputError

ROW = {
    "index": 0,
    "code": "ok",
    "caption": "A cat and a dog.",
    "corrected": "A cat.",
    "edits": [],
    "verdicts": [
        {"claim": 0, "decision": "supported", "expert": "known", "reason": "found 'cat' at 1.00"},
        {"claim": 1, "decision": "contradicted", "expert": "known", "reason": "found no 'dog'"},
    ],
}


def test_a_row_comes_back_as_it_was():
    assert read_row(to_line(ROW)) == ROW
    unchanged = ROW | {"corrected": ROW["caption"]}
    assert read_row(to_line(unchanged)) == unchanged


def test_texts_that_repeat_stand_once():
    assert to_line(ROW).count("known") == 1


def test_what_the_caption_and_the_order_tell_is_left_out():
    claims = [
        {"kind": "existence", "phrase": "cat", "name": "cat", "start": 2, "end": 5},
        {"kind": "existence", "phrase": "dog", "name": "dog", "start": 12, "end": 15},
    ]
    box = {"label": "cat", "score": 1.0}
    row = ROW | {"claims": claims, "verdicts": [verdict | {"evidence": [box, box]} for verdict in ROW["verdicts"]]}
    line = to_line(row)
    assert read_row(line) == row
    assert "phrase" not in line
    assert "existence" not in line
    assert line.count('"label"') == 1
    assert '"claim":' not in line


@pytest.mark.parametrize("broken", ['"expert":0', '"reason":[0,'])
def test_a_row_of_another_form_is_an_error_with_advice(broken):
    line = to_line(ROW).replace(broken, broken.replace("0", '"known"'), 1)
    with pytest.raises(InputError, match="audit the file again"):
        read_row(line)
