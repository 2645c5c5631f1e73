"""Verdicts on exercises and predictions: what all checks share.

A check calls the learner's function on tensors whose right values and gradients are known. A wrong answer is compared
with the known misconceptions, each of which has a message of its own. Nothing here raises because of an answer, so a
notebook runs to its end whatever the learner wrote; `verdict.passed` is what a solution asserts.

A prediction is a question with options, a guess that is kept, and an answer that is hidden until the guess is made. In
a notebook the options are buttons (gantutor/lab/prediction_buttons.py); without a front end, all is plain text. The
guess is stored in the output of the question's cell and of the answer's, under the MIME type `GUESS`, so that it can be
collected from the saved notebook.
"""

import contextlib
import copy
import functools
import html
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Function = Callable[..., Any]


@dataclass(frozen=True)
class CheckResult:
    """`passed` is True only for a right answer; `answered` is False for one that was not given yet."""

    passed: bool
    message: str
    answered: bool = True
    words: tuple[str, str] = ("Passed", "Wrong")

    @property
    def word(self) -> str:
        return self.words[not self.passed] if self.answered else "Not yet"

    def __str__(self) -> str:
        return f"{self.word}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Its edge has the colour of the text, because green and orange mean real and G here."""
        sign = ("✓ " if self.passed else "✗ ") if self.answered else ""
        style = "border-left: 4px solid color-mix(in srgb, currentColor 45%, transparent); padding: 2px 12px"
        return f'<div role="status" style="{style}"><b>{sign}{self.word}.</b> {with_code(self.message)}</div>'


NOT_YET = CheckResult(False, "Replace the ... by your answer.", answered=False)


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


# Exercises ------------------------------------------------------------------------------------------------------------


def is_missing(answer: Any) -> bool:
    """What an exercise holds before it is answered: `...` or None."""
    return answer is None or answer is ...


def exercise(praise: str, as_printed: str = "") -> Callable[[Callable[..., str]], Callable[..., CheckResult]]:
    """Decorates a function that says what is wrong with an answer, or "": it gives a verdict then.

    An exception in the answer is a wrong answer; what the cell does as it is printed, whose fault is `as_printed`, is
    no answer yet.
    """

    def decorate(check: Callable[..., str]) -> Callable[..., CheckResult]:
        @functools.wraps(check)
        def verdict(*answers: Any) -> CheckResult:
            if any(map(is_missing, answers)):
                return NOT_YET
            try:
                fault = check(*answers)
            except NotImplementedError:
                return NOT_YET
            except Exception as error:
                fault = f"Your answer raised {first_line(error)}"
            return CheckResult(not fault, fault or praise, answered=not as_printed or as_printed not in fault)

        return verdict

    return decorate


def ask(answer: Function, *inputs: Any) -> Any:
    """What the answer gives for these inputs, a NumPy array as a tensor of its dtype.

    Raises: NotImplementedError where that is `...` or None.
    """
    value = answer(*inputs)
    if is_missing(value):
        raise NotImplementedError
    return torch.as_tensor(value) if isinstance(value, np.ndarray | np.number | np.bool_) else value


def is_same(found: Any, wanted: Any, atol: float = 1e-6) -> bool:
    """Whether two answers are the same name, or have the same shape and, up to rounding, the same numbers, NaN too."""
    if isinstance(found, str) or isinstance(wanted, str):
        return bool(found == wanted)
    try:
        found, wanted = (torch.as_tensor(value).detach().double() for value in (found, wanted))
    except (TypeError, ValueError):  # no numbers
        return False
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-5, atol=atol, equal_nan=True)


def misconception(found: Any, known: Mapping[str, Any]) -> str:
    """The message of the first known mistake that is what was found, or ""."""
    return next((message for message, wrong in known.items() if is_same(found, wrong)), "")


