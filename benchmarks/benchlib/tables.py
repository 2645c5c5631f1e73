"""Tables of trained runs that notebooks load: a script completes one row by row, and goes on where it was stopped."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]
Name = tuple[Any, ...]  # what tells a row from the others


def arguments(description: str | None, table: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=table, help="the table to complete")
    parser.add_argument("--fresh", action="store_true", help="forget the rows that are there")
    return parser.parse_args()


def complete(
    options: argparse.Namespace,
    made_by: str,
    settings: Row,
    wanted: Sequence[Name],
    called: Callable[[Row], Name],
    ready: Callable[[list[Name]], tuple[Callable[..., Row], Row]],
) -> list[Row]:
    """Train what the table lacks of `wanted`, and return its rows in that order; `called` gives a row's name.

    `ready(missing)` gives the function that makes a row of a name, and what else stands in the table's head.
    """
    torch.set_num_threads(1)  # several threads add in another order, and training makes much of the last bit
    rows = [] if options.fresh else read(options.json, settings)
    place = {name: number for number, name in enumerate(wanted)}
    there = {called(row) for row in rows}
    missing = [name for name in place if name not in there]
    if missing:
        train_row, more = ready(missing)
    for done, name in enumerate(missing, start=1):
        start = time.process_time()
        rows.append(train_row(*name))
        rows.sort(key=lambda row: place.get(called(row), len(place)))
        write(options.json, {"made_by": made_by, "torch": torch.__version__, "settings": settings, **more}, rows)
        print(f"{done}/{len(missing)} {' '.join(map(str, name))}: {time.process_time() - start:.1f} s", flush=True)
    return rows


def read(path: Path, settings: Row) -> list[Row]:
    """The rows of a table. Raises: SystemExit for one that was made with other settings; more of them do no harm."""
    if not path.exists():
        return []
    table = json.loads(path.read_text(encoding="utf-8"))
    if any(settings.get(name) != value for name, value in table["settings"].items()):
        sys.exit(f"{path.name} was made with other settings; start anew with --fresh, or write to another --json")
    return list(table["rows"])


def write(path: Path, head: Row, rows: list[Row]) -> None:
    """In one piece, so that whoever stops the script leaves a whole table."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    entries = "".join(f' "{name}": {json.dumps(value)},\n' for name, value in head.items())
    part = path.with_suffix(".part")
    part.write_text(f'{{\n{entries} "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    os.replace(part, path)
