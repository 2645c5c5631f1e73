"""Turns notebooks and documents into the sources that Sphinx reads."""

import json
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import choices
import glossary
import nbformat
from live import FRONTS, LIVE
from PIL import Image

HERE = Path(__file__).parent
FILES = {".bin", ".onnx"}  # of what record.py and live.py leave, what a page loads
WIDGET = "application/vnd.jupyter.widget-view+json"
Notebook = Any  # nbformat's nodes are dicts with attributes
Cell = Any


class Shown(NamedTuple):
    """Files, and what site.js needs of them."""

    folder: Path
    what: Mapping[str, Any]


def prepare(
    source: Path,
    notebooks: Mapping[str, Path],
    shown: Mapping[str, Shown],
    modules: Path,
    root: Path,
) -> None:
    """Write all sources.

    Args:
        source: Where they go.
        notebooks: The executed notebooks, by name; others come as they are.
        shown: The traced "steps"; "paint" and its generators; the recorded runs of each panel, by notebook and cell.
        modules: The packages of npm.
        root: The repository.
    """
    shutil.copytree(HERE / "text", source)
    shutil.copy(HERE / "conf.py", source)
    for name in ("architecture", "settings", "my_gan_does_not_train"):
        text = (root / "docs" / f"{name}.md").read_text(encoding="utf-8")
        (source / f"{name}.md").write_text(without_dead_links(text), encoding="utf-8")
    originals = {path.stem: path for path in sorted((root / "notebooks").glob("[0-9]*.ipynb"))}
    (source / "glossary.md").write_text(glossary.page({name: read(path) for name, path in originals.items()}), "utf-8")
    (source / "steps.md").write_text(page_of_steps(shown["steps"].what), encoding="utf-8")
    text = (source / "paint.md").read_text(encoding="utf-8")
    (source / "paint.md").write_text(text + element("paint", "paint", **shown["paint"].what), encoding="utf-8")

    repository = repository_of(root)
    (source / "notebooks").mkdir()
    (source / "extra" / "downloads").mkdir(parents=True)
    for name, path in originals.items():
        nbformat.write(with_install(read(path), repository), source / "extra" / "downloads" / path.name)
        twin = read(path.parent / "solutions" / path.name)
        page = as_page(read(notebooks.get(name, path)), twin, path.name, repository, shown)
        nbformat.write(page, source / "notebooks" / path.name)

    folders = [*(path.parent for path in notebooks.values()), *(each.folder for each in shown.values())]
    copy_static(source / "_static", folders, modules, root)
    shutil.copytree(root / "docs" / "playground", source / "extra" / "playground")


def copy_static(static: Path, folders: Sequence[Path], modules: Path, root: Path) -> None:
    """What pages load: the site's own, the front modules, what lies in the folders, and what comes from npm."""
    shutil.copytree(HERE / "static", static)
    shutil.copytree(root / "gantutor" / "lab" / "front", static / "front")
    pair(root / "docs" / "04_pix2pix.png").save(static / "pair.png", optimize=True)
    for name in ("live", "mathjax", "ort"):
        (static / name).mkdir()
    for name, front in FRONTS.items():
        (static / "live" / f"{name}.js").write_text(front._esm, "utf-8")
        (static / "live" / f"{name}.css").write_text(front._css, "utf-8")
    for path in (path for folder in folders for path in folder.glob("*.*") if path.suffix in FILES):
        shutil.copy(path, static / "live")
    shutil.copy(modules / "mathjax" / "es5" / "tex-svg.js", static / "mathjax")
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(modules / "onnxruntime-web" / "dist" / name, static / "ort")


def read(path: Path) -> Notebook:
    return nbformat.read(path, as_version=4)


def pair(picture: Path) -> Image.Image:
    """For the front page, of the README's picture of notebook 04: the first two rows of six of its emoji."""
    columns, side = [1, 4, 7, 9, 11, 2], 66
    rows = Image.open(picture).convert("RGBA")
    made = Image.new("RGB", (side * len(columns), 2 * side), "white")
    for place, column in enumerate(columns):
        cut = rows.crop((110 + side * column, 4, 110 + side * (column + 1), 4 + 2 * side))
        made.paste(cut, (side * place, 0), cut)
    return made


# A notebook as a page ------------------------------------------------------------------------------------------------


def as_page(notebook: Notebook, twin: Notebook, name: str, repository: str, shown: Mapping[str, Shown]) -> Notebook:
    """The notebook with live outputs, its solutions behind folds, and its links."""
    solutions = {cell.id: cell.source for cell in twin.cells if cell.cell_type == "code"}
    answers = {data["question"]: data for cell in notebook.cells for data in live(cell) if data["kind"] == "answer"}
    cells, covered_by = [], ""
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
        if cell.id == "title":
            heading, _, rest = cell.source.partition("\n")
            cell.source = f"{heading}\n\n{links_of(name, repository)}\n{rest}"
        kinds = [data["kind"] for data in live(cell)]
        if covered_by:
            cell.metadata.tags.append(f"after-{covered_by}")
        if "question" in kinds:
            if cell.source.startswith("guess"):
                cell.metadata.tags.append("remove-input")  # it says nothing that the buttons do not say
            covered_by = cell.id if live(cell)[0]["question"] in answers else ""
        elif "answer" in kinds:
            covered_by = ""
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]  # progress bars
        for output in cell.get("outputs", []):
            as_html(output, cell.id, answers, shown.get(f"{Path(name).stem}-{cell.id}"))
        cells.append(cell)
        if "exercise" in cell.metadata.tags:
            cells += behind_fold(cell, solutions[cell.id])
    notebook.cells = cells
    return notebook


