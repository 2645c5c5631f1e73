"""Tables of runs that a benchmark has trained with several seeds: read one, choose rows, count failures, compare pairs.

A row is a dict: what was trained (`model`, `norm_D`, `loss`, `batching`, `batch_size`, `seed`) and what came out.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

from gantutor.data.common import embedded_file

SeedRow = dict[str, Any]


def seed_rows(name: str) -> list[SeedRow]:
    """The rows of an embedded table, data/NAME.json."""
    return list(json.loads(embedded_file(f"{name}.json").read_text(encoding="utf-8"))["rows"])


def select(rows: Iterable[SeedRow], **wanted: Any) -> list[SeedRow]:
    """The rows with these values, in their order."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def run_failed(row: SeedRow) -> bool:
    """Did a run fail: diverge, or stay beyond a quarter of its untrained G's distance, or cover under 5 of 10 classes?

    The classes are those that a judge names, who names one for noise, too: few classes mean failure, many no success.
    """
    return bool(row["diverged"] or row["classes"] < 5 or row["distance"] > row["distance_at_start"] / 4)


def sign_test(differences: Iterable[float]) -> float:
    """The probability that a fair coin would give pairs as one-sided as these: the exact two-sided sign test.

        p = min(1, 2 · P(X ≤ min(wins, losses))),  X ~ Binomial(wins + losses, ½)

    Pairs without a difference do not count. Raises: ValueError where no pair counts.
    """
    signs = [difference > 0 for difference in differences if difference]
    if not signs:
        raise ValueError("No pair differs, so there is nothing to test.")
    fewer = min(sum(signs), len(signs) - sum(signs))
    return min(1.0, 2 * sum(math.comb(len(signs), k) for k in range(fewer + 1)) / 2 ** len(signs))
