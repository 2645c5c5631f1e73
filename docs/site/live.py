"""Runs in the kernel that executes a notebook for the site: what is live there leaves what the page needs to be live.

Each such object puts one more MIME type into its cell's output: what kind it is, and its data.
"""

from typing import Any

from gantutor import Lab
from gantutor.checks import result

LIVE = "application/vnd.gantutor.live+json"


def install(small: bool) -> None:
    """Predictions show themselves as pages.py reads it; if `small`, no panel takes more than a few steps."""
    result.Prediction.show = show_question  # type: ignore[method-assign]
    result.Answer._ipython_display_ = show_answer  # type: ignore[method-assign]
    if small:
        advance = Lab.advance
        Lab.advance = lambda self, steps: advance(self, min(steps, 10))  # type: ignore[method-assign]


def put(kind: str, text: str, **data: Any) -> None:
    result.display(lambda: {LIVE: {"kind": kind, **data}, "text/plain": text})


def show_question(self: result.Prediction) -> None:
    put("question", str(self), question=self.question, options=[str(option) for option in self.options])


def show_answer(self: result.Answer) -> None:
    asked = self.prediction
    put("answer", "The answer", question=asked.question, truth=asked.number(self.truth), why=self.why)
