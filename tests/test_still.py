"""The still picture: it holds what the views hold, whatever the notebook has set for its figures."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.mathtext import MathTextParser
from run_cases import CYC, P2P, RING, SMALL

from gantutor.plots import house_style
from gantutor.still import Column, still
from gantutor.views import View, views_of

KINDS: dict[str, Any] = {"ring": RING, "digits": SMALL["gan"], "pix2pix": P2P, "cyclegan": CYC}
kinds = pytest.mark.parametrize("name", KINDS)


def views(name: str, steps: int = 3) -> list[View]:
    config = KINDS[name]
    data = config.load()
    run = config.start(data)
    for _ in range(steps):
        run.step()
    return views_of(config, data)(run, config)


def column(name: str, steps: int = 3, **options: Any) -> Column:
    return Column(f"step {steps}", views(name, steps), **options)


@kinds
@pytest.mark.parametrize("steps", [0, 3])
def test_every_kind_is_drawn_without_mathtext(name: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parser is shared by all threads and not safe: a cell that draws while a picture is made would break one."""

    def parse(*_: Any, **__: Any) -> None:
        raise AssertionError("mathtext")

    monkeypatch.setattr(MathTextParser, "parse", parse)
    drawn = np.asarray(still([column(name, steps)]))
    assert drawn.std() > 10
    assert len(np.unique(drawn)) > 50


def test_the_style_of_the_notebook_does_not_reach_it() -> None:
    shown = views("ring")
    plain = np.asarray(still([Column("x", shown)]))
    with plt.rc_context():
        house_style()
        plt.rcParams.update({"xtick.labelsize": 20, "ytick.labelsize": 20, "axes.facecolor": "yellow"})
        np.testing.assert_array_equal(np.asarray(still([Column("x", shown)])), plain)
        assert plt.rcParams["xtick.labelsize"] == 20, "and it is left as it was"


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    (losses,) = [view for view in views("ring", 6) if view.name == "losses"]
    losses.arrays["d_loss"][2] = np.nan
    logits = View(
        name="logits", kind="histogram", title="", alt="", arrays={"real": torch.full((3,), torch.nan).numpy()}
    )
    picture = View(name="x", kind="images", title="", alt="", arrays={"images": np.zeros((1, 2, 2), np.uint8)})
    assert still([Column("x", [picture, losses, logits])]).width > 100
