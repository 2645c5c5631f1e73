"""A file that `page.write_page` has written, opened from disk as somebody does who got it by mail."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page


@contextlib.contextmanager
def saved_page(browser: Browser, path: Path, at: str = "", **context: Any) -> Iterator[Page]:
    """The page, opened at `#at`; at its end nothing has gone wrong in it, and it has asked nobody for anything.

    `context` goes to `browser.new_context`: viewport, color_scheme, reduced_motion.
    """
    address, troubles = path.as_uri(), []
    with browser.new_context(**context) as opened:
        page = opened.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: troubles.append(request.url) if request.url != address else None)
        page.goto(f"{address}#{at}" if at else address)
        yield page
    assert not troubles, troubles
