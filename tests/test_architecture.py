"""The floors of the house: who may import whom. It reads the source and imports nothing."""

import ast
import io
import subprocess
import sys
import tokenize
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

HOUSE = Path(__file__).parent.parent / "gantutor"

# A file imports only from the floors above it in this list, which are the floors below it in the house.
# Inside a package (data/, models/, lab/) the files may import each other.
FLOORS = (
    ("draws", "precision"),  # the ground
    ("losses", "models", "data", "model_state", "image_pool", "batches"),
    ("gan", "traits"),
    ("steps", "pix2pix", "cyclegan"),
    ("pitfalls", "ledger", "metrics", "training", "plots"),
    ("checks", "configs", "views"),
    ("still",),
    ("scale",),
    ("lab", "__main__"),
    ("__init__",),  # the façade
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
WIDGETS = {"ipywidgets", "anywidget", "traitlets"}
# What a file names in a string and loads from above only when it is used: (who, what).
SHOWN = {
    ("gantutor.checks.result", "gantutor.lab.prediction_buttons"),
    ("gantutor.configs.base", "gantutor.scale.speed"),
}
HEAVY = ("torchvision", "matplotlib", "ipywidgets", "PIL")  # imported where they are used


# What one person can hold. Lines are those of code: without blanks, comments and docstrings.
MOST_LINES, MOST_FILES, MOST_TESTS = 11_202, 85, 1.41  # the last: lines of tests for each of the package
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def module_name(path: Path, house: Path) -> str:
    """`gantutor.models.gans` for gantutor/models/gans.py; a package is named by its folder."""
    parts = path.relative_to(house.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def room(module: str) -> str:
    """The name in FLOORS that a module of the package belongs to."""
    return [*module.split("."), "__init__"][1]


def imported(path: Path, modules: set[str]) -> set[str]:
    """Every module that a file imports, at its top, inside a function or by its name in a string, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}:{node.lineno}: a relative import; write the whole name"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & modules) or {str(node.module)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, colon, _ = node.value.partition(":")  # "module:name", as pkgutil.resolve_name takes it
            found |= {module} & modules if colon else set()
    return found


def graph(house: Path) -> dict[str, set[str]]:
    """Each module of the package, and what it imports."""
    paths = {module_name(path, house): path for path in sorted(house.rglob("*.py"))}
    return {name: imported(path, set(paths)) for name, path in paths.items()}


def faults(house: Path) -> list[str]:
    """What breaks the rules, one line each."""
    modules = graph(house)
    found = [f"{name} stands on no floor: add it to FLOORS" for name in modules if room(name) not in FLOOR]
    for name, imports in modules.items():
        if room(name) != "lab":
            found += [f"{name} imports {other}: only lab may" for other in imports if other.split(".")[0] in WIDGETS]
        for other in (other for other in imports if other.split(".")[0] == house.name):
            here, there = FLOOR.get(room(name), 0), FLOOR.get(room(other), 0)
            if room(name) != room(other) and there >= here and (name, other) not in SHOWN:
                found.append(f"{name} (floor {here}) imports {other} (floor {there})")
    inside = {
        name: {other for other in imports if other in modules and (name, other) not in SHOWN}
        for name, imports in modules.items()
    }
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        found.append("a cycle: " + " imports ".join(reversed(error.args[1])))
    return found


def test_each_file_imports_only_from_floors_below() -> None:
    assert len(graph(HOUSE)) > 5
    assert faults(HOUSE) == []


def test_what_is_named_to_be_shown_from_above_is_there_and_is_used() -> None:
    modules = graph(HOUSE)
    assert all(other in modules[name] for name, other in SHOWN)


def test_the_lower_floors_import_nothing_heavy() -> None:
    lower = [name for name in graph(HOUSE) if FLOOR[room(name)] <= FLOOR["steps"]]
    lower = [name.removesuffix(".__init__") for name in lower]
    assert {"gantutor.losses", "gantutor.steps"} <= set(lower)
    program = f"""
import importlib, sys
for name in {lower}:
    importlib.import_module(name)
    print(name, *[heavy for heavy in {HEAVY} if heavy in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    assert run.stdout.splitlines() == lower, "each line: a module, and what was heavy in its import"


def repeated_files(house: Path) -> dict[str, list[str]]:
    """The file names that two modules share."""
    found: dict[str, list[str]] = {}
    for path in sorted(house.rglob("*.py")):
        if path.name != "__init__.py":
            found.setdefault(path.name, []).append(path.relative_to(house).as_posix())
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def definitions(path: Path) -> dict[str, str]:
    """Each function, class and constant at the top of a file, and its source without comments."""
    found: dict[str, str] = {}
    nodes = list(ast.parse(path.read_text(encoding="utf-8")).body)
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in ast.walk(ast.Tuple(targets)) if isinstance(target, ast.Name)]
        else:
            names = []
            nodes += [inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)]
        found |= {name: ast.unparse(node) for name in names if not name.startswith("__")}
    return found


def repeated_names(house: Path, same: dict[str, set[str]]) -> dict[str, list[str]]:
    """The names that two files define, but for one definition repeated, and the names of `same` in its files."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(house.rglob("*.py")):
        for name, source in definitions(path).items():
            found.setdefault(name, {})[path.relative_to(house).as_posix()] = source
    return {
        name: list(sources)
        for name, sources in found.items()
        if len(set(sources.values())) > 1 and not sources.keys() <= same.get(name, set())
    }


# One strategy for two models.
STRATEGIES = {
    name: {"steps.py", "pix2pix.py"} for name in ("d_first_detach", "g_first_detach", "one_stage", "simultaneous")
}


def test_no_two_modules_have_the_same_file_name() -> None:
    assert repeated_files(HOUSE) == {}


def test_no_name_is_defined_in_two_files() -> None:
    assert repeated_names(HOUSE, STRATEGIES) == {}
    assert repeated_names(HOUSE, {}).keys() == STRATEGIES.keys(), "each exception is needed"


def lines_of_code(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_the_house_stays_as_small_as_it_is() -> None:
    files = sorted(HOUSE.rglob("*.py"))
    package, tests = (sum(map(lines_of_code, folder.rglob("*.py"))) for folder in (HOUSE, Path(__file__).parent))
    assert len(files) <= MOST_FILES
    assert package <= MOST_LINES
    assert tests <= MOST_TESTS * package
