"""The buttons of a prediction. What they look like is front/predict.js; what a guess is worth is checks/result.py."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from gantutor.checks.result import Prediction


class Buttons(anywidget.AnyWidget):
    """The model of front/predict.js, whose head says what each trait is."""

    _esm = (Path(__file__).parent / "front" / "predict.js").read_text(encoding="utf-8")
    question = traitlets.Unicode().tag(sync=True)
    options: Any = traitlets.List().tag(sync=True)
    guess: Any = traitlets.Int(None, allow_none=True).tag(sync=True)
    verdict: Any = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    verdicts: Any = traitlets.List(default_value=None, allow_none=True).tag(sync=True)

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(question=prediction.question, options=[str(option) for option in prediction.options])
        self.prediction = prediction
        prediction.on_change.append(self.update)
        self.on_msg(self.on_click)
        self.update()

    def on_click(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """A click that comes after the answer, or that fits no option, changes nothing."""
        number, asked = content.get("guess"), self.prediction
        if self.verdict is None and isinstance(number, int) and 0 <= number < len(asked.options):
            asked.choose(asked.options[number])

    def update(self) -> None:
        """Nothing of the truth goes to the browser before there is a guess."""
        asked, answer = self.prediction, self.prediction.answer
        with self.hold_sync():
            self.guess = None if asked.guess is None else asked.number(asked.guess)
            if answer and answer.verdict.answered:
                self.verdict = {"passed": answer.verdict.passed, "truth": asked.number(answer.truth), "why": ""}


def buttons_of(prediction: Prediction) -> dict[str, Any]:
    """The MIME bundle of new buttons."""
    data, _ = Buttons(prediction)._repr_mimebundle_() or ({}, {})
    return data
