"""The report in a real browser: what a curator clicks does what it says, at any width, and captions stay text."""

import json
import shutil

import pytest
from PIL import Image

from halluguard.auditing import audit
from halluguard.auditing.human_verdicts import read_human_verdicts
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.report import write_report
from halluguard.auditing.part_lines import to_line
from halluguard.auditing.run_folder import read_parts, write_part
from tests.auditing.test_report import HOSTILE
from tests.browser import chromium, errors_of, overflowing

pytestmark = pytest.mark.slow

CAPTIONS = [
    "A dog and a cat are on a bench.",
    "A dog sits next to an elephant and a car.",
    "A bench.",
    "There is a dog, a cat, a car, an elephant and a horse in a very long caption, and a zebra behind all of them.",
]
NAMES = ["<script>document.title='owned'</script>", "javascript:alert(1)", "x" * 200, "10", "9"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Captions with absent objects and hostile texts, about a tall and a wide image."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "photos").mkdir()
    Image.new("RGB", (300, 600), "teal").save(folder / "photos" / "1.png")
    Image.new("RGB", (600, 200), "gray").save(folder / "photos" / "2.png")
    boxes = [
        {"image_id": image, "label": label, "xyxy": [left, 10, left + 90, 90], "score": score}
        for image, left in (("1", 205), ("2", 100))
        for label, score in [("dog", 0.9), *((name, 0.05) for name in ("cat", "elephant", "car", "horse", "bench"))]
    ]
    (folder / "boxes.jsonl").write_text("".join(json.dumps(box) + "\n" for box in boxes))
    rows = [
        {"id": NAMES[k % len(NAMES)] + str(k), "image_id": 1 + k % 2, "caption": text}
        for k, text in enumerate([*CAPTIONS, *HOSTILE] * 20)
    ]
    rows.append({"id": "<i>lost</i>", "image_id": 77, "caption": "A dog."})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit(
        folder / "captions.jsonl",
        folder / "out",
        detector=f"precomputed:{folder / 'boxes.jsonl'},recall=0.95",
        images=folder / "photos",
    )
    write_report(folder / "out", ImageFolder(folder / "photos"), title="Held")
    return folder / "out"


def opened(browser, run, width=1280, scheme="light", anchor=""):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    errors = errors_of(page)
    page.goto(f"file://{run / 'report.html'}{anchor}")
    return page, errors


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_no_caption_runs(browser, run, width, scheme):
    page, errors = opened(browser, run, width, scheme)
    assert page.title() == "Held"
    assert not overflowing(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#cards script, #cards b, #rejected script, #rejected i").count() == 0
    assert not errors


def test_a_click_on_a_heading_sorts_by_numbers_and_names(browser, run):
    page, _ = opened(browser, run)

    def column(n):
        return page.locator(f"#labels tbody tr td:nth-child({n})").all_inner_texts()

    page.locator("#labels th button", has_text="contradicted of judged").click()
    shares = [float(text.split()[0]) if text != "–" else -1 for text in column(3)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 1
    page.locator("#labels th button", has_text="object").click()
    assert column(1) == sorted(column(1))
    page.locator("#labels th button", has_text="object").click()
    assert column(1) == sorted(column(1), reverse=True)


def test_the_button_of_an_object_shows_its_samples(browser, run):
    page, _ = opened(browser, run)
    page.locator("#labels button", has_text="elephant").click()
    shown = page.locator("#cards article:not([hidden])").all_text_contents()
    assert shown
    assert all("elephant" in text for text in shown)
    total = page.locator("#cards article").count()
    assert page.locator("#count").inner_text().endswith(f" of {total} samples")
    assert not page.locator("#count").inner_text().startswith(str(total))


def test_a_link_to_a_row_shows_it(browser, run):
    page, _ = opened(browser, run)
    href = page.locator("#rejected a").last.get_attribute("href")
    page, _ = opened(browser, run, anchor=href)
    page.wait_for_timeout(300)
    card = page.locator(href)
    assert card.is_visible()
    assert 0 <= card.bounding_box()["y"] < 900, "the card is on the screen"
    assert page.evaluate("document.activeElement.id") == href[1:]


def test_judgements_are_saved_as_a_file_that_an_audit_reads(browser, run, tmp_path):
    page, _ = opened(browser, run)
    save = page.locator("#save")
    assert save.is_disabled()
    wrong = page.locator(".verdict[data-decision=contradicted]").first
    wrong.locator("button", has_text="dispute").click()
    page.locator(".verdict[data-decision=supported]").first.locator("button", has_text="accept").click()
    other = page.locator(".verdict[data-decision=contradicted]").nth(1).locator("button", has_text="accept")
    other.click()
    other.click()
    assert save.inner_text() == "Save human verdicts (2)", "a second click takes a judgement back"
    with page.expect_download() as download:
        save.click()
    download.value.save_as(tmp_path / "verdicts.jsonl")
    assert {verdict.human for verdict in read_human_verdicts(tmp_path / "verdicts.jsonl")} == {"accept", "dispute"}
    assert not page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true})) === false")
    wrong.locator("button", has_text="accept").click()
    assert page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true})) === false"), "not saved"


@pytest.mark.parametrize("width", [1280, 390])
def test_boxes_stand_on_the_object_in_tall_and_wide_images(browser, run, width):
    page, _ = opened(browser, run, width)
    places = page.evaluate(
        """() => [...document.querySelectorAll('#cards article:not([hidden]) .box')].map((box) => {
            const image = box.parentElement.querySelector('img').getBoundingClientRect();
            const place = box.getBoundingClientRect();
            const label = box.firstElementChild.getBoundingClientRect();
            const natural = box.parentElement.querySelector('img').naturalWidth /
                box.parentElement.querySelector('img').naturalHeight;
            return [image.width / image.height / natural, (place.x - image.x) / image.width,
                    label.right - image.right];
        })"""
    )
    assert {round(left, 2) for _, left, _ in places} == {round(205 / 300, 2), round(100 / 600, 2)}
    assert all(abs(shape - 1) < 0.02 for shape, _, _ in places), "the image is not letterboxed under its boxes"
    assert all(beyond < 1 for _, _, beyond in places), "labels stay inside the image"


def seconds_of(browser):
    """CPU seconds of all processes of the browser, which do not grow with what else the machine does."""
    session = browser.new_browser_cdp_session()
    return sum(process["cpuTime"] for process in session.send("SystemInfo.getProcessInfo")["processInfo"])


def test_a_report_of_100_000_rows_opens_in_a_second_or_two_of_work(browser, run, tmp_path):
    rows = list(read_parts(run))
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    for part in range(100):
        places = range(1000 * part, 1000 * part + 1000)
        lines = [to_line(rows[index % len(rows)] | {"index": index, "id": f"row {index}"}) for index in places]
        write_part(tmp_path / "parts" / f"part-{part:06d}.jsonl", part, lines)
    write_report(tmp_path, ImageFolder(run.parent / "photos"))
    before = seconds_of(browser)
    page, errors = opened(browser, tmp_path)
    page.wait_for_selector("#cards article:visible")
    seconds = seconds_of(browser) - before
    print(f"a report of 100,000 rows opened in {seconds:.2f} CPU seconds")
    assert seconds < 4
    assert page.locator("#cards article").count() == 200
    assert not errors
