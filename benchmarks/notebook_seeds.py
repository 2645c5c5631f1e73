"""Whether the notebooks hold for other seeds, and whether their assertions fail where what they claim is made false.

    python benchmarks/notebook_seeds.py [--seeds 0-4] [--notebooks 00,01] [--fresh] [--redraw] [--out FOLDER]
    python benchmarks/notebook_seeds.py --refute [--only 02:7,03] [--fresh] [--redraw] [--out FOLDER]

Without `--refute` each notebook runs once with each seed, in a kernel of its own with one thread. The table lists what
failed, and for each comparison that an assertion makes of numbers its margin: how far the two sides are apart, positive
where the assertion holds. The worst seed's margin should be at least two standard deviations over the seeds. A
comparison in a loop is several, one each turn, and the one that is worst in this sense is shown.

With `--refute` each entry of refutations/NN.toml is applied to a copy of notebook NN: an `old` text of a cell becomes
the `new` one, which makes a claim's condition false. Then the assertion in the cell `fails` must fail, and no other
cell before it (but those named in `also`).

A run is kept with the notebook's code, and not made again until that code (or the entry) changes.
"""

import argparse
import ast
import copy
import math
import os
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from benchlib import tables
from benchlib.kernels import code_of, digest, execute, with_seed
from benchlib.machine import described, machine
from benchlib.results import Result, parser, read, spread, stem, table, with_ending
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from notebook_times import BUDGET, LONGER, found

PACKAGE = Path(__file__).parent.parent / "gantutor"
REFUTATIONS = Path(__file__).parent / "refutations"
CLAIMS = range(1, 36)
SAFE = 2.0  # standard deviations over seeds between the worst seed and the bound
STEADY = 1000.0  # from here on a comparison counts as deterministic
REFUTED = "refuted as it should be"

Row = dict[str, Any]


def load(number: str) -> NotebookNode:
    return nbformat.read(found()[number], as_version=4)


def code_digest(number: str) -> str:
    """It changes with a notebook's code cells and their ids."""
    return digest(repr(code_of(load(number))))


def package_digest() -> str:
    """It changes with any of the package's Python files."""
    return digest(*(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))))


# seeds ----------------------------------------------------------------------------------------------------------------


def run_seed(number: str, seed: int) -> Row:
    notebook = load(number)
    row = {"notebook": number, "seed": seed, "code": code_digest(number), "package": package_digest()}
    return {**row, **execute(with_seed(notebook, seed), found()[number].parent)}


def list_margins(runs: Sequence[Row]) -> Iterator[Row]:
    """Each comparison of a notebook's runs, in order: its margins, the worst, the deviation, and a verdict.

    Where it has as many turns with every seed, the turn with the least worst/deviation is taken, otherwise the least
    margin of each seed.
    """
    groups: dict[tuple[Any, ...], dict[int, Row]] = {}
    for run in runs:
        for each in run["comparisons"]:
            name = (each["cell"], each["line"], each["column"], each["part"])
            groups.setdefault(name, {})[run["seed"]] = each
    for by_seed in groups.values():
        all_pairs = [each["pairs"] for each in by_seed.values()]
        if len({len(pairs) for pairs in all_pairs}) > 1:
            all_pairs = [[min(pairs, key=lambda pair: pair[2])] for pairs in all_pairs]
        first = next(iter(by_seed.values()))
        turns = [judge_margins(pairs, first["strict"]) for pairs in zip(*all_pairs, strict=True)]
        worst = min(turns, key=lambda turn: (turn["ratio"], turn["worst"]))
        yield {"cell": first["cell"], "source": first["source"], "seeds": list(by_seed), **worst}


