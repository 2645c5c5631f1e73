"""The mutants of benchmarks/: each is found in today's source, is another program, and compiles. None is run here."""

import dataclasses
import py_compile
from pathlib import Path

import pytest
from benchlib.mutants import PACKAGE, ROOMS, Mutant, PatternError, mutated, without_comments
from mutants import put, run_tests

MUTANTS = [mutant for room in ROOMS.values() for mutant in room.mutants]
STEP = """
def step(gan, real):
    # D first
    gan.opt_D.zero_grad( )
    loss = (gan.D(real) +
            gan.D(real))
    loss.backward()
    gan.opt_D.step()
"""
FORGOTTEN = Mutant("forgotten", "steps.py", "step", "gan.opt_D.zero_grad()", "pass", "")


@pytest.mark.parametrize("name", ROOMS)
def test_the_mutants_of_a_room_are_found_in_todays_source_and_compile(name: str) -> None:
    for mutant in ROOMS[name].mutants:
        source = (PACKAGE / mutant.file).read_text(encoding="utf-8")
        wrong = mutated(source, mutant)
        assert wrong != without_comments(source)
        compile(wrong, mutant.file, "exec")
        assert mutant.why.endswith(".")
    files = [part for part in ROOMS[name].tests if part.endswith(".py")]
    assert files
    assert all((PACKAGE.parent / file).is_file() for file in files)


def test_there_are_40_of_the_models_20_of_what_is_around_them_and_30_of_the_ledger() -> None:
    numbers = {name: len(room.mutants) for name, room in ROOMS.items()}
    assert sum(numbers[name] for name in ("losses", "steps", "gan", "pix2pix", "cyclegan")) == 40
    assert sum(numbers[name] for name in ("data", "checkpoints", "command line", "replicas")) == 20
    assert numbers["ledger"] == 30
    assert sum(numbers.values()) == len({mutant.name for mutant in MUTANTS}) == 90


def test_what_is_not_found_is_an_error() -> None:
    with pytest.raises(PatternError, match=r"forgotten: 'gan.opt_G.zero_grad\(\)' is not in step of steps.py"):
        mutated(STEP, dataclasses.replace(FORGOTTEN, pattern="gan.opt_G.zero_grad()"))
    for where in ("steps", "GAN.step"):
        with pytest.raises(PatternError, match=rf"forgotten: {where} is not in steps.py"):
            mutated(STEP, dataclasses.replace(FORGOTTEN, where=where))


def test_tests_kill_by_a_failure_or_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to load than the tests to run
    (tmp_path / "tests").mkdir()
    for name, line in (("right", "pass"), ("wrong", "assert 1 == 2"), ("endless", "while True: pass")):
        (tmp_path / "tests" / f"test_{name}.py").write_text(f"def test_it():\n    {line}\n")
    found = {name: run_tests(tmp_path, [f"tests/test_{name}.py"]) for name in ("right", "wrong")}
    found["endless"] = run_tests(tmp_path, ["tests/test_endless.py"], longest=1)
    assert {name: (one["died"], one["by"]) for name, one in found.items()} == {
        "right": (False, ""),
        "wrong": (True, "test_wrong.py::test_it"),
        "endless": (True, "time"),
    }
    assert not run_tests(tmp_path, ["tests/test_right.py::test_gone"], may_be_gone=True)["died"]
    with pytest.raises(SystemExit, match="pytest ended with 4"):
        run_tests(tmp_path, ["tests/test_missing.py"])


def test_a_mistake_is_not_hidden_by_what_was_compiled_before(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    compiled = Path(py_compile.compile(str(module)))
    put(module, "x = 2\n")
    assert (module.read_text(), compiled.exists()) == ("x = 2\n", False)
