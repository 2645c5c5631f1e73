"""A prediction: a question with options, a guess that is kept, and an answer that is hidden until the guess is made.

In a notebook the options are buttons (gantutor/lab/prediction_buttons.py); without a front end, all is plain text.
The guess is stored in the output of the question's cell and of the answer's, under the MIME type `GUESS`, so that it
can be collected from the saved notebook.
"""

import html
import re
import sys
import uuid
from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import Any

from gantutor.checks.result import CheckResult, box

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
        self._place = ""

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
        shell = notebook_shell()
        if shell is None:
            print(self)
            return
        self._place = uuid.uuid4().hex
        display({**live_buttons(self), "text/plain": str(self)})
        display(self._record(), self._place)

    def _changed(self) -> None:
        if self._place:
            display(self._record(), self._place, update=True)
        if self.answer:
            self.answer.update()
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
        self._place = ""

    @property
    def verdict(self) -> CheckResult:
        guess = self.prediction.guess
        if guess is None:
            return FIRST_CHOOSE
        if guess == self.truth:
            return CheckResult(True, f"You chose {guess}. {self.why}")
        return CheckResult(False, f"You chose {guess}; the run says {self.truth}. {self.why}")

    def update(self) -> None:
        """Bring what stands on the page up to date."""
        if self._place:
            display(self._bundle(), self._place, update=True)

    def _bundle(self) -> Bundle:
        bundle: Bundle = {"text/plain": str(self), "text/html": box(self._word(), with_code(self.verdict.message))}
        if self.verdict.answered:
            asked = self.prediction
            bundle[GUESS] = {"question": asked.question, "guess": asked.guess, "right": self.verdict.passed}
        return bundle

    def _word(self) -> str:
        verdict = self.verdict
        return "✓ Right" if verdict.passed else "✗ Not so" if verdict.answered else "Not yet"

    def _ipython_display_(self) -> None:
        self._place = uuid.uuid4().hex
        display(self._bundle(), self._place)

    def __str__(self) -> str:
        return f"{self._word()}: {self.verdict.message}"

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
    if not hasattr(notebook_shell(), "kernel"):
        return {}
    try:
        view: Callable[[Prediction], Bundle] = resolve_name(BUTTONS)
    except ImportError:
        return {}
    return view(prediction)


def display(bundle: Bundle, place: str | None = None, update: bool = False) -> None:
    from IPython.display import display as show

    show(bundle, raw=True, **({"display_id": place, "update": update} if place else {}))