def judge_margins(pairs: Sequence[Sequence[float]], strict: bool) -> Row:
    """One comparison over seeds; `ratio` is worst/deviation, infinite where nothing is random."""
    values = [pair[2] for pair in pairs]
    worst = min(values)
    known = len(values) > 1 and all(map(math.isfinite, values))
    deviation = statistics.stdev(values) if known else 0.0
    holds = worst > 0 if strict else worst >= 0
    ratio = worst / deviation if deviation else math.inf if holds else -math.inf
    word = "FAILS" if not holds else "deterministic" if ratio > STEADY else "holds"
    if word == "deterministic" and len(values) == 1:
        word = "holds with one seed"
    if word == "holds" and ratio < SAFE:
        word = f"BELOW {SAFE:g} SD"
    return {"pairs": [list(p) for p in pairs], "worst": worst, "deviation": deviation, "ratio": ratio, "word": word}


def show_values(turn: Row) -> str:
    """The values per seed of the side that varies; both sides where both do; of what never varies one pair."""
    left, right = ([f"{pair[side]:.3g}" for pair in turn["pairs"]] for side in (0, 1))
    both = [f"{a}|{b}" for a, b in zip(left, right, strict=True)]
    if len(set(both)) == 1:
        return both[0]
    return " ".join(left if len(set(right)) == 1 else right if len(set(left)) == 1 else both)


def seeds_text(result: Result) -> str:
    rows = result["rows"]
    failures = [
        [
            f"{row['notebook']} {each['cell']}",
            row["seed"],
            describe_failure(each),
            f"`{each['line']}`" if each["line"] else "",
        ]
        for row in rows
        for each in row["failures"]
    ]
    text, lines, summary = "", [], []
    for number in sorted({row["notebook"] for row in rows}):
        runs = [row for row in rows if row["notebook"] == number]
        compared = list(list_margins(runs))
        below = [each for each in compared if each["word"].startswith("BELOW")]
        failed = [row["seed"] for row in runs if row["failures"]]
        budget = 60 * LONGER.get(number, BUDGET)
        slow = max(row["cpu_seconds"] for row in runs) > budget  # with one thread, on a machine that does nothing else
        words = [f"fails with seeds {join_sorted(failed)}"] * bool(failed) + [f"{len(below)} BELOW {SAFE:g} SD"] * bool(
            below
        )
        words += [f"over {budget:g} CPU seconds"] * slow
        summary.append([
            number,
            join_sorted(row["seed"] for row in runs),
            max(row["assertions"] for row in runs),
            len(compared),
            spread([row["seconds"] for row in runs], 0),
            spread([row["cpu_seconds"] for row in runs], 0),
            "; ".join(words) or "passes",
        ])  # fmt: skip
        lines += [
            [f"{number} {each['cell']}", f"`{each['source']}`", show_values(each), f"{each['worst']:.3g}",
             f"{each['deviation']:.2g}", f"{each['ratio']:.1f}" if math.isfinite(each["ratio"]) else "",
             each["word"] + ("" if len(each["seeds"]) == len(runs) else f", {len(each['seeds'])} of {len(runs)} seeds")]
            for each in compared
        ]  # fmt: skip
    text += "# The notebooks with other seeds\n\n"
    head = ["notebook", "seeds", "assertions", "comparisons", "seconds", "CPU seconds", "verdict"]
    text += table(head, summary) + "\n"
    older = {row["notebook"] for row in rows if row["package"] != package_digest()}
    text += (
        f"Run with an older state of the package: {join_sorted(older)} (`--fresh` runs all again).\n\n" if older else ""
    )
    text += "## What failed\n\n"
    text += table(["cell", "seed", "error", "line"], escape(failures)) if failures else "Nothing.\n"
    flagged = [line for line in lines if not line[-1].startswith(("holds", "deterministic"))]
    text += (
        f"\n## Too near to the bound\n\nThe worst seed fails, or is less than {SAFE:g} standard deviations away.\n\n"
    )
    head = ["cell", "comparison", "values, a seed each", "worst margin", "SD", "worst/SD", "verdict"]
    text += table(head, escape(flagged)) if flagged else "None.\n"
    text += "\n## Every comparison\n\nTwo values `a|b` are the two sides, where both vary or none does.\n\n"
    return text + table(head, escape(lines))


