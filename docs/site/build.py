"""Build the course as a static site: `make site`, or `python docs/site/build.py --help`.

What takes long is kept in build/site/ as long as nothing that it depends on has changed: packages of npm, executed
notebooks, recorded runs. Then Sphinx makes the pages. Nothing but the package registries is asked.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pages
import record

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PACKAGE = [path for path in (ROOT / "gantutor").rglob("*.*") if "__pycache__" not in path.parts]
PACKAGE += [path for path in (ROOT / "data").glob("*.*") if path.is_file()]
RECORDERS = [HERE / "live.py", HERE / "record.py", *PACKAGE]


def digest(paths: Iterable[Path], *texts: str) -> str:
    """A hash of files, with their names, and of texts."""
    found = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(paths):
        found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def npm(work: Path) -> Path:
    """The packages of package.json, in node_modules."""
    folder, wanted = work / "npm", (HERE / "package.json").read_text()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(HERE / "package.json", folder)
        bin = Path(sys.executable).parent
        command = [str(bin / "npm"), "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        node = {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(command, cwd=folder, check=True, env=os.environ | node)
        stamp.write_text(wanted)
    return folder / "node_modules"


def made(folder: Path, what: str, command: list[str]) -> dict[str, Any]:
    """What record.py leaves in a folder; it is asked where the folder is not there yet."""
    if not (folder / "shown.json").exists():
        for old in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
            shutil.rmtree(old)
        run(what, [str(HERE / "record.py"), *command, str(folder)])
    shown: dict[str, Any] = json.loads((folder / "shown.json").read_text())
    return shown


def run(what: str, command: list[str]) -> None:
    """One of this folder's programs, in one thread, as in the tests: it gives the same wherever the site is built."""
    began = time.perf_counter()
    given = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], check=True, env=os.environ | given)
    print(f"{what}: {time.perf_counter() - began:.0f} s", flush=True)


def executed(notebook: Path, work: Path, small: bool) -> Path:
    """The notebook with its outputs; run where it or the package has changed since."""
    key = digest([notebook, HERE / "live.py", HERE / "notebook.py", *PACKAGE], str(small))
    path = work / "executed" / f"{notebook.stem}-{key}.ipynb"
    if not path.exists():
        for old in path.parent.glob(f"{notebook.stem}-*.ipynb"):
            old.unlink()
            shutil.rmtree(old.with_suffix(""), ignore_errors=True)
        run(notebook.name, [str(HERE / "notebook.py"), str(notebook), str(path), *["--small"] * small])
    return path


def recorded(notebook: str, path: Path, work: Path, small: bool) -> dict[str, pages.Shown]:
    """The runs of each panel of an executed notebook, by cell; trained where settings or package have changed since."""
    found = {}
    for cell, data in pages.panels(path).items():
        plan, configs = record.PLANS[notebook, cell], path.with_suffix("") / data["configs"]
        folder = work / "recorded" / f"{notebook}-{cell}-{digest(RECORDERS, data['configs'], repr(plan))}"
        command = ["panel", notebook, cell, str(configs), "small" if small else ""]
        found[cell] = pages.Shown(folder, made(folder, f"{notebook}, {cell}", command))
    return found


def others(kind: str, work: Path, small: bool) -> pages.Shown:
    """What belongs to no notebook: the traced steps, and Paint with its generators."""
    arguments = {"steps": [], "paint": ["2" if small else "1500"]}[kind]
    folder = work / "recorded" / f"{kind}-{digest(RECORDERS, *arguments)}"
    return pages.Shown(folder, made(folder, kind, [kind, *arguments]))


def build(out: Path, work: Path, small: bool) -> None:
    """Make the site in `out`."""
    work.mkdir(parents=True, exist_ok=True)
    modules = npm(work)
    with ThreadPoolExecutor(2) as pool:
        more = {kind: pool.submit(others, kind, work, small) for kind in ("paint", "steps")}
        chosen = {path.stem: path for path in (NOTEBOOKS[:1] if small else NOTEBOOKS)}
        paths = dict(zip(chosen, pool.map(lambda path: executed(path, work, small), chosen.values()), strict=True))
        runs = dict(zip(paths, pool.map(lambda stem: recorded(stem, paths[stem], work, small), paths), strict=True))
    source = work / "source"
    pages.prepare(source, paths, runs, more["steps"].result(), more["paint"].result(), modules, ROOT)
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto"]
    where = {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    folders = ["-d", str(work / "doctrees"), str(source), str(out)]
    subprocess.run([sys.executable, *command, *folders], check=True, env=os.environ | where)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="where the site goes (default: site/)")
    parser.add_argument("--small", action="store_true", help="one notebook and few frames, for the tests")
    arguments = parser.parse_args()
    build(arguments.out, ROOT / "build" / ("site-small" if arguments.small else "site"), arguments.small)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.0f} MB. To look at it: python -m http.server --directory {arguments.out}")


if __name__ == "__main__":
    main()
