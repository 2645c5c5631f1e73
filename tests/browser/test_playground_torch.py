"""The playground's tape is held to torch: the same numbers, and the same errors at the same line."""

import copy
import importlib.util
import itertools
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playground_twin import DOCS, Outcome, by_torch, flat, in_browser, served
from playwright.sync_api import Browser, Page
from torch import Tensor

from gantutor import trace
from gantutor.gan import GAN
from gantutor.losses import LOSSES
from gantutor.models import mlp_points
from gantutor.pitfalls import PITFALLS
from gantutor.steps import STEPS
from gantutor.traits import why_not

pytestmark = pytest.mark.browser

OFFERED = [name for name, loss in LOSSES.items() if not loss.has_penalty]
GANTUTORS = STEPS | {name: pitfall.step for name, pitfall in PITFALLS.items()}


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Page]:
    """An empty page beside the playground's modules, which it can import by their names."""
    with served(DOCS) as address:
        page = browser.new_page()
        page.route(
            "**/playground/", lambda route: route.fulfill(body="<title>modules</title>", content_type="text/html")
        )
        page.goto(f"{address}playground/")
        yield page
        page.close()


def start(loss: str, dtype: torch.dtype, width: int = 64, optimizer: str = "adam") -> GAN:
    torch.manual_seed(0)
    G, D = mlp_points(width=width)
    gan = GAN.with_adam(G.to(dtype), D.to(dtype), loss, lr_G=1e-3, lr_D=1e-3)
    if optimizer == "sgd":
        gan.opt_G, gan.opt_D = (torch.optim.SGD(network.parameters(), 1e-3) for network in (gan.G, gan.D))
    return gan


def draw(steps: int, size: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Batches (real, z) from one seed."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(steps, 2, size, 2, generator=generator, dtype=dtype)
    return [(real, z) for real, z in numbers]


def plain(message: str) -> str:
    """A message without what differs between versions of torch: the name of the node that made a view."""
    return re.sub(r"output 0 of \w+", "output 0 of a view", message)


def assert_alike(found: Outcome, wanted: Outcome, tolerance: float) -> None:
    if wanted.error is None or found.error is None:
        assert found.error == wanted.error
    else:
        assert (*found.error[:2], plain(found.error[2])) == (*wanted.error[:2], plain(wanted.error[2]))
    for here, there in zip(found.losses, wanted.losses, strict=True):
        assert here == pytest.approx(there, rel=0, abs=tolerance, nan_ok=True)
    torch.testing.assert_close(found.weights, wanted.weights, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", GANTUTORS)
def test_twenty_steps_are_those_of_the_course(modules: Page, name: str) -> None:
    """In float32, as the page computes; where the step raises, at the course's line. Two steps take every loss."""
    draws = draw(20, 64, torch.float32)
    for loss in OFFERED if name in ("d_first_detach", "one_stage") else ["non-saturating"]:
        if why_not(GANTUTORS[name], LOSSES[loss]):
            continue
        gan, wanted = start(loss, torch.float32), Outcome()
        found = in_browser(modules, gan, name, loss, draws)
        try:
            for real, z in draws:
                report = GANTUTORS[name](gan, real, z)
                wanted.losses.append({player: report[player].item() for player in ("d_loss", "g_loss")})
        except RuntimeError as error:
            lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.name == name]
            text = (lines[0] or "").partition("  #")[0]
            assert found.python.count(text) == 1
            line = [each.strip() for each in found.python.splitlines()[1:]].index(text)
            wanted.error = (line, type(error).__name__, str(error))
        wanted.weights = flat(gan)
        assert_alike(found, wanted, 1e-5)


@st.composite
def arrangements(draw_from: st.DrawFn, steps: dict[str, str], switches: dict[str, list[str]]) -> str:
    """Lines of a step in another order, some left out, repeated, added or switched; `switches` has each kind."""
    lines = [line.split("-")[0] for line in steps[draw_from(st.sampled_from(sorted(steps)))].split(".")]
    how = draw_from(st.sampled_from(["swap", "swap", "shuffle", "edit"]))
    if how == "shuffle":
        lines = draw_from(st.permutations(lines))
    elif how == "swap":  # most orders fail at an early line: a few moves get further
        for _ in range(draw_from(st.integers(1, 3))):
            line = lines.pop(draw_from(st.integers(0, len(lines) - 1)))
            lines.insert(draw_from(st.integers(0, len(lines))), line)
    else:
        for _ in range(draw_from(st.integers(1, 2))):
            lines.insert(draw_from(st.integers(0, len(lines))), draw_from(st.sampled_from(sorted(switches))))
        lines.pop(draw_from(st.integers(0, len(lines) - 1)))
    return ".".join("-".join([line, *(name for name in switches[line] if draw_from(st.booleans()))]) for line in lines)


def test_any_order_ends_as_with_torch(modules: Page, tmp_path: Path) -> None:
    """Random orders: the same weights and losses after three steps, or the same error at the same line."""
    steps, switches = modules.evaluate(
        """async base => { const { ARRANGEMENTS, LINES, switches } = await import(`${base}step.js`);
        return [ARRANGEMENTS, Object.fromEntries(Object.keys(LINES).map(kind => [kind, switches(kind)]))]; }""",
        modules.url,
    )
    assert steps.keys() == GANTUTORS.keys()
    draws, outcomes, numbers = draw(3, 6, torch.float64), set(), itertools.count()

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(arrangements(steps, switches), st.sampled_from(OFFERED), st.sampled_from(["adam", "sgd"]))
    def same(lines: str, loss: str, optimizer: str) -> None:
        gan = start(loss, torch.float64, 8, optimizer)
        found = in_browser(modules, gan, lines, loss, draws, optimizer)
        assert_alike(found, by_torch(start(loss, torch.float64, 8, optimizer), found.python, draws), 1e-10)
        outcomes.add(found.error[1] + found.error[2][:20] if found.error else "trains")
        if found.sentence and len(found.losses) == 0:
            assert found.sentence == sentence_of_the_ledger(
                found.python, gan, draws[0], tmp_path / f"s{next(numbers)}.py"
            )

    same()
    assert len(outcomes) >= 4, "the orders end in different ways"


def sentence_of_the_ledger(python: str, gan: GAN, batch: tuple[Tensor, Tensor], path: Path) -> str:
    """What gantutor's ledger says of the step, whose lines the page counts from 1."""
    source = re.sub(r"\b(opt_[GD]|[GD]|d_loss_of|g_loss_of|slope_ratio)(?=[.(])", r"gan.\1", python)
    path.write_text(source.replace("train_step(real, z):", "train_step(gan, real, z):"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["torch"] = torch
    twin = copy.deepcopy(gan)
    twin.d_loss_of, twin.g_loss_of = twin.loss.d_loss, twin.loss.g_loss  # type: ignore[attr-defined]
    twin.slope_ratio = lambda logits: twin.loss.slope_ratio(logits.detach())  # type: ignore[attr-defined]
    said = trace(module.train_step, twin, *batch).diagnosis.replace("gan.", "")
    return re.sub(r"(?<=[Ll]ine )\d+", lambda number: str(int(number[0]) - 1), said)