def describe_failure(each: Row) -> str:
    return f"{each['error']}: {each['message']}".partition("\n")[0][:160]


def join_sorted(values: Iterable[object]) -> str:
    return ", ".join(map(str, sorted(values, key=str)))


def escape(rows: Iterable[Sequence[object]]) -> list[list[str]]:
    return [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in rows]


# refutations ----------------------------------------------------------------------------------------------------------


def read_entries(numbers: Iterable[str]) -> list[Row]:
    """Every entry of these notebooks' refutations, each with its notebook."""
    paths = [(number, REFUTATIONS / f"{number}.toml") for number in numbers]
    return [
        {"notebook": number, **entry}
        for number, path in paths
        if path.exists()
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["refute"]
    ]


def apply_edits(notebook: NotebookNode, entry: Row) -> NotebookNode:
    """A copy with the entry's edits; an `old` that stands there several times is replaced everywhere.

    Raises: ValueError for an edit that finds nothing, or that changes an assertion.
    """
    changed = copy.deepcopy(notebook)
    cells = {cell.id: cell for cell in changed.cells}
    for edit in entry.get("edits", [entry]):
        cell = cells.get(edit["cell"])
        if cell is None:
            raise ValueError(f"no cell {edit['cell']!r}")
        if edit["old"] not in cell.source:
            raise ValueError(f"not in {edit['cell']!r}: {edit['old']!r}")
        before = list_assertions(cell.source)
        cell.source = cell.source.replace(edit["old"], edit["new"])
        if list_assertions(cell.source) != before:
            raise ValueError(f"the edit of {edit['cell']!r} changes an assertion; change what it asserts about")
    if entry["fails"] not in cells:
        raise ValueError(f"no cell {entry['fails']!r}")
    return changed


def list_assertions(source: str) -> list[str]:
    """The assert statements of a cell. Raises: SyntaxError."""
    tree = ast.parse(TransformerManager().transform_cell(source))  # without IPython's magics
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Assert)]


def run_refutation(entry: Row) -> Row:
    path = found()[entry["notebook"]]
    row = {name: entry.get(name, "") for name in ("notebook", "claim", "fails", "why")} | {"code": entry_digest(entry)}
    try:
        result = execute(apply_edits(load(entry["notebook"]), entry), path.parent, last=entry["fails"])
    except (ValueError, SyntaxError) as error:
        return {**row, "outcome": f"ERROR: {error}", "seconds": 0.0}
    return {**row, "outcome": judge_outcome(result["failures"], entry), "seconds": result["seconds"]}


def judge_outcome(failures: Sequence[Row], entry: Row) -> str:
    """`REFUTED` only where the cell that must fail raises an AssertionError and no other cell fails before it."""
    early = [each for each in failures if each["cell"] not in (entry["fails"], *entry.get("also", []))]
    if early:
        return f"ANOTHER CELL FAILS: {early[0]['cell']}, {describe_failure(early[0])}"
    here = [each for each in failures if each["cell"] == entry["fails"]]
    if not here:
        return "NOT refuted: the assertions hold"
    return REFUTED if here[0]["error"] == "AssertionError" else f"ANOTHER ERROR: {describe_failure(here[0])}"


def entry_digest(entry: Row) -> str:
    return digest(repr(sorted(entry.items())), code_digest(entry["notebook"]))


def claims_of(row: Row) -> list[int]:
    """An entry may name one claim, several, or none."""
    claim = row.get("claim", "")
    return list(claim) if isinstance(claim, list) else [claim] if isinstance(claim, int) else []


