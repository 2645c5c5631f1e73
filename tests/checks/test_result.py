"""Predictions: the guess, the answer that stays hidden until then, and what a notebook keeps of both."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from gantutor import checks
from gantutor.checks.result import GUESS, Prediction

QUESTION, OPTIONS, WHY = (
    "What does `opt_D.step()` change?",
    ["G", "D", "both"],
    "An optimizer changes what it was given.",
)


def test_without_a_notebook_the_question_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    checks.predict(QUESTION, OPTIONS)
    assert capsys.readouterr().out == f"{QUESTION}\n  - G\n  - D\n  - both\n"


@pytest.mark.parametrize(("guess", "passed"), [("D", True), ("G", False)])
def test_the_answer_is_hidden_until_a_guess_is_made(guess: str, passed: bool) -> None:
    asked = Prediction(QUESTION, OPTIONS)
    answer = asked.reveal("D", WHY)
    assert str(answer) == "Not yet: Choose above first; the answer appears here."
    assert "given" not in json.dumps(answer._bundle()), "the reason would tell"
    assert "D" not in answer._bundle()["text/html"]
    assert (answer.verdict.answered, answer.verdict.passed) == (False, False)
    asked.choose(guess)
    assert (answer.verdict.answered, answer.verdict.passed) == (True, passed)
    assert WHY in str(answer)
    assert f"You chose {guess}" in str(answer)
    assert ("the run says D" in str(answer)) != passed


def test_the_guess_may_change_until_the_answer_is_seen() -> None:
    asked = Prediction(QUESTION, OPTIONS).choose("G").choose("D")
    assert asked.reveal("D", WHY).verdict.passed
    with pytest.raises(ValueError, match="The answer is known"):
        asked.choose("G")
    assert asked.guess == "D"


@pytest.mark.parametrize(
    ("options", "truth"),
    [
        ([True, False], np.bool_(True)),
        ([10, 100, 1000], torch.tensor(100)),
        (["a", "b"], np.str_("a")),
        (np.array([0.5, 1.5]), 1.5),
    ],
)
def test_a_truth_from_numpy_or_torch_is_the_option_that_it_equals(options: Any, truth: Any) -> None:
    asked = Prediction("Which?", options)
    asked.choose(truth)
    assert asked.reveal(truth, "So.").verdict.passed
    assert json.loads(json.dumps(asked._record()))[GUESS]["guess"] == asked.guess


def test_options_that_are_no_choice_and_answers_that_are_no_option_are_refused() -> None:
    for options in ([], ["a"], ["a", "a"], [1, True]):
        with pytest.raises(ValueError, match="two or more different options"):
            Prediction(QUESTION, options)
    asked = Prediction(QUESTION, OPTIONS)
    for wrong in (lambda: asked.choose("E"), lambda: asked.reveal("E", WHY)):
        with pytest.raises(ValueError, match="'E' is not an option; choose one of 'G', 'D', 'both'"):
            wrong()
    assert (asked.guess, asked.answer) == (None, None)


def test_code_and_signs_of_html_in_an_answer() -> None:
    asked = Prediction("a `<` b?", ["`a < b`", "no"]).choose("no")
    html = asked.reveal("`a < b`", "As `a` & b say.")._bundle()["text/html"]
    assert "You chose no; the run says <code>a &lt; b</code>. As <code>a</code> &amp; b say." in html
