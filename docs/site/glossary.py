"""The glossary: the words that the notebooks print in bold where they define them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# In bold for another reason: they stress a word, name a control, or begin a list's entry.
NO_TERMS = {
    "Play", "Pause", "Step", "Reset", "G(z)", "Losses", "D's scores", "Gradients", "Exercises", "D\\* = p/(p + q)",
    "Label smoothing", "k fakes for each real", "KL(q‖p) − 2 JSD", "D's loss near 0", "D's loss at log 4", "Between",
    "When to stop", "(a)", "(b)", "(c)", "modified by an inplace operation", "unused", "unchanged", "adds", "moves",
    "backward through the graph a second time", "clears", "filled", "paler", "upside down", "Ask as you train",
    "A norm without batch statistics in D", "`joint_in_D_step` fails in all 40 runs", "alone", "beside", "no norm",
    "as it was trained", "commit", "A", "B", "Without the identity term", "Without the cycle", "without the pool",
    "without a cycle", "Instance, group and layer norm", "Domain B", "sketch", "failed", "distance",
}  # fmt: skip
PLURALS = {"skips": "skip", "saturates": "saturate", "FLOPs": "FLOPs", "norms": "norm of a gradient", "arms": "arm"}
BOLD = re.compile(r"\*\*(.+?)\*\*")


def anchor(title: str) -> str:
    """JupyterLab's anchor of a heading; the notebooks link to each other by them."""
    return title.replace(" ", "-")


def terms(notebooks: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Each term, its sentence, its notebook and the heading that it stands below."""
    seen = set()
    for name, notebook in notebooks.items():
        heading = ""
        for cell in notebook.cells:
            if cell.cell_type != "markdown":
                continue
            for block in re.split(r"\n\s*\n|\n(?=[-*|] |\d+\. |#)", cell.source):
                if block.startswith("#"):
                    heading = block.partition("\n")[0].lstrip("# ")
                    continue
                text = " ".join(re.sub(r"^[-*] ", "", block).split())
                for found in BOLD.finditer(text):
                    term = found[1]
                    if term[-1] in ".:?" or term in NO_TERMS or term[0].isdigit() or term.lower() in seen:
                        continue
                    seen.add(term.lower())
                    yield PLURALS.get(term, term), sentence(text, found.start(), found.end()), name, heading


def sentence(text: str, start: int, end: int) -> str:
    """The sentence around a place, the next one where it is short, and the one before where it points back."""
    ends = [0, *(found.end() for found in re.finditer(r"[.?!)]['*”]* (?=[A-Z`*])", text)), len(text)]
    first = max(place for place in ends if place <= start)
    last = min(place for place in ends if place >= end)
    if last - first < 70 and last < len(text):
        last = min(place for place in ends if place > last)
    if first and re.match(r"(This|Its|There) |\*\*\w+\*\* does this", text[first:]):
        first = max(place for place in ends if place < first)
    return re.sub(r"^\*\*(Explain|Augmentation)\.\*\* ", "", text[first:last].strip())


def page(notebooks: Mapping[str, Any]) -> str:
    """The glossary as Markdown."""
    lines = ["# Glossary", "", "Each word where the course first says what it means.", ""]
    for term, text, name, heading in sorted(terms(notebooks), key=lambda entry: entry[0].lower()):
        where = f"notebooks/{name}.ipynb#{anchor(heading)}"
        lines += [term, f": {text} ([notebook {name[:2]}, *{heading}*]({where}))", ""]
    return "\n".join(lines)
