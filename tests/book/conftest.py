"""A real browser and the built book in it.  Without Chromium the tests that use them are skipped, and they alone."""

import contextlib
import shutil

import pytest


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; closed before other tests run, as its event loop would be in their way."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: install Debian's package `chromium` to run the browser tests")
    from _browser import FLAGS
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=program, args=FLAGS)) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def site(book):
    """The address of a server that shows the built book."""
    from pdf import served

    with served(book) as address:
        yield address
