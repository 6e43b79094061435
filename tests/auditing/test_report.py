"""The report: the same bytes for the same run, hostile text shown and never run, readable in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.human_verdicts import HumanVerdict, read_human_verdicts
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.explain import explain_rows, find_rows
from halluguard.auditing.outputs.report import write_report
from halluguard.auditing.part_lines import to_line
from halluguard.auditing.run_folder import read_parts, write_part
from halluguard.errors import InputError, SettingsError

HOSTILE = [
    "<script>document.title='owned'</script> a dog",
    '"><img src=x onerror="document.title=\'owned\'"> a cat',
    "</script><script>document.title='owned'</script> a dog",
    "A cat \u202etac desrever\u202c and a \u200bdog \x1b[31mred",
    "{{ 7 * 7 }} {% for x in y %} a dog",
]


@pytest.fixture
def hostile_run(tmp_path, objects_file):
    path = tmp_path / "captions.jsonl"
    rows = [{"id": f"<b>{i}</b>", "image_id": 1, "caption": text} for i, text in enumerate(HOSTILE)]
    rows.append({"id": "javascript:alert(1)", "image_id": "<i>none</i>", "caption": "A dog."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}")
    return tmp_path / "out"


@pytest.fixture
def many_run(tmp_path, objects_file):
    """60 captions; the k-th names k % 4 absent objects."""
    path = tmp_path / "captions.jsonl"
    absent = ["a cat", "a car", "an elephant"]
    rows = [{"image_id": 1, "caption": f"There is a dog, {', '.join(absent[: k % 4])}."} for k in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}")
    return tmp_path / "out"


def cards(page):
    return re.findall(r'<article tabindex="-1" data-why="(\w+)"', page)


# --- laws -----------------------------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes(many_run):
    first = write_report(many_run, samples=10, seed=3).read_bytes()
    assert write_report(many_run, samples=10, seed=3).read_bytes() == first
    assert write_report(many_run, samples=10, seed=4).read_bytes() != first


@pytest.mark.parametrize("samples", [0, 1, 7, 60, 500])
def test_samples_are_half_the_worst_and_each_shown_once(many_run, samples):
    page = write_report(many_run, samples=samples).read_text(encoding="utf-8")
    shown = cards(page)
    assert len(shown) == min(samples, 60)
    assert shown.count("worst") == min((samples + 1) // 2, 45), "a caption without a contradiction is not the worst"
    named = re.findall(r"(\d+) · 1</p>", page)
    assert len(named) == len(set(named))


def test_the_page_asks_the_network_for_nothing(many_run):
    page = write_report(many_run).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?!data:)\w+:""", page)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_policy_lets_the_pages_own_script_run_and_no_other(hostile_run):
    page = write_report(hostile_run).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert f"script-src 'sha256-{digest}'" in policy


# --- hostile text ---------------------------------------------------------------------------------------------


def test_hostile_text_is_shown_not_run(hostile_run):
    page = write_report(hostile_run).read_text(encoding="utf-8")
    body = page.partition("<body")[2].rpartition("<script>")[0]
    assert "<img src=x" not in body
    assert "<script>" not in body
    assert "&lt;script&gt;" in body
    assert "<b>0</b>" not in body
    assert "\\u202e" in body
    assert "\\u200b" in body
    assert "\\x1b" in body, "what hides or turns round text is written out"
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "{{ 7 * 7 }}" in body, "captions are no templates"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.slow
def test_a_browser_runs_the_pages_script_only(hostile_run, tmp_path):
    page = write_report(hostile_run, title="Held")
    flags = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    done = subprocess.run(
        ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{page}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "<title>Held</title>" in done.stdout, "a caption ran as a script"
    assert '<html lang="en" class="scripted">' in done.stdout, "the page's own script was refused"
    assert "5 of 5 samples" in done.stdout


# --- tables ---------------------------------------------------------------------------------------------------


def test_pictures_are_embedded_small_and_a_missing_one_leaves_the_text(tmp_path, objects_file):
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (1200, 800), "teal").save(photos / "1.png")
    path = tmp_path / "captions.jsonl"
    path.write_text(
        '{"image_id": 1, "caption": "A dog and a cat."}\n{"image_id": 2, "caption": "A horse."}\n', encoding="utf-8"
    )
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}")
    page = write_report(tmp_path / "out", ImageFolder(photos)).read_text(encoding="utf-8")
    (embedded,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    (tmp_path / "small.jpg").write_bytes(base64.b64decode(embedded))
    assert max(Image.open(tmp_path / "small.jpg").size) == 360
    assert len(cards(page)) == 2


def test_what_was_skipped_is_told(hostile_run):
    page = write_report(hostile_run).read_text(encoding="utf-8")
    assert "Skipped" in page
    assert "&lt;i&gt;none&lt;/i&gt;" in page


def test_no_run_and_bad_settings_are_told(tmp_path):
    with pytest.raises(InputError, match="finished run"):
        write_report(tmp_path)
    with pytest.raises(SettingsError, match="at least 0"):
        write_report(tmp_path, samples=-1)


# --- a curator's tool -----------------------------------------------------------------------------------------


def test_the_headline_is_of_existence_claims_alone(many_run):
    page = write_report(many_run).read_text(encoding="utf-8")
    summary = json.loads((many_run / "summary.json").read_text())
    rate = summary["by_kind"]["existence"]["rate"]["value"]
    first = re.search(r'<div class="tile"><p class="label">([^<]*)</p><p class="big">([^<]*)</p>', page)
    assert first.groups() == ("Objects that are not there", f"{100 * rate:.1f} %")


def test_every_rejected_row_is_listed_with_its_reasons(many_run):
    page = write_report(many_run, samples=4).read_text(encoding="utf-8")
    section = page.partition('id="rejected"')[2].partition("</section>")[0]
    assert section.count("<tr>") - 1 == 45
    assert "no &#39;cat&#39; found" in section
    links = re.findall(r'href="#(row-\d+)"', section)
    assert links
    assert all(f'id="{link}"' in page for link in links), "a link leads to a sample on the page"


def test_a_rare_object_has_a_sample(tmp_path, objects_file):
    rows = [{"image_id": 1, "caption": "There is a dog."}] * 80 + [{"image_id": 1, "caption": "There is a bench."}]
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}")
    page = write_report(tmp_path / "out", samples=4).read_text(encoding="utf-8")
    assert re.search(r'data-why="object" id="row-80" [^>]*data-labels="bench"', page)


