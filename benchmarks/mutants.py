"""Do the tests notice a wrong program? Each of 60 mistakes is made in a copy of the package and run against its tests.

    python benchmarks/mutants.py [--room ROOM] [--only NAME] [--list] [--redraw] [--against results/mutants.json]

A mutant dies if a test fails, and so too if its tests take ten times as long as without it. The test that killed it
last, as the older figures have it, runs first. One that lives is a test that is missing. The figures are written as
they come; with --room or --only the others stay as they were.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from benchlib.machine import described, machine
from benchlib.mutants import ROOMS, Mutant, Room, mutated, without_comments
from benchlib.results import Result, parser, read, stem, table, with_ending, write

CHECKOUT = Path(__file__).resolve().parents[1]
COPIED = ("gantutor", "tests", "benchmarks", "pyproject.toml")
LINKED = ("data", "notebooks", "docs", "README.md", ".gitignore")
NOT_FOUND = 4  # pytest's code for a test that there is not
LONGEST = 10, 60  # times as long as without a mistake, and that many seconds


def copy_of_tree(folder: Path) -> None:
    """What the tests need, with a package that may be changed; the data are those of the checkout.

    The modules that mutants change lose their comments, as they do with a mistake in them. So the tests are first seen
    green with exactly what is not the mistake.
    """
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(CHECKOUT / name)
    for name in {mutant.file for room in ROOMS.values() for mutant in room.mutants}:
        file = folder / "gantutor" / name
        file.write_text(without_comments(file.read_text(encoding="utf-8")), encoding="utf-8")


def put(file: Path, source: str) -> None:
    """Write a module, and forget its compiled form: within a second its date would not show the change."""
    file.write_text(source, encoding="utf-8")
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def run_tests(
    folder: Path, tests: Sequence[str], longest: float | None = None, may_be_gone: bool = False
) -> dict[str, Any]:
    """Run until the first failure: {"died", "by": the test or "time", "seconds", "computing": seconds of a processor}.

    Raises: SystemExit where pytest itself cannot run, but not for a test that `may_be_gone`.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CI": "true"}  # no drawn examples
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    start, computed = time.monotonic(), children_computed()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    timed_out = False
    try:
        output, _ = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, 9)  # its replicas, too
        output, _ = process.communicate()
    spent = {
        "seconds": round(time.monotonic() - start, 1),
        "computing": round(children_computed() - computed, 1),
    }
    if timed_out:
        return {"died": True, "by": "time", **spent}
    if may_be_gone and process.returncode == NOT_FOUND:
        return {"died": False, "by": "", **spent}
    if process.returncode not in (0, 1, 2):
        raise SystemExit(f"pytest ended with {process.returncode}:\n{output}")
    return {"died": process.returncode != 0, "by": first_failure(output), **spent}


def children_computed() -> float:
    """The seconds of a processor that all processes have taken that were started and have ended: on an idle machine a
    test takes about as long, since it has one thread.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_failure(output: str) -> str:
    """The test that pytest's summary names, without its folder; "" where there is none."""
    named = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", output, re.MULTILINE)
    return named[1] if named else ""


def run_room(folder: Path, room: Room, mutants: Sequence[Mutant], keep: Any, killers: dict[str, str]) -> None:
    """The tests as they are, which must be green, and then with each mistake; `keep(mutant or None, found)`.

    Of a mutant that a test has killed before, that test, by its name in `killers`, is the first to run.
    """
    plain = run_tests(folder, room.tests)
    if plain["died"]:
        raise SystemExit(f"{' '.join(room.tests)} is red without a mistake: {plain['by']}")
    keep(None, plain)
    for mutant in mutants:
        file = folder / "gantutor" / mutant.file
        source = file.read_text(encoding="utf-8")
        put(file, mutated(source, mutant))
        try:
            longest, killer = LONGEST[0] * plain["seconds"] + LONGEST[1], killers.get(mutant.name, "")
            found = run_tests(folder, [f"tests/{killer}"], longest, may_be_gone=True) if killer else None
            if found is None or not found["died"]:
                found = run_tests(folder, room.tests, longest)
            keep(mutant, found)
        finally:
            put(file, source)