def compare_on(
    cases: Sequence[tuple[Any, ...]],
    answer: Function,
    right: Function,
    known: Mapping[str, Function],
    place: Function,
    atol: float = 1e-6,
) -> str:
    """What is wrong with an answer on these cases, or "" where it gives what `right` gives.

    Args:
        cases: The arguments of each call; every call is given copies.
        answer: The learner's function.
        right: The right one.
        known: Wrong functions, by their messages. The first that equals the answer in every case is named.
        place: place(case, found, wanted) says what is wrong in one case; it is asked about the first wrong one.
        atol: How far a number may be off.
    """

    def values(function: Function) -> list[Any]:
        return [ask(function, *copy.deepcopy(case)) for case in cases]

    found, wanted = values(answer), values(right)
    for case, one, other in zip(cases, found, wanted, strict=True):
        if not is_same(one, other, atol):
            named = (text for text, wrong in known.items() if all(map(is_same, found, values(wrong))))
            return f"{next(named, '')} {place(case, one, other)}".strip()
    return ""


def worst(found: Tensor, wanted: Tensor) -> int:
    """Where two tensors of one shape are furthest apart, in their flat order."""
    return int((found.detach() - wanted).abs().nan_to_num(torch.inf).argmax())


def first_fault(faults: Mapping[str, object]) -> str:
    """The first message whose condition is true, or ""."""
    return next((message for message, is_wrong in faults.items() if is_wrong), "")


def names_in(answer: Any, allowed: Collection[str]) -> set[str] | None:
    """The names in an answer, which may be a set, a list, a tuple or one name; None where others are among them."""
    try:
        names = {answer} if isinstance(answer, str) else set(map(str, answer))
    except TypeError:  # not a collection
        return None
    return names if names <= set(allowed) else None


def untouched(name: str, network: nn.Module) -> Callable[[], str]:
    """What says later on how a network is no longer as it is now, or ""."""
    before, training = copy.deepcopy(network.state_dict()), network.training

    def fault() -> str:
        for key, value in network.state_dict().items():
            if not torch.equal(value, before[key]):
                return f"{name}'s {key} has changed. Ask a copy, or restore what was."
        if not all(parameter.requires_grad for parameter in network.parameters()):
            return f"{name}'s parameters no longer require a gradient, so {name} would not learn any more."
        if any(parameter.grad is not None for parameter in network.parameters()):
            return f"{name} is left with gradients, and its next step would start with them."
        if any(module.training != training for module in network.modules()):
            came, left = ("training", "evaluation") if training else ("evaluation", "training")
            return f"{name} came in {came} mode and is left in {left} mode. Restore the mode."
        return ""

    return fault


# Predictions ----------------------------------------------------------------------------------------------------------

GUESS = "application/vnd.gantutor.guess+json"
BUTTONS = "gantutor.lab.prediction_buttons:buttons_of"  # it stands above this floor: named here, loaded when shown
FIRST_CHOOSE = CheckResult(False, "Choose above first; the answer appears here.", answered=False)

Bundle = dict[str, Any]


