"""Verdicts on exercises: they judge what an answer does, never how it is written.

A check calls the learner's function on tensors whose right values and gradients are known. A wrong answer is compared
with the known misconceptions, each of which has a message of its own. Nothing here raises because of an answer, so a
notebook runs to its end whatever the learner wrote; `verdict.passed` is what a solution asserts.
"""

import contextlib
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Function = Callable[..., Any]


@dataclass(frozen=True)
class CheckResult:
    """`passed` is True only for a right answer; `answered` is False for one that was not given yet."""

    passed: bool
    message: str
    answered: bool = True

    @property
    def word(self) -> str:
        return "passed" if self.passed else "wrong" if self.answered else "not yet"

    def __str__(self) -> str:
        return f"{self.word.capitalize()}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sign = {"passed": "✓ ", "wrong": "✗ ", "not yet": ""}[self.word]
        return box(sign + self.word.capitalize(), html.escape(self.message))


def box(word: str, text: str) -> str:
    """A verdict on the page. Its edge has the colour of the text, because green and orange mean real and G here."""
    style = "border-left: 4px solid color-mix(in srgb, currentColor 45%, transparent); padding: 2px 12px"
    return f'<div role="status" style="{style}"><b>{word}.</b> {text}</div>'


def is_missing(answer: Any) -> bool:
    """What an exercise holds before it is answered: `...` or None."""
    return answer is None or answer is ...


@contextlib.contextmanager
def expect_error(error: type[Exception], match: str) -> Iterator[None]:
    """A block that must raise this error; its message is printed.

    Raises: AssertionError where nothing is raised, another error, or a message in which `match` (a regular expression)
    is not found.
    """
    wanted = f"expected {error.__name__} with {match!r}"
    try:
        yield
    except Exception as raised:
        if not isinstance(raised, error) or not re.search(match, str(raised)):
            raise AssertionError(f"{wanted}, but got {type(raised).__name__}: {raised}") from raised
        print(f"As expected: {first_line(raised)}")
    else:
        raise AssertionError(f"{wanted}, but nothing was raised")


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0][:300]


NOT_YET = CheckResult(False, "Replace the ... by your answer.", answered=False)


def judge(answer: Function, check: Callable[[Function], str], praise: str) -> CheckResult:
    """Run `check(answer)`, which returns what is wrong, or "". An exception in the answer is a wrong answer."""
    if is_missing(answer):
        return NOT_YET
    try:
        fault = check(answer)
    except NotImplementedError:
        return NOT_YET
    except Exception as error:
        return CheckResult(False, f"Your answer raised {first_line(error)}")
    return CheckResult(not fault, fault or praise)


def ask(answer: Function, *inputs: Any) -> Any:
    """What the answer gives for these inputs, a NumPy array as a tensor of its dtype.

    Raises: NotImplementedError where that is `...` or None.
    """
    value = answer(*inputs)
    if is_missing(value):
        raise NotImplementedError
    return torch.as_tensor(value) if isinstance(value, np.ndarray | np.number | np.bool_) else value


def compare_answer(answer: Function, right: Function, known: dict[str, Function], of: Function, otherwise: str) -> str:
    """What is wrong with `answer`, where `of(function)` is a tensor that shows what a function does.

    "" if it does what `right` does; else the message of the first of the `known` wrong functions that it equals, or
    `otherwise` with the value that is furthest from the right one.
    """
    found, wanted = of(answer), of(right)
    if torch.allclose(found, wanted, atol=1e-5):
        return ""
    for message, wrong in known.items():
        if torch.allclose(found, of(wrong), atol=1e-5, equal_nan=True):
            return message
    found, wanted = (values.detach().double().flatten() for values in torch.broadcast_tensors(found, wanted))
    worst = (found - wanted).abs().nan_to_num(torch.inf).argmax()
    return f"{otherwise} Yours gives {found[worst]:.4g} where {wanted[worst]:.4g} is right."
