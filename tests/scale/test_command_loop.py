"""The loop of the command line: when it stops, what is due, and the images of how far a run is."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_cases import RING, difference

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.scale.command import Interruptions, due, samples_of
from gantutor.scale.distributed import Replicas


def decoded(png: bytes, path: Path) -> np.ndarray:
    path.write_bytes(png)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] as the pixels of a PNG, (H, W, C)."""
    return ((image + 1) * 127.5).permute(1, 2, 0).numpy()


def test_a_sample_picture_of_digits_is_g_of_the_same_z(tmp_path: Path) -> None:
    config = GANConfig(data="digits", batch_size=4, model_options={"width_G": 4, "width_D": 4})
    data = config.load()
    run, plain = config.start(data), config.start(data)
    draw = samples_of(config, data)
    png = draw(run)
    assert draw(run) == png
    assert difference(run.state_dict(), plain.state_dict()) == 0
    z = torch.randn(64, config.z_dim, generator=torch.Generator().manual_seed(0))
    images, shown = run.model.sample(z), decoded(png, tmp_path / "x.png")
    for place, (row, column) in {0: (0, 0), 10: (1, 2)}.items():
        cell = shown[2 + 30 * row : 30 + 30 * row, 2 + 30 * column : 30 + 30 * column]  # within a margin of 2 pixels
        assert np.abs(cell - as_bytes(images[place])).max() < 1
    run.step()
    assert draw(run) != png


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        (Pix2PixConfig(width_G=2, width_D=2), {0: "A", 2: "B"}),
        (CycleGANConfig(width_G=2, width_D=2, blocks=1), {0: "A", 3: "B"}),
    ],
)
def test_a_sample_picture_of_a_translation_has_inputs_and_targets(
    config: Any, columns: dict[int, str], tmp_path: Path
) -> None:
    data = config.load()
    run, plain = config.start(data), config.start(data)
    png = samples_of(config, data)(run)
    assert difference(run.state_dict()["model"]["parts"], plain.state_dict()["model"]["parts"]) == 0
    first = dict(zip("AB", data.held_out.first(1) if data.kind == "pairs" else data.test(1), strict=True))
    shown = decoded(png, tmp_path / "x.png")
    assert shown.shape == (8 * 66 + 2, (max(columns) + (1 if data.kind == "pairs" else 3)) * 66 + 2, 3)
    for column, name in columns.items():
        cell = shown[2:66, 2 + 66 * column : 66 + 66 * column]
        assert np.abs(cell - as_bytes(first[name][0])).max() < 1


def test_what_is_due() -> None:
    assert [t for t in range(1, 8) if due(t, 3, 7)] == [3, 6, 7]
    assert [t for t in range(1, 8) if due(t, 0, 7)] == []


def test_a_signal_is_kept_until_the_step_is_over_and_a_late_second_one_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    interruptions = Interruptions()
    with interruptions.watched():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun repeats what the terminal has sent
        assert interruptions.signal == signal.SIGTERM
        interruptions.since -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_replicas_stop_together_for_a_signal_that_one_of_them_got(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(signals: torch.Tensor, operation: Any) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        asked.append(run.t)
        signals.fill_(signal.SIGTERM)  # another's

    asked: list[int] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    run = RING.start()
    both, alone = (Replicas(0, count, torch.device("cpu")) for count in (2, 1))
    interruptions, found = Interruptions(), []
    for run.t in range(1, 11):
        assert interruptions.agreed(run, alone) == 0
        found.append(interruptions.agreed(run, both))
    assert found == [0] * 9 + [signal.SIGTERM]
    assert asked == [10]
