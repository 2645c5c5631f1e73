"""The playground's step in the browser, and the same step by torch, from the same weights and draws."""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, Page
from torch import Tensor

from gantutor.gan import GAN

DOCS = Path(__file__).parents[2] / "docs"
WIDE, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}

# What a page gives to Python: `steps` steps from these weights on these draws, as the page's own modules take them.
IN_PAGE = """async ({ base, dtype, lines, loss, optimizer, lr, weights, draws }) => {
  const [tape, nn, optim, step, ledger, script] = await Promise.all(
    ['tape', 'nn', 'optim', 'step', 'ledger', 'script'].map(name => import(`${base}${name}.js`)));
  tape.setDtype(dtype);
  const model = { ...nn.pointNetworks({ uniform: () => 0.5 }, weights.G[1].length), loss };
  for (const player of ['G', 'D']) {
    model[player].parameters.forEach((p, i) => p.data.set(weights[player][i]));
    const Optimizer = { adam: optim.Adam, sgd: optim.SGD }[optimizer];
    model[`opt_${player}`] = new Optimizer(model[player].parameters, lr);
  }
  const arranged = step.parse(lines), losses = [];
  const tensor = points => Object.assign(new tape.Tensor(tape.floats(2 * points.length), points.length, 2),
    { data: tape.floats(2 * points.length).map((_, i) => points[i >> 1][i & 1]) });
  let error = null;
  for (const [real, z] of draws) {
    const taken = step.takeStep(model, arranged, tensor(real), tensor(z));
    if (taken.error) {
      const { type, message } = taken.error.error;
      error = [taken.error.line, type, message, ledger.explain(arranged, loss, taken.error)];
      break;
    }
    losses.push([taken.losses.d_loss ?? null, taken.losses.g_loss ?? null]);
  }
  const values = player => model[player].parameters.map(p => [...p.data]);
  return { losses, error, G: values('G'), D: values('D'), python: script.stepAsPython(arranged, loss) };
}"""


@dataclass
class Outcome:
    """Some steps: the losses of each, all weights at the end (G's, then D's), and what was raised.

    `error` is (line from 0, type, message) or None; `sentence` is the ledger's; `python` the step's source.
    """

    losses: list[dict[str, float]] = field(default_factory=list)
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    error: tuple[int, str, str] | None = None
    sentence: str = ""
    python: str = ""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a local server of a folder's files; it ends with a slash."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def visits(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """`visit(path, **context)` opens a page below the address; in the end nothing may have gone wrong in any."""
    contexts, troubles, own = [], [], (address, "data:", "blob:")

    def visit(path: str, **context: Any) -> Page:
        contexts.append(browser.new_context(**({"viewport": WIDE} | context)))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: troubles.append(f"{path}: {error}"))
        page.on("console", lambda line: troubles.append(f"{path}: {line.text}") if line.type == "error" else None)
        page.on("response", lambda got: troubles.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        page.on("request", lambda asked: None if asked.url.startswith(own) else troubles.append(f"{path}: {asked.url}"))
        page.goto(f"{address}{path}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []


def flat(gan: GAN) -> Tensor:
    """All weights, G's and then D's, as one float64 vector."""
    return torch.cat([p.detach().double().flatten() for p in [*gan.G.parameters(), *gan.D.parameters()]])


def in_browser(
    page: Page, gan: GAN, lines: str, loss: str, draws: list[tuple[Tensor, Tensor]], optimizer: str = "adam"
) -> Outcome:
    """What the page makes of the steps; `gan` stays as it is."""
    found = page.evaluate(
        IN_PAGE,
        {
            "base": page.url,
            "dtype": str(next(gan.G.parameters()).dtype).removeprefix("torch."),
            "lines": lines,
            "loss": loss,
            "optimizer": optimizer,
            "lr": gan.opt_G.param_groups[0]["lr"],
            "weights": {name: [p.flatten().tolist() for p in getattr(gan, name).parameters()] for name in "GD"},
            "draws": [[real.tolist(), z.tolist()] for real, z in draws],
        },
    )
    losses = [
        {name: value for name, value in zip(("d_loss", "g_loss"), pair, strict=True) if value is not None}
        for pair in found["losses"]
    ]
    weights = torch.tensor([value for name in "GD" for values in found[name] for value in values], dtype=torch.float64)
    error = found["error"] and tuple(found["error"][:3])
    return Outcome(losses, weights, error, found["error"][3] if found["error"] else "", found["python"])


def by_torch(gan: GAN, python: str, draws: list[tuple[Tensor, Tensor]]) -> Outcome:
    """What torch makes of the step whose source the page gave; `gan` moves."""
    names: dict[str, Any] = {
        "torch": torch,
        "d_loss_of": gan.loss.d_loss,
        "g_loss_of": gan.loss.g_loss,
        "slope_ratio": lambda logits: gan.loss.slope_ratio(logits.detach()),
        **{name: getattr(gan, name) for name in ("G", "D", "opt_G", "opt_D")},
    }
    exec(compile(python, "<step>", "exec"), names)
    outcome = Outcome(python=python)
    try:
        for real, z in draws:
            outcome.losses.append(names["train_step"](real, z))
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        (place,) = (frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<step>")
        assert place is not None
        outcome.error = (place - 2, type(error).__name__, str(error))  # `def` is the first line
    outcome.weights = flat(gan)
    return outcome
