"""For the ledger's tests: small networks, an oracle of plain autograd hooks, and what a trace says, in short."""

import itertools
import linecache
import sys
import textwrap
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

import pytest
import torch
import torch.nn.functional as F
from helpers import build, draw
from torch import Tensor, nn

from gantutor.ledger import Line, Trace, trace
from gantutor.ledger.records import Backward

Share = tuple[int, str, float]  # line, network, norm
NUMBERS = itertools.count()
REAL, Z = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.randn(8, 4)


def mlp(inputs: int, outputs: int, norm: str = "none", last: nn.Module | None = None) -> nn.Sequential:
    """Two linear layers; `norm` is "none", "batch", "spectral" or "old spectral", of the first."""
    first, wide = nn.Linear(inputs, 16), nn.LeakyReLU(0.2)
    if norm == "spectral":
        first = nn.utils.parametrizations.spectral_norm(first)
    if norm == "old spectral":
        first = nn.utils.spectral_norm(first)
    norms = [nn.BatchNorm1d(16)] if norm == "batch" else []
    return nn.Sequential(first, *norms, wide, nn.Linear(16, outputs), *([last] if last is not None else []))


def model(G: nn.Module | None = None, D: nn.Module | None = None, kind: Any = torch.optim.Adam) -> SimpleNamespace:
    """G from 4 numbers to 6, D from 6 to a score, and an optimizer for each."""
    torch.manual_seed(0)
    G, D = mlp(4, 6) if G is None else G, mlp(6, 1) if D is None else D
    return SimpleNamespace(G=G, D=D, opt_G=kind(G.parameters(), 1e-3), opt_D=kind(D.parameters(), 1e-3))


def step_of(source: str, **names: Any) -> Callable[..., Any]:
    """The function `step` in a text, whose lines the ledger can read."""
    source = textwrap.dedent(source).lstrip("\n")
    file = f"<step {next(NUMBERS)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)
    step: Callable[..., Any] = names["step"]
    return step


def as_real(logits: Tensor) -> Tensor:
    return F.softplus(-logits).mean()


def as_fake(logits: Tensor) -> Tensor:
    return F.softplus(logits).mean()


class Oracle:
    """What hooks on parameters see arrive in each backward, and on which line. It knows nothing of gantutor.

    The line is that of the innermost frame in the file of `step`. On a CPU hooks run in the thread that called
    backward, so that its frames are still there.
    """

    def __init__(self, step: Callable[..., Any], networks: Mapping[str, nn.Module]) -> None:
        self.file = getattr(step, "__func__", step).__code__.co_filename
        self.networks = networks
        self.calls = 0
        self.arrived: dict[tuple[int, int, str], dict[int, Tensor]] = {}  # (call, line, network) -> by parameter

    def __enter__(self) -> Self:
        self.backward, self.run_backward = torch.autograd.backward, None
        torch.autograd.backward = self._counted  # type: ignore[assignment]
        self.hooks = [
            parameter.register_hook(self._hook(name, number))
            for name, network in self.networks.items()
            for number, parameter in enumerate(network.parameters())
            if parameter.requires_grad
        ]
        return self

    def __exit__(self, *error: object) -> None:
        torch.autograd.backward = self.backward
        for hook in self.hooks:
            hook.remove()

    def _counted(self, *arguments: Any, **options: Any) -> None:
        self.calls += 1
        self.backward(*arguments, **options)

    def _hook(self, network: str, number: int) -> Callable[[Tensor], None]:
        def saw(gradient: Tensor) -> None:
            place = self.calls, self._line(), network
            self.arrived.setdefault(place, {})[number] = gradient.detach().clone()

        return saw

    def _line(self) -> int:
        frame = sys._getframe(1)
        while frame.f_code.co_filename != self.file and frame.f_back is not None:
            frame = frame.f_back
        return frame.f_lineno

    def shares(self) -> list[Share]:
        """(line, network, norm) of all that arrived, in an order of its own; norms are equal up to rounding."""
        found = sorted((line, network, norm_of(found)) for (_, line, network), found in self.arrived.items())
        return [(line, network, pytest.approx(norm, rel=1e-4)) for line, network, norm in found]


def norm_of(gradients: Mapping[int, Tensor]) -> float:
    return torch.cat([gradient.flatten().double() for gradient in gradients.values()]).norm().item()


def traced(step: Callable[..., Any], networks: str = "points", **options: Any) -> Trace:
    """A trace of a step on the package's own model and batch."""
    return trace(step, build(networks, **options), *draw(networks)[0])


def at(record: Trace, text: str, which: int = 0) -> Line:
    """The line, among those whose text begins like this, of that place."""
    return [line for line in record.lines if line.text.startswith(text)][which]


def moved(record: Trace) -> list[tuple[str, str]]:
    """(text of the line, network) wherever a line changed a network's weights."""
    return [(line.text, name) for line in record.lines for name, state in line.networks.items() if state.changed]


def kinds(record: Trace) -> list[str]:
    return [finding.kind for finding in record.findings]


def only(record: Trace, kind: str) -> Any:
    """The one finding that a trace has, which is of this kind."""
    assert kinds(record) == [kind], [str(finding) for finding in record.findings]
    return record.findings[0]


def finds(record: Trace, kind: str, line: str, *words: str, by: str = "", fix: str = "", which: int = 0) -> Any:
    """The one finding of a trace: at the line that begins like `line`, because of the one that begins like `by`."""
    found = only(record, kind)
    assert found.line == line_of(record, line, which)
    for word in (*words, f"line {line_of(record, by)}, `{by}" if by else ""):
        assert word in f"{found.what} {found.why}"
    assert fix in found.fix
    return found


def line_of(record: Trace, text: str, which: int = 0) -> int:
    """The number of a line that begins like this, of the step or of a function that it calls."""
    own = [line.number for line in record.lines if line.text.startswith(text)]
    inside = [event.place.line for line in record.lines for event in line.events if event.place.text.startswith(text)]
    return (own or inside)[which]


def shares_of(record: Trace) -> list[Share]:
    """(line, network, norm) of all that backwards have added, in an order of its own."""
    sent = [backward for line in record.lines for backward in line.of(Backward)]
    return sorted((b.place.line, network, norm) for b in sent for network, norm in b.arrived.items())


def assert_shares_are_the_oracles(
    record: Trace, step: Callable[..., Any], networks: Mapping[str, nn.Module], *args: Any
) -> None:
    """Takes the step under hooks, and compares what they see with what the trace says."""
    with Oracle(step, networks) as oracle:
        step(*args)
    assert shares_of(record) == oracle.shares()
