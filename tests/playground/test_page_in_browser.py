"""The playground in headless Chromium, on the sandbox, with every connection to another host refused and noted."""

import os
import re
import subprocess
import sys

import httpx
import pytest

from halluguard import sandbox
from tests.browser import chromium, errors_of, overflowing
from tests.test_no_network import REFUSE

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="needs the extra play: pip install gradio")

HOSTILE = "<script>document.title='owned'</script> ${document.title='owned'} {{value}} <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of `halluguard play`, started as a user starts it, and the file of its attempts to reach others."""
    folder = tmp_path_factory.mktemp("play")
    (folder / "sitecustomize.py").write_text(REFUSE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "TRIED": str(folder / "tried")}
    command = [sys.executable, "-m", "halluguard", "play", "--port", "0", "--max-new-tokens", "60", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(r"serving on (http://127\.0\.0\.1:\d+)", line):
            break
    else:
        pytest.fail("the playground did not start: " + "".join(lines))
    yield match[1], folder / "tried"
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.requested, page.errors = [], errors_of(page)
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(server[0])
    page.wait_for_selector("#scenes img")
    yield page
    page.close()


def take_scene(page, number=0):
    page.locator("#scenes button:has(img)").nth(number).click()
    page.wait_for_selector("#draft", timeout=120_000)


def move(page, setting):
    """Set the slider by its keys, as a person without a mouse does, and wait for the answer at that setting."""
    slider = page.locator("#imagination input[type=range]")
    slider.focus()
    slider.press("Home")
    for _ in range(round((setting + 1) * 10)):
        slider.press("ArrowRight")
    page.wait_for_function(
        "text => document.querySelector('#played')?.textContent.startsWith(text + ' ')",
        arg=f"Imagination {setting:+.2g}",
        timeout=120_000,
    )
    return page.locator("#draft").inner_text()


def test_the_slider_changes_the_answer_its_claims_and_its_boxes(page):
    take_scene(page)
    shown = {}
    for setting in (-1, 0, 1):
        text = move(page, setting)
        boxes = page.locator("#view .box").count()
        shown[setting] = (text, page.locator("#view mark.contradicted").count(), boxes)
    assert len({text for text, _, _ in shown.values()}) > 1
    assert shown[-1][1] <= shown[1][1]
    assert all(boxes for _, _, boxes in shown.values())
    assert not page.errors


def test_a_click_on_a_claim_shows_its_evidence(page):
    take_scene(page)
    move(page, 1)
    claim = page.locator("#view .claim:has(mark.supported)").first
    words = claim.inner_text()
    claim.click()
    page.wait_for_selector("#evidence")
    evidence = page.locator("#evidence").inner_text()
    assert words.rstrip("✓✗?–") in evidence
    assert re.search(r"by \w+", evidence)
    assert page.locator("#evidence .box").count() >= 1
    assert page.locator("#evidence td").count() >= 3


def test_methods_stand_side_by_side(page):
    take_scene(page, 1)
    page.locator("#compare").click()
    page.wait_for_selector("#comparison [data-method^=VCD]", timeout=120_000)
    names = page.locator("#comparison [data-method]").evaluate_all("all => all.map(one => one.dataset.method)")
    assert names[0] == "Imagination +0"
    assert {"Greedy", "VCD"} <= set(names)


def test_hostile_questions_and_names_stay_text(page, tmp_path):
    sandbox.scenes(1)[0].image.save(tmp_path / "<img src=x onerror=alert(1)>.png")
    page.set_input_files("input[type=file]", tmp_path / "<img src=x onerror=alert(1)>.png")
    page.wait_for_selector("#draft", timeout=120_000)
    page.locator("#question textarea").fill(HOSTILE)
    page.locator("#question textarea").press("Enter")
    page.wait_for_timeout(1500)
    page.locator("#question textarea").fill("x" * 1990 + "<b>y</b>")
    page.locator("#question textarea").press("Enter")
    page.wait_for_timeout(1500)
    assert page.title() == "halluguard play"
    assert page.locator("#view b, #view script, #view img[src=x]").count() == 0


def test_a_file_that_is_no_image_is_refused_in_a_sentence(page, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    page.set_input_files("input[type=file]", tmp_path / "no.png")
    page.wait_for_selector("#view .message:has-text('image')", timeout=60_000)
    take_scene(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    take_scene(page)
    page.locator("#view .claim").first.click()
    page.wait_for_selector("#evidence")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not [name for name in overflowing(page) if not name.startswith("svg")]


def test_no_other_host_is_asked(page, server):
    take_scene(page)
    address, tried = server
    local = (address, "data:", "blob:" + address)
    assert [url for url in page.requested if not url.startswith(local)] == []
    assert not tried.exists(), tried.read_text()


def test_requests_under_another_name_are_refused(server):
    address, _ = server
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 403
    allowed = httpx.get(address)
    assert allowed.status_code == 200
    assert "default-src 'self'" in allowed.headers["content-security-policy"]
    assert "https://cdnjs" not in allowed.text
