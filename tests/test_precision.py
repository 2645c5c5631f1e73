"""What says that two things are equal computes in IEEE's float32, and no float64 is asked of a device without it."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from run_cases import RING, SMALL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gantutor.data import load
from gantutor.ledger import compare, trace
from gantutor.precision import backend_settings, float32_precision, widened
from gantutor.steps import d_first_detach, simultaneous
from gantutor.views import views_of


def precisions() -> list[str]:
    return [settings.fp32_precision for settings in backend_settings()]


@pytest.fixture
def tf32() -> Any:
    """The global setting of somebody who wants speed."""
    with float32_precision("tf32"):
        yield


@pytest.fixture
def gan_and_batch() -> tuple[Any, ...]:
    run = RING.start()
    return run.model, *next(run.batches)


def test_it_is_put_back_after_an_error(tf32: None) -> None:
    before = precisions()
    context = float32_precision("ieee")
    context.__enter__()
    assert set(precisions()) == {"ieee"}
    assert not context.__exit__(RuntimeError, RuntimeError("in between"), None)
    assert precisions() == before


@pytest.mark.parametrize("look", [lambda step, *a: compare({"it": step}, *a), trace])
def test_equalities_and_traces_are_ieee(
    look: Callable[..., Any], tf32: None, gan_and_batch: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def step(gan: Any, real: Tensor, z: Tensor) -> None:
        print(sorted(set(precisions())))
        d_first_detach(gan, real, z)

    look(step, *gan_and_batch)
    assert set(capsys.readouterr().out.splitlines()) == {"['ieee']"}
    assert set(precisions()) == {"tf32"}


class OnMPS(Tensor):
    """A tensor that says it is on MPS, and refuses float64 as MPS does."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__self__", None) is Tensor.device:  # the getter of `x.device`
            return torch.device("mps")
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        found = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(found, cls) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return found


def test_without_float64_on_the_device_it_is_widened_on_the_cpu() -> None:
    x = torch.rand(3, dtype=torch.float32)
    with pytest.raises(TypeError, match="float64"):
        x.as_subclass(OnMPS).double()
    assert torch.equal(widened(x.as_subclass(OnMPS)), x.double())
    assert widened(x).dtype == torch.float64


class NoFloat64(TorchDispatchMode):
    """Whatever makes a float64 raises, as on MPS."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dtype == torch.float64:
            raise TypeError(f"{func} makes a float64")
        return found


@pytest.mark.parametrize("name", SMALL)
def test_the_loop_needs_no_float64(name: str) -> None:
    run = SMALL[name].start()
    with pytest.raises(TypeError, match="float64"), NoFloat64():
        torch.ones(1).double()
    with NoFloat64():
        for _ in range(3):
            run.step()
    assert len(run.history["d_loss"]) == 3


@pytest.mark.parametrize("data", ["ring", "digits"])
def test_the_panel_and_the_ledger_need_no_float64(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RING if data == "ring" else SMALL["gan"]
    run, loaded = config.start(), load(data, "cpu")
    module = importlib.import_module("gantutor.ledger.compare")
    monkeypatch.setattr(module, "widened", lambda x: x)  # from MPS it would go to the CPU
    with NoFloat64():
        run.step()
        assert views_of(config, loaded)(run, config)
        batch = next(run.batches)
        assert trace(run.train_step.last, copy.deepcopy(run.model), *batch).error is None
        found = compare({"a": d_first_detach, "b": simultaneous}, run.model, *batch)
    assert found.between("a", "b", "D").near
