"""The report: the same bytes for the same run, hostile text shown and never run, readable in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

from halluguard.auditing import audit
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.explain import explain_rows, find_rows
from halluguard.auditing.outputs.report import write_report
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
