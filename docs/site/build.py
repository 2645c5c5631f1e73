"""Build the course as a static site: `make site`, or `python docs/site/build.py --help`.

Three stages, each kept in build/site/ as long as nothing that it depends on has changed: packages of npm, the executed
notebooks, and the sources that Sphinx makes the pages from. Nothing but the package registries is asked.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pages

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


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


def executed(notebook: Path, work: Path, small: bool) -> Path:
    """The notebook with its outputs; run where it or the package has changed since."""
    package = [*(ROOT / "gantutor").rglob("*.py"), *(ROOT / "gantutor").rglob("*.js"), *(ROOT / "data").glob("*.*")]
    key = digest([notebook, HERE / "live.py", HERE / "notebook.py", *package], str(small))
    path = work / "executed" / f"{notebook.stem}-{key}.ipynb"
    if not path.exists():
        began = time.perf_counter()
        for old in path.parent.glob(f"{notebook.stem}-*"):
            old.unlink()
        # One thread, as in the tests: figures and numbers are then the same wherever the site is built.
        kernel = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(HERE / "notebook.py"), str(notebook), str(path)]
        subprocess.run([*command, "--small"] if small else command, check=True, env=kernel)
        print(f"{notebook.name}: executed in {time.perf_counter() - began:.0f} s", flush=True)
    return path


def build(out: Path, work: Path, small: bool) -> None:
    """Make the site in `out`."""
    work.mkdir(parents=True, exist_ok=True)
    modules = npm(work)
    notebooks = {path.stem: executed(path, work, small) for path in (NOTEBOOKS[:1] if small else NOTEBOOKS)}
    source = work / "source"
    pages.prepare(source, notebooks, modules, ROOT)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto"]
    folders = ["-d", str(work / "doctrees"), str(source), str(out)]
    subprocess.run([*command, *folders], check=True, env=os.environ | {"PYTHONPATH": f"{ROOT}:{HERE}"})


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
