"""What all tests share: one thread, a fixed seed, hypothesis without a clock, and the order of the whole run."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# A deadline would measure the machine. In CI the examples are the same in every run, so that red means a change.
settings.register_profile("gantutor", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("gantutor")


@pytest.hookimpl(optionalhook=True)  # benchmarks/gpu.py runs tests where there is no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together, and so share what they prepare; so do all that need JupyterLab: it starts once."""
    from xdist.scheduler import LoadFileScheduling

    class OneLab(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            needs_lab = file.startswith("tests/browser/") and "LabServer" in (ROOT / file).read_text(encoding="utf-8")
            return "lab" if needs_lab else file

    return OneLab(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first, because they are quick; then files with slow ones; the notebooks; the browser tests last.

    Of several workers none should wait for a long file at the end, so they begin with those.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    rank = {
        item.nodeid: 3
        if item.get_closest_marker("browser")
        else 2
        if item.path.suffix == ".ipynb"
        else item.path in slow
        for item in items
    }
    items.sort(key=lambda item: rank[item.nodeid], reverse="PYTEST_XDIST_WORKER" in os.environ)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """One torch thread: small networks gain nothing from two, and sums keep one order on every machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def ieee_on_a_gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """A GPU's convolutions round float32 numbers to TF32 unless told not to, and no test of equality means that."""
    if not request.node.get_closest_marker("cuda"):
        yield
        return
    from gantutor.precision import float32_precision

    with float32_precision("ieee"):
        yield


@pytest.fixture
def seed() -> Iterator[int]:
    """Seeds Python, NumPy and torch, and gives torch its old state back."""
    import torch

    with torch.random.fork_rng():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 -- for code under test that uses the global generator
        torch.manual_seed(0)
        yield 0