def test_an_image_that_samples_share_is_embedded_once(tmp_path, objects_file):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (120, 80), "teal").save(tmp_path / "photos" / "1.png")
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image_id": 1, "caption": "A dog."}\n{"image_id": 1, "caption": "A cat."}\n')
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}")
    page = write_report(tmp_path / "out", ImageFolder(tmp_path / "photos")).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 1
    (same,) = re.findall(r'data-same="(row-\d+)"', page)
    assert f'id="{same}"' in page


def test_the_page_does_not_grow_with_the_run(many_run, tmp_path):
    rows = list(read_parts(many_run))
    small = write_report(many_run, samples=20).stat().st_size
    for n in range(100):
        lines = [to_line(row | {"index": 60 * n + k}) for k, row in enumerate(rows)]
        write_part(many_run / "parts" / f"part-{n:06d}.jsonl", n, lines)
    assert write_report(many_run, samples=20).stat().st_size < small + 1000 * 300


def test_labels_of_boxes_do_not_hide_each_other():
    from halluguard import rendering
    from halluguard.records import Answer, Box, Claim, Verdict

    names = ("dog", "cat", "cow")
    claims = tuple(Claim("existence", name, name, 4 * i, 4 * i + 3) for i, name in enumerate(names))
    boxes = [Box(name, 0.9, (10, 10 + i, 60, 60)) for i, name in enumerate(names)]
    verdicts = tuple(Verdict(i, "supported", evidence=(box,)) for i, box in enumerate(boxes))
    from PIL import Image

    card = rendering.card(
        Answer("dog cat cow", "dog cat cow", claims=claims, verdicts=verdicts), Image.new("RGB", (100, 100))
    )
    assert sorted(region.line for region in card.regions) == [0, 1, 2]


def test_verdicts_of_a_person_are_read_back_and_change_the_text(many_run, tmp_path, objects_file):
    page = write_report(many_run, samples=60).read_text(encoding="utf-8")
    article = re.search(r'<article[^>]*id="row-1".*?</article>', page, re.DOTALL)[0]
    shown = re.findall(r'data-claim="(\d+)" data-phrase="([^"]*)" data-decision="([^"]*)"', article)
    claim, phrase, _ = next(one for one in shown if one[2] == "contradicted")
    line = {"index": 1, "claim": int(claim), "phrase": phrase, "decision": "contradicted", "human": "dispute"}
    (tmp_path / "human.jsonl").write_text(json.dumps(line) + "\n")
    config = AuditConfig(
        tmp_path / "captions.jsonl",
        tmp_path / "again",
        detector=f"objects:{objects_file}",
        verdicts=read_human_verdicts(tmp_path / "human.jsonl"),
    )
    audit(config)
    rows = list(read_parts(tmp_path / "again"))
    assert rows[1]["corrected"] == rows[1]["caption"], "the cat stays"
    assert rows[5]["corrected"] != rows[5]["caption"], "a row with the same caption is not meant"
    assert rows[1]["verdicts"][int(claim)]["expert"] == "person"
    with pytest.raises(SettingsError, match="human verdicts"):
        audit(replace(config, verdicts=()))


@pytest.mark.parametrize(
    "line",
    ['{"index": 1}', '{"index": 1, "claim": 0, "phrase": "x", "decision": "unsure", "human": "accept"}', "[1]", "no"],
)
def test_a_file_of_other_verdicts_is_refused(tmp_path, line):
    (tmp_path / "human.jsonl").write_text(line + "\n")
    with pytest.raises(InputError):
        read_human_verdicts(tmp_path / "human.jsonl")


def test_verdicts_on_other_captions_are_refused(many_run, tmp_path, objects_file):
    human = HumanVerdict(1, 0, "zebra", "contradicted", "accept")
    config = AuditConfig(
        tmp_path / "captions.jsonl", tmp_path / "x", detector=f"objects:{objects_file}", verdicts=(human,)
    )
    with pytest.raises(InputError, match="other captions"):
        audit(config)


# --- explain --------------------------------------------------------------------------------------------------


def test_a_row_is_explained_by_id_image_or_place(many_run, capsys):
    (row,) = explain_rows(many_run, "3")
    assert row.row.index == 3
    told = capsys.readouterr().out
    assert "contradicted" in told
    assert "elephant" in told
    assert "corrected:" in told
    assert [r.row.index for r in find_rows(many_run, "#7")] == [7]
    assert len(find_rows(many_run, "1")) == 60, "every caption of image 1, and the row of that id"


def test_hostile_text_does_not_reach_the_terminal(hostile_run, capsys):
    explain_rows(hostile_run, "#3")
    told = capsys.readouterr().out
    assert "\x1b[31m" not in told.replace("\x1b[31mred", "")
    assert "\\x1b[31mred" in told.replace("\n", "")


def test_an_unknown_row_is_told(many_run):
    with pytest.raises(InputError, match=r"no row of .* has the id or image 'x'"):
        find_rows(many_run, "x")
