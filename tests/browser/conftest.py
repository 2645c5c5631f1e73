"""A Chromium, one private JupyterLab for all browser tests, and a page that remembers what went wrong in it."""

import os
from collections.abc import Iterator

import pytest
from chromium import ARGUMENTS, CHROMIUM, CHROMIUMS
from labserver import LabServer, lab_server
from playwright.sync_api import Browser, Page, expect, sync_playwright

expect.set_options(timeout=20_000)  # milliseconds; the default of 5 s is short for a machine that also trains


def pytest_runtest_setup() -> None:
    """Without a Chromium every test here skips, in one line of the summary; in CI it fails."""
    if CHROMIUM is None:
        missing = f"the browser tests need a Chromium, and there is none of {', '.join(CHROMIUMS)}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    with lab_server(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()


@pytest.fixture
def page(shared_page: Page) -> Page:
    """The page of all tests; `page.errors` collects uncaught exceptions and what the console calls an error."""
    shared_page.set_viewport_size({"width": 1300, "height": 1000})
    shared_page.errors.clear()
    return shared_page
