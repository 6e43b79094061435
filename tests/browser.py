"""A headless Chromium for tests, through Playwright; both are optional."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where Playwright or Chromium is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def errors_of(page):
    """A list to which every error and warning of the page will be added."""
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def overflowing(page):
    """The elements that reach beyond the right edge of the window, tables that scroll by themselves aside."""
    return page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter((element) =>
            element.getBoundingClientRect().width && !element.closest('.scroll, .frame, svg') &&
            element.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        ).map((element) => `${element.tagName}.${element.className}`)"""
    )
