"""Build the course as a static site: `make site`, or `python docs/site/build.py --help`.

What takes long is kept in build/site/ as long as nothing that it depends on has changed: packages of npm, executed
notebooks, recorded runs. Then Sphinx makes the pages. Nothing but the package registries is asked.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import execute
import pages
import record
from cache import PACKAGE, ROOT, Job, digest, make_missing
from sphinx.cmd.build import main as sphinx

HERE = Path(__file__).parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print how long it takes; the processor time has that of the processes that it starts and waits for."""
    began, spent = time.perf_counter(), sum(os.times()[:4])
    yield
    took = f"{time.perf_counter() - began:.1f} s, {sum(os.times()[:4]) - spent:.1f} s of processor time"
    print(f"{name}: {took}", flush=True)


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


def executed(work: Path, small: bool) -> dict[str, Path]:
    """The notebooks with their outputs, by name; of the small site the first one."""
    found, jobs = {}, {}
    for path in NOTEBOOKS[:1] if small else NOTEBOOKS:
        key = digest([path, HERE / "live.py", HERE / "execute.py", *PACKAGE], small)
        found[path.stem] = work / "executed" / f"{path.stem}-{key}" / "notebook.ipynb"
        jobs[found[path.stem]] = (execute.run, path, small)
    make_missing(jobs, 1 if small else 2)
    return found


def recorded(notebooks: Mapping[str, Path], work: Path, small: bool) -> dict[str, pages.Shown]:
    """What record.py makes: "paint", "steps", and the runs of each panel, by its notebook and cell."""
    # A recording judges no exercise: where only those have changed, all runs are kept.
    files = [path for path in PACKAGE if path.parent.name != "checks"] + [HERE / "live.py", HERE / "record.py"]
    jobs: dict[str, Job] = {
        "paint": (record.paint, *((2, 8) if small else (1500, 24))),
        "steps": (record.steps, small),
    }
    for name, path in notebooks.items():
        for cell, data in pages.panels(path).items():
            plan, configs = record.PLANS[name, cell], (path.parent / data["configs"]).read_bytes()
            jobs[f"{name}-{cell}"] = (record.panel, configs, record.shortened(plan) if small else plan)
    found = {name: work / "recorded" / f"{name}-{digest(files, *job[1:])}" / "shown.json" for name, job in jobs.items()}
    make_missing({found[name]: job for name, job in jobs.items()}, 1 if small else 2)
    return {name: pages.Shown(path.parent, json.loads(path.read_text())) for name, path in found.items()}


def keep_times(source: Path, before: Path) -> None:
    """Sphinx reads what is newer than when it was read: a file that is as it was `before` gets its time back."""
    for path in source.rglob("*"):
        old = before / path.relative_to(source)
        if path.is_file() and old.is_file() and filecmp.cmp(path, old, shallow=False):
            shutil.copystat(old, path)


def build(work: Path, small: bool) -> Path:
    """Make the site in a folder below `work`, which is returned."""
    work.mkdir(parents=True, exist_ok=True)
    with stage("npm"):
        modules = npm(work)
    with stage("notebooks"):
        notebooks = executed(work, small)
    with stage("recordings"):
        shown = recorded(notebooks, work, small)
    source, before, html = work / "source", work / "source-before", work / "html"
    with stage("pages"):
        for old in (before, html):
            shutil.rmtree(old, ignore_errors=True)
        if source.exists():
            source.rename(before)
        pages.prepare(source, notebooks, shown, modules, ROOT)
        keep_times(source, before)
    with stage("Sphinx"):
        key = digest([HERE / "conf.py", HERE / "glossary.py", ROOT / "requirements.txt"])
        trees = work / f"doctrees-{key}"
        for old in work.glob("doctrees*"):
            if old != trees:
                shutil.rmtree(old)
        options = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "1" if small else "auto"]
        if sphinx([*options, "-d", str(trees), str(source), str(html)]):
            shutil.rmtree(trees)  # else the next build would not read the page again, and not warn
            raise SystemExit("Sphinx has warned.")
    return html


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one notebook and few frames, in build/site-small/html")
    small = parser.parse_args().small
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}  # for kernels
    with stage("total"):
        out = build(ROOT / "build" / ("site-small" if small else "site"), small)
        if not small:
            shutil.rmtree(ROOT / "site", ignore_errors=True)
            out = out.rename(ROOT / "site")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.0f} MB. To look at it: python -m http.server --directory {out}")


if __name__ == "__main__":
    main()
