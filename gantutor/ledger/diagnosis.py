"""Autograd's two famous errors in a sentence that names the tensor and the lines."""

from dataclasses import dataclass

from gantutor.ledger.records import FREED, STALE

MESSAGES = {FREED: "backward through the graph a second time", STALE: "modified by an inplace operation"}


@dataclass(frozen=True)
class Place:
    """A statement: its line, and how it reads."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.line}, `{self.text}`,"


@dataclass(frozen=True)
class Failure:
    """Why a backward raises: the part of the graph behind `graph_of`, made at `made`, is FREED or STALE.

    `culprit` is the tensor that was changed, "" if it has no name; `by` is who freed or changed it.
    """

    kind: str
    graph_of: str
    made: Place
    culprit: str
    by: Place


def explain(failure: Failure, error: Exception, needed: Place) -> str:
    """One sentence for a failure that was foreseen; "" for another error. `needed` is the statement that raised."""
    if not isinstance(error, RuntimeError) or MESSAGES[failure.kind] not in str(error):
        return ""
    graph = f"the graph of `{failure.graph_of}`" if failure.graph_of else f"a graph made on line {failure.made.line}"
    by = "the same line" if failure.by == needed else f"line {failure.by}"
    if failure.kind == FREED:
        return (
            f"Line {needed} goes back through {graph}, but {by} has gone through it before and freed what it had saved."
        )
    tensor = f"`{failure.culprit}`" if failure.culprit else "a tensor inside"
    return (
        f"Line {needed} goes back through {graph}, which needs {tensor} as it was on "
        f"line {failure.made.line}, but {by} has changed it in place since."
    )