def text(result: Result) -> str:
    rows = [
        [room, mutant.name, outcome(found), found["by"] or "-", found["seconds"]]
        for room, declared in ROOMS.items()
        for mutant in declared.mutants
        if (found := result["mutants"].get(mutant.name))
    ]
    died = sum(found["died"] for found in result["mutants"].values())
    timed_out = sum(found["by"] == "time" for found in result["mutants"].values())
    all_of_them = sum(len(room.mutants) for room in ROOMS.values())
    plain = ", ".join(f"{room} {found['seconds']:.0f} s" for room, found in result["tests"].items())
    runs = [*result["tests"].values(), *result["mutants"].values()]
    total, computing = (sum(found[key] for found in runs) / 60 for key in ("seconds", "computing"))
    return (
        f"# Mutants\n\nWrong programs, and the test that notices each. {died} of {len(result['mutants'])} died, "
        f"{timed_out} of them by time; {all_of_them - len(result['mutants'])} of {all_of_them} were not run.\n\n"
        f"{table(['room', 'mistake', 'died', 'by', 'seconds'], rows)}\n"
        f"The tests without a mistake: {plain}. In all {total:.0f} min. A processor has computed for "
        f"{computing:.0f} of them, which is about what an idle machine needs.\n"
    )


def outcome(found: dict[str, Any]) -> str:
    return "yes" if found["died"] else "NO"


def live_now(before: Result, result: Result) -> list[str]:
    """Mutants that died before and now live, or are gone."""
    there = result["mutants"]
    return [
        f"{name}: {'lives' if name in there else 'was not run'}"
        for name, found in before["mutants"].items()
        if found["died"] and not there.get(name, {"died": False})["died"]
    ]


def chosen(rooms: Sequence[str] | None, only: Sequence[str] | None) -> dict[str, list[Mutant]]:
    """The mutants to run, by room. Raises: SystemExit for a name that no mutant has."""
    names = {mutant.name for room in ROOMS.values() for mutant in room.mutants}
    if unknown := set(only or ()) - names:
        raise SystemExit(f"no mutant is called {', '.join(sorted(unknown))}; --list shows them")
    wanted = {
        name: [mutant for mutant in room.mutants if not only or mutant.name in only]
        for name, room in ROOMS.items()
        if not rooms or name in rooms
    }
    return {name: mutants for name, mutants in wanted.items() if mutants}


def listed(rooms: dict[str, list[Mutant]]) -> str:
    lines = []
    for room, mutants in rooms.items():
        lines += [f"{room}: {' '.join(ROOMS[room].tests)}"]
        lines += [f"  {mutant.name} ({mutant.file}, {mutant.where}): {mutant.why}" for mutant in mutants]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--room", action="append", choices=list(ROOMS), help="this room alone; may be repeated")
    made.add_argument("--only", action="append", help="the mutant of this name; may be repeated")
    made.add_argument("--list", action="store_true", help="run nothing: the mutants")
    made.add_argument("--against", type=Path, help="older figures: fail if one that died there lives now")
    options = made.parse_args(arguments)
    rooms = chosen(options.room, options.only)
    if options.list:
        print(listed(rooms))
        return
    path = stem(options.out, "mutants")
    before = read(options.against.with_suffix("")) if options.against else None
    result: Result = {"machine": machine(threads=[1]), "tests": {}, "mutants": {}}
    if options.redraw or with_ending(path, ".json").exists():
        names = {mutant.name for room in ROOMS.values() for mutant in room.mutants}
        older = read(path)
        kept = {name: found for name, found in older["mutants"].items() if name in names}
        result = {**(older if options.redraw else result), "tests": older["tests"], "mutants": kept}
    if not options.redraw:
        known = {**(before or {"mutants": {}})["mutants"], **result["mutants"]}
        killers = {name: found["by"] for name, found in known.items() if "::" in found["by"]}
        measure(path, result, rooms, killers)
    written = f"{text(result)}\n{described(result['machine'])}.\n"
    print(written)
    with_ending(path, ".md").write_text(written, encoding="utf-8")
    if before and (lost := live_now(before, result)):
        raise SystemExit("died before:\n" + "\n".join(lost))


def measure(path: Path, result: Result, rooms: dict[str, list[Mutant]], killers: dict[str, str]) -> None:
    """Run the mutants, and write the figures after each."""
    with tempfile.TemporaryDirectory() as folder:
        copy_of_tree(Path(folder))
        for name, mutants in rooms.items():

            def keep(mutant: Mutant | None, found: dict[str, Any], name: str = name) -> None:
                if mutant is None:
                    result["tests"][name] = {key: found[key] for key in ("seconds", "computing")}
                    print(f"{name}: green in {found['seconds']} s", flush=True)
                    return
                where = {"room": name, **{key: getattr(mutant, key) for key in ("file", "where")}}
                result["mutants"][mutant.name] = {**where, **found}
                print(f"  {mutant.name}: {'died, ' + found['by'] if found['died'] else 'LIVES'}", flush=True)
                write(path, result)

            run_room(Path(folder), ROOMS[name], mutants, keep, killers)


if __name__ == "__main__":
    main()
