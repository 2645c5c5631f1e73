"""`python -m gantutor train ...`: the options, the same steps as a notebook's, and a run that goes on after any end."""

import importlib.metadata
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from run_cases import RING as RING_CONFIG
from run_cases import difference

from gantutor.__main__ import CONTEXT, KIND_HELP, main
from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import Images, Unpaired
from gantutor.scale import run_folder
from gantutor.scale.checkpoint import read_checkpoint
from gantutor.scale.command import COMMAND_EXAMPLES, Interruptions, due, in_turn, samples_of, train_command
from gantutor.scale.distributed import Replicas
from gantutor.scale.speed import SPEED_UPS
from gantutor.training import Run

RING = ["--data", "ring", "--model-option", "width=8", "--batch-size", "8", "--speed", "none"]
SMALL = {
    "dcgan": RING,
    "pix2pix": shlex.split(
        "--width-G 2 --width-D 2 --batch-size 1 --speed none --multipliers 1,1,2,2,2,2 --objective 'L1 + GAN' --lr 1e-3"
    ),
    "cyclegan": ["--width-G", "2", "--width-D", "2", "--blocks", "1", "--pool-size", "2", "--speed", "none"],
}
CONFIGS = {
    "dcgan": GANConfig(data="ring", batch_size=8, model_options={"width": 8}),
    "pix2pix": Pix2PixConfig(
        width_G=2, width_D=2, batch_size=1, multipliers=(1, 1, 2, 2, 2, 2), objective="L1 + GAN", lr=1e-3, steps=4
    ),
    "cyclegan": CycleGANConfig(width_G=2, width_D=2, blocks=1, pool_size=2, steps=4),
}
each_kind = pytest.mark.parametrize("kind", KIND_HELP)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gantutor(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def trained(*arguments: Any) -> Result:
    result = gantutor(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(message: str, *arguments: Any) -> None:
    """It ends with a message, and no traceback."""
    result = gantutor(*arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert isinstance(result.exception, SystemExit)


def state(folder: str) -> dict[str, Any]:
    return read_checkpoint(Path(folder) / "checkpoints" / "latest.pt")["state"]


def config_in(folder: str) -> dict[str, Any]:
    return json.loads((Path(folder) / "config.json").read_text())


def rewrite(folder: str, **changes: Any) -> None:
    """Change its config.json."""
    (Path(folder) / "config.json").write_text(json.dumps({**config_in(folder), **changes}))


def content(folder: str) -> dict[str, bytes]:
    """The history and the images that a run has left."""
    root = Path(folder)
    paths = [root / "history.csv", *root.glob("samples/*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def same_runs(a: str, b: str) -> bool:
    """Bit for bit, with what they left in their folders."""
    return difference(state(a), state(b)) == 0 and content(a) == content(b)


def at_step(monkeypatch: pytest.MonkeyPatch, t: int, act: Callable[[Run], object]) -> None:
    """Act on the run after its step t."""
    agreed = Interruptions.agreed

    def acting(self: Interruptions, run: Run, replicas: Replicas) -> int:
        if run.t == t:
            act(run)
        return agreed(self, run, replicas)

    monkeypatch.setattr(Interruptions, "agreed", acting)


def spoil(run: Run) -> None:
    next(run.model.G.parameters()).data.fill_(torch.nan)


# The options.


def command(kind: str) -> click.Command:
    return train_command(kind, KIND_HELP[kind], CONTEXT)


@each_kind
def test_every_field_of_a_config_is_an_option_with_its_default_and_a_help_text(kind: str) -> None:
    options = {option.name: option for option in command(kind).params if isinstance(option, click.Option)}
    parsed = command(kind).make_context(kind, []).params
    for name, default in run_folder.config_fields(kind).items():
        if name not in ("speed", "multipliers"):
            assert (parsed[name], type(parsed[name])) in ((default, type(default)), (None, type(None))), name
    assert all(option.help and option.help.endswith((".", ").")) for option in options.values())
    text = " ".join(gantutor(kind, "--help").output.split())
    assert "--strategy [" in text
    assert "(notebook 03)" in text or "notebook 03," in text
    assert f"python -m gantutor train {kind} --resume runs/{kind}-" in text
    assert all(name in text for name in (*run_folder.MODEL_KINDS[kind].config.SETS, *SPEED_UPS))


def printed_commands() -> list[list[str]]:
    """The command lines of the help texts and of README.md: what follows `train`."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = "\n".join([*COMMAND_EXAMPLES.values(), readme]).replace("\\\n", " ")
    lines = [line.partition("-m gantutor train ")[2] for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


@pytest.mark.parametrize("arguments", printed_commands(), ids=" ".join)
def test_the_printed_commands_can_be_typed(arguments: list[str]) -> None:
    kind, *options = arguments
    given = command(kind).make_context(kind, options).params
    run_config = run_folder.new_config(kind, {name: value for name, value in given.items() if value is not None})
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    own = {"dcgan": Images("x", images), "cyclegan": Unpaired("x", *[images] * 4)}
    run_folder.build_config(run_config, own.get(kind))


def test_help_and_version_do_not_wait_for_torch() -> None:
    program = (
        "import sys; from gantutor.__main__ import main; main(sys.argv[1:], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    for arguments, shown in (
        (["--version"], importlib.metadata.version("gantutor")),
        (["train", "--help"], "cyclegan"),
    ):
        run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert not run.returncode, run.stderr
        assert shown in run.stdout


# The same steps as a notebook's.


@each_kind
def test_a_run_is_what_the_config_does_in_a_notebook(kind: str) -> None:
    options = ("--steps", 4, "--folder", "x", "--sample-every", 2, "--keep-every", 2)
    assert trained(kind, *SMALL[kind], *options).output.endswith("x is at step 4\n")
    run = CONFIGS[kind].start()
    for _ in range(4):
        run.step()
    assert difference(state("x"), run.state_dict()) == 0
    rows = [row.split(",") for row in Path("x/history.csv").read_text().splitlines()]
    assert rows[0] == ["step", *run.history.keys()]
    assert [float(row[1]) for row in rows[1:]] == run.history[rows[0][1]].tolist()
    files = sorted(str(path.relative_to("x")) for path in Path("x").rglob("*") if path.is_file())
    assert [name for name in files if not name.startswith("tensorboard/")] == [
        *("checkpoints/latest.pt", "checkpoints/step_000002.pt", "checkpoints/step_000004.pt", "config.json"),
        *("history.csv", "samples/step_000002.png", "samples/step_000004.png"),
    ]


def test_one_s_own_pictures_and_those_that_come_later_make_another_run(tmp_path: Path) -> None:
    Path("cats").mkdir()
    for number in range(3):
        Image.new("RGB", (30, 30), (90 * number, 0, 0)).save(f"cats/{number}.png")
    trained(
        *("dcgan", "--data", "cats", "--size", 28, "--batch-size", 2, "--steps", 1, "--speed", "none", "--folder", "x"),
        *("--model-option", "width_G=2", "--model-option", "width_D=2"),
    )
    assert config_in("x")["data"] == str(tmp_path / "cats")
    assert config_in("x")["model_options"] == {"width_G": 2, "width_D": 2}
    Image.new("RGB", (30, 30)).save("cats/3.png")
    refused("another configuration: pictures was [3], is [4]", "dcgan", "--resume", "x", "--steps", 2)
    rewrite("x", data=str(tmp_path / "mine"))
    refused(f"{tmp_path / 'mine'} is no folder", "dcgan", "--resume", "x")


# A run that goes on.


@each_kind
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    often = ("--steps", 6, "--sample-every", 2, "--checkpoint-every", 2)
    trained(kind, *SMALL[kind], *often, "--folder", "whole")
    before = signal.getsignal(signal.SIGINT)
    number = signal.SIGTERM if kind == "pix2pix" else signal.SIGINT
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda run: os.kill(os.getpid(), number))
        result = gantutor(kind, *SMALL[kind], *often, "--folder", "parts")
    assert signal.getsignal(signal.SIGINT) is before
    assert result.exit_code == 128 + number
    assert f"parts is at step 3\nGo on: python -m gantutor train {kind} --resume parts\n" in result.output
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda run: sys.exit(9))  # killed: what came after the checkpoint of step 4 is lost
        assert "parts: from step 3 to 6" in gantutor(kind, "--resume", "parts").output
    Path("parts/history.csv").write_text("step\n")  # killed between the two
    assert "parts: from step 4 to 6" in trained(kind, "--resume", "parts").output
    assert same_runs("whole", "parts")
    before, hint = content("parts"), "" if "steps" in run_folder.config_fields(kind) else ": more --steps go on"
    assert trained(kind, "--resume", "parts").output == f"parts is at step 6 already{hint}\n"
    assert content("parts") == before


def test_a_run_goes_on_from_an_older_checkpoint_that_was_kept() -> None:
    for folder in ("whole", "parts"):
        trained("dcgan", *RING, "--steps", 6, "--keep-every", 2, "--folder", folder)
    latest, history = Path("parts/checkpoints/latest.pt"), Path("parts/history.csv").read_bytes()
    latest.write_bytes(b"nonsense")
    goes_on = ("dcgan", "--resume", "parts")
    refused("latest.pt is damaged, or no checkpoint of gantutor", *goes_on)
    refused("parts keeps no checkpoint of step 3; there are: 2, 4, 6", *goes_on, "--from-step", 3)
    assert "is at step 4 already" in trained(*goes_on, "--from-step", 4, "--steps", 4).output
    assert (latest.read_bytes(), Path("parts/history.csv").read_bytes()) == (b"nonsense", history)
    assert "parts: from step 2 to 6" in trained(*goes_on, "--from-step", 2).output
    assert same_runs("whole", "parts")


def test_what_makes_another_run_is_refused_by_name() -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    before, goes_on = content("x"), ("dcgan", "--resume", "x")
    changes = ("--lr-G", "1", "--loss", "hinge", "--data", "ring", "--seed", "0")
    refused("another configuration: loss was 'non-saturating', is 'hinge'; lr_G was 0.001, is 1.0.", *goes_on, *changes)
    refused("x is a run of dcgan: train dcgan --resume x", "pix2pix", "--resume", "x")
    refused("--resume goes on in its own folder: leave --folder out", *goes_on, "--folder", "y")
    refused("x has a run in it: go on with it by --resume x, or name another --folder", "dcgan", *RING, "--folder", "x")
    rewrite("x", data="swirl")
    refused("x was trained on the data set 'swirl', which this version of gantutor no longer has.", *goes_on)
    assert content("x") == before


@pytest.mark.parametrize(("rank", "order"), [(0, ["load", "barrier"]), (1, ["barrier", "load"])])
def test_the_first_replica_loads_before_the_others(
    rank: int, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: done.append("barrier"))
    in_turn(Replicas(rank, 2, torch.device("cpu")), lambda: done.append("load"))
    assert done == order


# What goes wrong is said in a line.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dcgan", "--loss", "nonsense"], "Invalid value for '--loss': 'nonsense' is not one of"),
        (["cyclegan", "--patch", "35"], "Invalid value for '--patch': '35' is not one of"),
        (["dcgan", "--data", "nowhere"], "nowhere is no folder; give one of your own images, or choose one of ring"),
        (["dcgan", "--data", "ring", "--batch-size", "1"], "batch_size must be a whole number of at least 2, got 1"),
        (["dcgan", "--strategy", "one_stage"], "one_stage is not exact here: BatchNorm in D"),
        (["dcgan", "--speed", "warp"], "speed=['warp'] holds an unknown name; choose some of channels_last"),
        (["dcgan", "--model-option", "width"], "Invalid value for '--model-option': 'width' is not of the form"),
        (["dcgan", "--model-option", "depth=3"], "unexpected keyword argument 'depth'"),
        (["dcgan", "--steps", "0"], "Invalid value for '--steps': 0 is not in the range x>=1"),
        (["dcgan", "--resume", "nowhere"], "nowhere has no run in it: config.json is missing"),
        (["dcgan", "--from-step", "2"], "--from-step is for a run that goes on: it needs --resume"),
        (["pix2pix", "--multipliers", "1,x"], "Invalid value for '--multipliers': '1,x' is no list of whole numbers"),
        (["pix2pix", "--data", "facades"], 'load_pairs("facades", download=True); here that is --download'),
    ],
)
def test_an_error_that_is_expected(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path / "data"))
    refused(message, *arguments)
    assert not Path("runs").exists() or not os.listdir("runs"), "nothing is left of a run that did not begin"


def test_a_run_that_diverges_keeps_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 3, spoil)
    message = (
        "Error: d_loss is nan at step 4 of d_first_detach. x keeps its newest checkpoint; the losses up to here are in "
        "history.csv. Start anew with a lower learning rate and another --folder"
    )
    refused(message, "dcgan", *RING, "--steps", 9, "--checkpoint-every", 2, "--folder", "x")
    assert state("x")["t"] == 2
    rows = Path("x/history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4"]
    message = "y has no checkpoint yet; the losses up to here are in history.csv. Start anew with"
    refused(message, "dcgan", *RING, "--steps", 9, "--folder", "y")


# The loop.


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
    run = RING_CONFIG.start()
    both, alone = (Replicas(0, count, torch.device("cpu")) for count in (2, 1))
    interruptions, found = Interruptions(), []
    for run.t in range(1, 11):
        assert interruptions.agreed(run, alone) == 0
        found.append(interruptions.agreed(run, both))
    assert found == [0] * 9 + [signal.SIGTERM]
    assert asked == [10]