def refutations_text(result: Result) -> str:
    rows = sorted(result["rows"], key=lambda row: (row["notebook"], claims_of(row)))
    covered = {claim for row in rows if row["outcome"] == REFUTED for claim in claims_of(row)}
    lines = [
        [f"{row['notebook']} {row['fails']}", ", ".join(map(str, claims_of(row))), row["why"], row["outcome"]]
        for row in rows
    ]
    missing = [str(claim) for claim in CLAIMS if claim not in covered]
    good = sum(row["outcome"] == REFUTED for row in rows)
    text = "# What the notebooks claim, made false\n\n"
    text += f"{good} of {len(rows)} entries are {REFUTED}: the named cell's assertion fails.\n\n"
    text += f"Claims without such an entry: {', '.join(missing) or 'none'}.\n\n"
    return text + table(["cell that must fail", "claim", "what is made false", "outcome"], escape(lines))


# the command ----------------------------------------------------------------------------------------------------------


def parse_seeds(text: str) -> list[int]:
    """ "0-4" or "0,3,7"."""
    parts = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"machine": machine(threads=[int(os.environ["OMP_NUM_THREADS"])])}
    tables.write(with_ending(path, ".json"), head, rows)


def rows_there(path: Path) -> list[Row]:
    return list(read(path)["rows"]) if with_ending(path, ".json").exists() else []


def measure_seeds(path: Path, options: argparse.Namespace) -> None:
    numbers = options.notebooks.split(",") if options.notebooks else list(found())
    seeds = parse_seeds(options.seeds)
    current = {number: code_digest(number) for number in found()}
    rows = [row for row in rows_there(path) if row["code"] == current.get(row["notebook"])]
    if options.fresh:
        rows = [row for row in rows if row["notebook"] not in numbers or row["seed"] not in seeds]
    there = {(row["notebook"], row["seed"]) for row in rows}
    for number in numbers:
        for seed in seeds:
            if (number, seed) not in there:
                rows.append(run_seed(number, seed))
                failed = join_sorted({each["cell"] for each in rows[-1]["failures"]})
                print(f"{number}, seed {seed}: {rows[-1]['seconds']:.0f} s, {failed or 'passes'}", flush=True)
                write(path, sorted(rows, key=lambda row: (row["notebook"], row["seed"])))


def measure_refutations(path: Path, options: argparse.Namespace) -> None:
    wanted = read_entries(found())
    current = {entry_digest(entry) for entry in wanted}
    if options.only:
        chosen = [part.partition(":") for part in options.only.split(",")]
        wanted = [
            entry
            for entry in wanted
            if any(entry["notebook"] == n and (not c or int(c) in claims_of(entry)) for n, _, c in chosen)
        ]
        if not wanted:
            raise SystemExit(f"no entry of {REFUTATIONS.name}/ is chosen by --only {options.only}")
    again = {entry_digest(entry) for entry in wanted} if options.fresh or options.only else set()
    rows = [row for row in rows_there(path) if row["code"] in current - again]
    there = {row["code"] for row in rows}
    for entry in wanted:
        if entry_digest(entry) not in there:
            rows.append(run_refutation(entry))
            print(f"{entry['notebook']}:{join_sorted(claims_of(entry))}: {rows[-1]['outcome']}", flush=True)
            write(path, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options_parser = parser(__doc__)
    options_parser.add_argument("--seeds", default="0-4", help="0-4, or 0,3,7 (default 0-4)")
    options_parser.add_argument("--notebooks", default="", help="their numbers, 00,01 (default all)")
    options_parser.add_argument(
        "--refute", action="store_true", help="make each claim false instead: its assertion must fail"
    )
    options_parser.add_argument("--only", default="", help="with --refute: notebook, or notebook:claim, 02:7,03")
    options_parser.add_argument("--fresh", action="store_true", help="run again what has been run")
    options = options_parser.parse_args(arguments)
    path = stem(options.out, "notebook_refutations" if options.refute else "notebook_seeds")
    if not options.redraw:
        (measure_refutations if options.refute else measure_seeds)(path, options)
    result = read(path)
    text = (refutations_text if options.refute else seeds_text)(result)
    text += f"\n{described(result['machine'])}.\n"
    with_ending(path, ".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
