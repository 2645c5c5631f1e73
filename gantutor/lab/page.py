"""What stands on a page, with a kernel or without."""

import base64
import html
import io
import json
import re
import sys
import zlib
from pathlib import Path
from string import Template
from typing import Any

import ipywidgets as W
from PIL import Image

from gantutor.lab.messages import TEXTS, say

FRONT = Path(__file__).parent / "front"
NBCLIENT = "--HistoryManager.hist_file=:memory:"  # what nbclient starts its kernels with


def front_script(*names: str) -> str:
    """Modules of lab/front as one module, without their imports of each other; the last has the `export default`."""
    source = "\n".join((FRONT / name).read_text(encoding="utf-8") for name in names)
    source = re.sub(r"^import .*\n", "", source, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE)


def front_style(*names: str) -> str:
    """Style sheets of lab/front as one."""
    return "".join((FRONT / name).read_text(encoding="utf-8") for name in names)


def pack(state: dict[str, Any], data: bytes = b"") -> bytes:
    """What a front module shows without a kernel, deflated: the length of `state` as JSON, that JSON, and `data`.

    front/page.js unpacks it: `model.get(name)` is then `state[name]`, "data" an ArrayBuffer, "texts" the messages.
    """
    head = json.dumps({"texts": TEXTS, **state}, allow_nan=False, separators=(",", ":")).encode()
    return zlib.compress(len(head).to_bytes(4, "little") + head + data, 7)  # 9 takes ten times as long for 6 %


def write_page(path: str | Path, title: str, script: str, css: str, state: dict[str, Any], data: bytes = b"") -> Path:
    """Write one HTML file that shows a front module without a kernel, and asks no host for anything.

    Args:
        path: Of the file.
        title: What stands above it.
        script: The module, as `front_script` has it.
        css: Its style sheet.
        state: Its model's values, as JSON can hold them.
        data: What the model gives as "data".
    """
    code = f"{script.replace('export default', 'const front =')}\n{front_script('page.js')}"
    page = Template((FRONT / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title), css=css, needs=say("page_needs"), script=code.replace("</script", r"<\/script"),
        packed=base64.b64encode(pack(state, data)).decode(),
    )  # fmt: skip
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def mimebundle(widget: W.Widget, picture: Image.Image, text: str) -> dict[str, Any]:
    """Live where there is a front end, a picture where there is none, and always the same text (for nbval).

    nbclient, and so `nbconvert --execute`, has none. But it stores the state of every widget, and nbconvert would then
    show an empty place for the widget instead of the picture.
    """
    out = io.BytesIO()
    picture.save(out, "PNG")
    found: Any = {} if NBCLIENT in sys.argv else widget._repr_mimebundle_()
    live = dict(found[0] if isinstance(found, tuple) else found)
    return {**live, "image/png": base64.b64encode(out.getvalue()).decode(), "text/plain": text}