class Prediction:
    """A question that a learner answers before the run does.

    `guess` is the chosen option, or None. `answer` is what the last `reveal` has returned, or None.
    """

    def __init__(self, question: str, options: Iterable[Any]) -> None:
        """`options`: two or more different strings, numbers or bools. Raises: ValueError for other options."""
        self.question, self.options = question, [plain(option) for option in options]
        if len(self.options) < 2 or any(option in self.options[:i] for i, option in enumerate(self.options)):
            raise ValueError(f"A prediction needs two or more different options, got {self.options}.")
        self.guess: Any = None
        self.answer: Answer | None = None
        self.on_change: list[Callable[[], None]] = []  # called after each change of guess or answer

    def choose(self, option: Any) -> "Prediction":
        """Guess, as a click on a button does. The guess may change until the answer has been seen.

        Raises: ValueError for an option that is not there, or after the answer.
        """
        number = self.number(option)
        if self.answer and self.guess is not None:
            raise ValueError("The answer is known. Run the question's cell again to guess anew.")
        self.guess = self.options[number]
        self._changed()
        return self

    def reveal(self, truth: Any, why: str) -> "Answer":
        """The answer, to stand at the end of a cell: it shows nothing of the truth until a guess is made.

        Args:
            truth: the right option, computed from the run.
            why: one or two sentences of explanation.

        Raises: ValueError if `truth` is no option, which is the notebook's fault and not the learner's.
        """
        self.answer = Answer(self, self.options[self.number(truth)], why)
        self._changed()
        return self.answer

    def number(self, option: Any) -> int:
        """The place of an option among the options. Raises: ValueError where it is none of them."""
        option = plain(option)
        if option not in self.options:
            raise ValueError(f"{option!r} is not an option; choose one of {', '.join(map(repr, self.options))}.")
        return self.options.index(option)

    def show(self) -> None:
        """Put the question on the page, and below it a place for the guess."""
        if notebook_shell() is None:
            print(self)
            return
        display(lambda: {**live_buttons(self), "text/plain": str(self)})
        self.on_change.append(display(self._record))

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    def _record(self) -> Bundle:
        """The guess as the saved notebook holds it."""
        if self.guess is None:
            return {"text/plain": "No guess yet.", "text/html": ""}
        text = f"Your guess: {self.guess}"
        return {
            GUESS: {"question": self.question, "guess": self.guess},
            "text/plain": text,
            "text/html": f'<div style="padding-left: 16px">{with_code(text)}</div>',
        }

    def __str__(self) -> str:
        return "\n".join([self.question, *(f"  - {option}" for option in self.options)])

    __repr__ = __str__


class Answer:
    """The truth behind a prediction, which this shows only once a guess is made."""

    def __init__(self, prediction: Prediction, truth: Any, why: str) -> None:
        self.prediction, self.truth, self.why = prediction, truth, why

    @property
    def verdict(self) -> CheckResult:
        guess = self.prediction.guess
        if guess is None:
            return FIRST_CHOOSE
        right = guess == self.truth
        but = "" if right else f"; the run says {self.truth}"
        return CheckResult(right, f"You chose {guess}{but}. {self.why}", words=("Right", "Not so"))

    def _bundle(self) -> Bundle:
        asked, verdict = self.prediction, self.verdict
        record = {GUESS: {"question": asked.question, "guess": asked.guess, "right": verdict.passed}}
        return {"text/plain": str(self), "text/html": verdict._repr_html_(), **(record if verdict.answered else {})}

    def _ipython_display_(self) -> None:
        self.prediction.on_change.append(display(self._bundle))

    def __str__(self) -> str:
        return str(self.verdict)

    __repr__ = __str__


def predict(question: str, options: Iterable[Any]) -> Prediction:
    """Ask before the run; `.reveal(truth, why)` answers after it.

    >>> guess = checks.predict("Which loss is larger?", ["d_loss", "g_loss"])
    >>> guess.reveal("d_loss" if d_loss > g_loss else "g_loss", "Because …")

    Args:
        question: one sentence that ends in a question mark; code may stand between backticks.
        options: two or more different strings, numbers or bools.

    Raises: ValueError for fewer or equal options.
    """
    prediction = Prediction(question, options)
    prediction.show()
    return prediction


def plain(option: Any) -> Any:
    """A NumPy or torch number as Python's own, which JSON can hold."""
    return option.item() if hasattr(option, "item") else option


def with_code(text: str) -> str:
    """Text as HTML; what stands between backticks is code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def notebook_shell() -> Any:
    """The IPython shell that this runs in, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def live_buttons(prediction: Prediction) -> Bundle:
    """The live buttons as a MIME bundle; empty outside Jupyter, or where no widgets are installed."""
    with contextlib.suppress(ImportError):
        if hasattr(notebook_shell(), "kernel"):
            return dict(resolve_name(BUTTONS)(prediction))
    return {}


def display(bundle: Callable[[], Bundle]) -> Callable[[], None]:
    """Put a MIME bundle on the page; the function that it returns brings it up to date."""
    from IPython.display import display as show

    handle = show(bundle(), raw=True, display_id=True)
    return lambda: handle.update(bundle(), raw=True)
