"""What takes long is made once: it is kept in a folder whose name has a hash of all that it depends on."""

import ast
import functools
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
# All that a notebook can show depends on. The front end is not among it: pages.py takes it as it is then.
PACKAGE = [*(ROOT / "gantutor").rglob("*.py"), *(path for path in (ROOT / "data").glob("*.*") if path.suffix != ".py")]
# The text of these files is shown, comments and all: the debugger has their lines, notebooks print them, and what a
# function of theirs is for is said in its docstring.
SHOWN = {"steps.py", "pitfalls.py", "gan.py", "losses.py", "pix2pix.py", "cyclegan.py", "command.py", "__main__.py"}


Job = tuple[Any, ...]  # a function and its arguments


@functools.cache
def content(path: Path) -> bytes:
    """What can change an output: a file's bytes; of a module that nobody is shown, all but comments and docstrings."""
    if path.suffix != ".py" or path.name in SHOWN:
        return path.read_bytes()
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree).encode()


def digest(paths: Iterable[Path], *settings: Any) -> str:
    """A hash of files, with their names, of settings, and of torch's version."""
    found = hashlib.sha256(repr((torch.__version__, settings)).encode())
    for path in sorted(paths):
        found.update(path.relative_to(ROOT).as_posix().encode() + content(path))
    return found.hexdigest()[:16]


def make_missing(jobs: Mapping[Path, Job], at_once: int) -> None:
    """Call `function(*arguments, path)` for each path that is not there; it writes this file of its folder last.

    Folders are named `<name>-<digest>`; those with the same name and another digest are removed.
    """
    missing = {path: job for path, job in jobs.items() if not path.exists()}
    for folder in (path.parent for path in missing):
        for old in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()  # files are of an older build.py
        folder.mkdir(parents=True)
    if at_once == 1:
        for path, job in missing.items():
            make(path, *job)
    elif missing:
        with ProcessPoolExecutor(at_once) as pool:
            for each in [pool.submit(make, path, *job) for path, job in missing.items()]:
                each.result()


def make(path: Path, function: Callable[..., None], *arguments: Any) -> None:
    """In one thread, as in the tests: it gives the same wherever the site is built."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    function(*arguments, path)
    print(f"  {path.parent.name}: {time.perf_counter() - began:.0f} s", flush=True)