def live(cell: Cell) -> list[dict[str, Any]]:
    """What live.py has left in a cell's outputs."""
    return [output.data[LIVE] for output in cell.get("outputs", []) if LIVE in output.get("data", {})]


def panels(path: Path) -> dict[str, Any]:
    """What the panels of an executed notebook have left, by cell."""
    return {cell.id: data for cell in read(path).cells for data in live(cell) if data["kind"] == "panel"}


def as_html(output: Any, number: str, answers: Mapping[str, dict[str, Any]], run: Shown | None) -> None:
    """Replace what needs a kernel by what site.js brings to life."""
    bundle = output.get("data", {})
    data = bundle.pop(LIVE, None)
    if data is None:
        return
    if data["kind"] == "panel" and run:
        data = {"kind": "front", **run.what}
    if data["kind"] == "question" and data["question"] in answers:
        data |= {"verdicts": verdicts(data, answers[data["question"]])}
    bundle.clear()
    bundle["text/html"] = element(cell=number, **data)


def verdicts(question: Mapping[str, Any], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What front/predict.js says to each option."""
    truth, why = answer["truth"], answer["why"]
    return [{"passed": i == truth, "truth": truth, "why": why} for i in range(len(question["options"]))]


def element(kind: str, cell: str, **data: Any) -> str:
    """A place on the page with its data, for site.js."""
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    script = f'<script type="application/json">{text}</script>'
    return f'<div class="gt-live" data-kind="{kind}" data-cell="{cell}">{script}</div>'


def page_of_steps(steps: Mapping[str, Any]) -> str:
    """Every strategy and every pitfall in the debugger, as Markdown."""
    text = (HERE / "text" / "steps.md").read_text(encoding="utf-8")
    return text + "".join(
        f"\n## {name}\n\n{data['about']}\n\n{element('front', name, **data)}\n" for name, data in steps.items()
    )


def behind_fold(exercise: Cell, solution: str) -> list[Cell]:
    """The exercise's choices, where it has some, and its solution."""
    made = []
    if exercise.id in choices.FORMS:
        made.append(
            markdown(f"{exercise.id}-choices", element("choices", exercise.id, **choices.FORMS[exercise.id]().data()))
        )
    text = f"<details class='gt-solution'><summary>A solution</summary>\n\n```python\n{solution}\n```\n\n</details>"
    return [*made, markdown(f"{exercise.id}-solution", text)]


def markdown(number: str, text: str) -> Cell:
    return nbformat.v4.new_markdown_cell(text, id=number)


# Links ---------------------------------------------------------------------------------------------------------------


def repository_of(root: Path) -> str:
    """The address on GitHub of [project.urls] in pyproject.toml, or ""."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).rstrip("/")


def links_of(name: str, repository: str) -> str:
    """Where a notebook can be had to run. Colab and Binder open the site's copy, from the branch it is served from."""
    links = {"Download this notebook": f"../downloads/{name}"}
    if repository.startswith("https://github.com/"):
        where = repository.removeprefix("https://github.com/")
        links["Open in Colab"] = f"https://colab.research.google.com/github/{where}/blob/gh-pages/downloads/{name}"
        links["Open in Binder"] = f"https://mybinder.org/v2/gh/{where}/gh-pages?labpath=downloads/{name}"
    found = "".join(f'<a href="{address}"{download(address)}>{text}</a>' for text, address in links.items())
    return f'<p class="gt-links">{found}</p>\n'


def download(address: str) -> str:
    return "" if address.startswith("https:") else " download"


INSTALL = """\
# Installs the course's package where it is missing.
import importlib.util

if importlib.util.find_spec("gantutor") is None:
    {command}"""


def with_install(notebook: Notebook, repository: str) -> Notebook:
    """The notebook as it is handed out: it begins by installing the package, or by saying where to get it."""
    says = 'raise ModuleNotFoundError("Put this notebook into notebooks/ of the course, and start it by `make lab`.")'
    command = f'%pip install --quiet "gantutor[lab] @ git+{repository}"' if repository else says
    cell = nbformat.v4.new_code_cell(INSTALL.format(command=command), id="install")
    cell.metadata = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    notebook.cells.insert(1, cell)
    return notebook


def without_dead_links(text: str) -> str:
    """Links to files that are not part of the site become code."""
    return re.sub(r"\[`?([^\]`]+)`?\]\((?!https?:|#|[\w]+\.md)[^)]+\)", lambda link: f"`{link[1]}`", text)
