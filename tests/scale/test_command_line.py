"""`python -m gantutor train ...`: the options, the same steps as a notebook's, and a run that goes on after any end."""

import importlib.metadata
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

from gantutor.__main__ import COMMAND_EXAMPLES, KIND_HELP, command, launcher, main
from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import Images, Unpaired
from gantutor.scale import runs
from gantutor.scale.checkpoint import read_checkpoint
from gantutor.scale.distributed import Replicas
from gantutor.scale.runs.loop import Bar
from gantutor.scale.runs.run_config import config_fields
from gantutor.scale.speed import SPEED_UPS
from gantutor.training import Run, train

RING = ["--data", "ring", "--model-option", "width=8", "--batch-size", "8", "--speed", "none"]
SMALL = {
    "dcgan": RING,
    "pix2pix": ["--width-G", "2", "--width-D", "2", "--batch-size", "1", "--speed", "none"],
    "cyclegan": ["--width-G", "2", "--width-D", "2", "--blocks", "1", "--pool-size", "2", "--speed", "none"],
}
RECORD = {
    "dcgan": GANConfig(data="ring", batch_size=8, model_options={"width": 8}),
    "pix2pix": Pix2PixConfig(width_G=2, width_D=2, batch_size=1, steps=4),
    "cyclegan": CycleGANConfig(width_G=2, width_D=2, blocks=1, pool_size=2, steps=4),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gantutor(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def trained(*arguments: Any) -> Result:
    result = gantutor("train", *arguments)
    assert result.exit_code == 0, result.output
    return result


def state(folder: str) -> dict[str, Any]:
    return read_checkpoint(Path(folder) / "checkpoints" / "latest.pt")["state"]


def difference(a: Any, b: Any) -> float:
    """The largest difference between two states of the same form; 0 is bit for bit."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        return max((difference(a[name], b[name]) for name in a), default=0.0)
    if isinstance(a, list | tuple):
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, torch.Tensor):
        return 0.0 if torch.equal(a, b) else float((a.double() - b.double()).abs().max())
    assert a == b
    return 0.0


def content(folder: str) -> dict[str, bytes]:
    """The history and the images that a run has left."""
    root = Path(folder)
    paths = [root / "history.csv", *root.glob("samples/*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def same_runs(a: str, b: str) -> bool:
    """Bit for bit, with what they left in their folders."""
    return difference(state(a), state(b)) == 0 and content(a) == content(b)


# The options.


@pytest.mark.parametrize("kind", KIND_HELP)
def test_every_field_of_a_record_is_an_option_with_its_default_and_a_help_text(kind: str) -> None:
    options = {option.name: option for option in command(kind).params if isinstance(option, click.Option)}
    context = click.Context(command(kind))
    for name, default in config_fields(kind).items():
        assert options[name].help, name
        if name not in ("speed", "multipliers", "model_options"):
            parsed = options[name].process_value(context, options[name].get_default(context))
            assert (parsed, type(parsed)) == (default, type(default)), name
    assert all(option.help and option.help.endswith((".", ").")) for option in options.values())


@pytest.mark.parametrize(
    ("kind", "option", "choices"),
    [
        ("dcgan", "strategy", "one_stage"),
        ("dcgan", "loss", "wgan-gp"),
        ("pix2pix", "objective", "L1 + cGAN"),
        ("cyclegan", "patch", "34"),
    ],
)
def test_what_a_record_checks_by_name_is_a_choice(kind: str, option: str, choices: str) -> None:
    found = next(o for o in command(kind).params if o.name == option)
    assert isinstance(found.type, click.Choice)
    assert choices in found.type.choices
    result = gantutor("train", kind, f"--{option}", "nonsense")
    assert result.exit_code == 2
    assert f"Invalid value for '--{option}': 'nonsense' is not one of" in result.output


@pytest.mark.parametrize("kind", KIND_HELP)
def test_the_help_shows_defaults_choices_data_and_examples(kind: str) -> None:
    text = " ".join(gantutor("train", kind, "--help").output.split())
    assert "--strategy [" in text
    assert "(notebook 03)" in text or "notebook 03," in text
    assert all(name in text for name in runs.run_config.DATA_SETS[kind])
    assert f"python -m gantutor train {kind} --resume runs/{kind}-" in text
    assert all(name in text for name in SPEED_UPS)


def printed_commands() -> list[list[str]]:
    """The command lines of the help texts and of README.md: what follows `train`."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = "\n".join([*COMMAND_EXAMPLES.values(), readme]).replace("\\\n", " ")
    lines = [line.partition("-m gantutor train ")[2] for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


@pytest.mark.parametrize("arguments", printed_commands(), ids=" ".join)
def test_the_printed_commands_can_be_typed(arguments: list[str]) -> None:
    kind, *options = arguments
    context = command(kind).make_context(kind, options)
    if not context.params["resume"]:
        run_config = {"kind": kind, **context.params}
        runs.build_config(
            run_config, None if run_config["data"] in runs.run_config.DATA_SETS[kind] else some_pictures(kind)
        )


def some_pictures(kind: str) -> Any:
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    return {"dcgan": Images("x", images), "cyclegan": Unpaired("x", *[images] * 4)}[kind]


def test_help_and_version_do_not_wait_for_torch() -> None:
    program = (
        "import sys; from gantutor.__main__ import main; main(sys.argv[1:], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    for arguments, shown in (
        (["--help"], "train  "),
        (["--version"], importlib.metadata.version("gantutor")),
        (["train", "--help"], "cyclegan"),
    ):
        run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert not run.returncode, run.stderr
        assert shown in run.stdout


# The same steps as a notebook's.


@pytest.mark.parametrize("kind", KIND_HELP)
def test_a_run_is_what_the_record_does_in_a_notebook(kind: str) -> None:
    trained(kind, *SMALL[kind], "--steps", 4, "--folder", "x", "--sample-every", 2, "--keep-every", 2)
    run = RECORD[kind].start()
    history = train(run.model, run.train_step, run.batches, 4, progress=False)
    saved = state("x")
    assert difference(saved["history"], history.state_dict()) == 0
    run.history, run.t = history, 4
    assert difference(saved, run.state_dict()) == 0
    files = sorted(str(path.relative_to("x")) for path in Path("x").rglob("*") if path.is_file())
    assert [name for name in files if not name.startswith("tensorboard/")] == [
        "checkpoints/latest.pt",
        "checkpoints/step_000002.pt",
        "checkpoints/step_000004.pt",
        "config.json",
        "history.csv",
        "samples/step_000002.png",
        "samples/step_000004.png",
    ]


def test_the_options_reach_the_record() -> None:
    trained(
        *("pix2pix", *SMALL["pix2pix"], "--multipliers", "1,1,2,2,2,2", "--patch", 16, "--objective", "L1 + GAN"),
        *("--lr", "1e-3", "--mode", "eval", "--steps", 1, "--folder", "x", "--seed", 5),
    )
    run_config = json.loads(Path("x/config.json").read_text())
    assert (run_config["multipliers"], run_config["patch"], run_config["objective"]) == (
        [1, 1, 2, 2, 2, 2],
        16,
        "L1 + GAN",
    )
    assert (run_config["lr"], run_config["mode"], run_config["seed"], run_config["kind"]) == (
        1e-3,
        "eval",
        5,
        "pix2pix",
    )


def test_the_folder_is_named_after_the_run() -> None:
    for number in (1, 2):
        result = trained("dcgan", *RING, "--steps", 1)
        assert f"runs/dcgan-ring-d_first_detach-{number} is at step 1" in result.output


def test_one_s_own_pictures(tmp_path: Path) -> None:
    from PIL import Image

    Path("cats").mkdir()
    for number in range(3):
        Image.new("RGB", (30, 30), (90 * number, 0, 0)).save(f"cats/{number}.png")
    trained(
        *("dcgan", "--data", "cats", "--size", 28, "--batch-size", 2, "--steps", 1, "--speed", "none"),
        *("--model-option", "width_G=2", "--model-option", "width_D=2"),
    )
    run_config = json.loads(Path("runs/dcgan-cats-d_first_detach-1/config.json").read_text())
    assert run_config["data"] == str(tmp_path / "cats")
    assert run_config["model_options"] == {"width_G": 2, "width_D": 2}


# A run that goes on.


@pytest.mark.parametrize("kind", KIND_HELP)
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    often = ("--steps", 6, "--sample-every", 2, "--checkpoint-every", 2)
    trained(kind, *SMALL[kind], *often, "--folder", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "show", at_step(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
        result = gantutor("train", kind, *SMALL[kind], *often, "--folder", "parts")
    assert result.exit_code == 130
    assert f"parts is at step 3\nGo on: python -m gantutor train {kind} --resume parts\n" in result.output
    assert state("parts")["t"] == 3
    assert "parts: from step 3 to 6" in trained(kind, "--resume", "parts").output
    assert same_runs("whole", "parts")


def at_step(t: int, act: Callable[[], None]) -> Callable[[Bar], None]:
    """In the place of `Bar.show`: acts after step t."""

    def show(bar: Bar) -> None:
        if bar.run.t == t:
            act()

    return show


def test_sigterm_ends_a_run_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bar, "show", at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert gantutor("train", "dcgan", *RING, "--folder", "x").exit_code == 143
    assert state("x")["t"] == 3


def test_a_run_that_was_killed_between_its_checkpoint_and_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("dcgan", *RING, "--steps", 6, "--folder", "whole")
    trained("dcgan", *RING, "--steps", 6, "--folder", "parts")
    Path("parts/history.csv").write_text("step\n")
    assert "parts is at step 6" in trained("dcgan", "--resume", "parts").output
    assert same_runs("whole", "parts")


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("dcgan", *RING, "--steps", 6, "--folder", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "show", at_step(3, lambda: sys.exit(9)))
        assert gantutor("train", "dcgan", *RING, "--steps", 6, "--folder", "parts").exit_code == 9
    assert not Path("parts/checkpoints/latest.pt").exists()
    trained("dcgan", "--resume", "parts")
    assert same_runs("whole", "parts")


def test_a_longer_run_is_the_same_run() -> None:
    trained("dcgan", *RING, "--steps", 6, "--folder", "whole")
    trained("dcgan", *RING, "--steps", 2, "--folder", "parts", "--sample-every", 0)
    trained("dcgan", "--resume", "parts", "--steps", 6, "--sample-every", 500)
    assert same_runs("whole", "parts")
    assert json.loads(Path("parts/config.json").read_text())["steps"] == 6


@pytest.mark.parametrize(("kind", "hint"), [("dcgan", ": more --steps go on"), ("cyclegan", "")])
def test_a_run_that_is_at_its_end_says_so(kind: str, hint: str) -> None:
    trained(kind, *SMALL[kind], "--steps", 3, "--folder", "x")
    before, run_config = content("x"), Path("x/config.json").read_text()
    fewer = ["--steps", "2"] if kind == "dcgan" else []
    assert trained(kind, "--resume", "x", *fewer).output == f"x is at step 3 already{hint}\n"
    assert (content("x"), Path("x/config.json").read_text()) == (before, run_config)


def test_a_run_goes_on_from_an_older_checkpoint_that_was_kept() -> None:
    trained("dcgan", *RING, "--steps", 6, "--keep-every", 2, "--folder", "whole")
    trained("dcgan", *RING, "--steps", 6, "--keep-every", 2, "--folder", "parts")
    latest, history = Path("parts/checkpoints/latest.pt"), Path("parts/history.csv").read_bytes()
    latest.write_bytes(b"nonsense")
    result = gantutor("train", "dcgan", "--resume", "parts")
    assert result.exit_code == 1
    assert "or start a new run. Kept are those of step 2, 4, 6: --from-step 6\n" in result.output
    result = gantutor("train", "dcgan", "--resume", "parts", "--from-step", 3)
    assert result.exit_code == 2
    assert "parts keeps no checkpoint of step 3; there are: 2, 4, 6" in result.output
    assert "is at step 4 already" in trained("dcgan", "--resume", "parts", "--from-step", 4, "--steps", 4).output
    assert (latest.read_bytes(), Path("parts/history.csv").read_bytes()) == (b"nonsense", history)
    assert "parts: from step 2 to 6" in trained("dcgan", "--resume", "parts", "--from-step", 2).output
    assert same_runs("whole", "parts")
    Path("parts/checkpoints/step_000004.pt").write_bytes(b"nonsense")
    result = gantutor("train", "dcgan", "--resume", "parts", "--from-step", 4)
    assert "step_000004.pt is damaged" in result.output
    assert "Kept are those of step 2: --from-step 2\n" in result.output


def test_an_older_checkpoint_is_one_of_a_run_that_goes_on() -> None:
    result = gantutor("train", "dcgan", *RING, "--from-step", 2)
    assert result.exit_code == 2
    assert "--from-step is for a run that goes on: it needs --resume" in result.output


def test_a_config_without_a_field_is_said() -> None:
    trained("dcgan", *RING, "--steps", 1, "--folder", "x")
    run_config = json.loads(Path("x/config.json").read_text())
    del run_config["sync_batchnorm"]
    Path("x/config.json").write_text(json.dumps(run_config))
    result = gantutor("train", "dcgan", "--resume", "x", "--steps", 2)
    assert result.exit_code == 1
    assert "Error: x/config.json is damaged, or of another version of gantutor: it lacks sync_batchn" in result.output


def test_what_makes_another_run_is_refused_by_name() -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    before = content("x")
    result = gantutor(
        "train", "dcgan", "--resume", "x", "--lr-G", "1", "--loss", "hinge", "--data", "ring", "--seed", "0"
    )
    assert result.exit_code == 2
    assert "--loss was non-saturating, is hinge; --lr-G was 0.001, is 1.0. That would be another run" in result.output
    result = gantutor("train", "pix2pix", "--resume", "x")
    assert result.exit_code == 2
    assert "x is a run of dcgan: train dcgan --resume x" in result.output
    result = gantutor("train", "dcgan", "--resume", "x", "--folder", "y")
    assert "--resume goes on in its own folder: leave --folder out" in result.output
    assert content("x") == before


def test_a_run_on_a_data_set_that_is_gone_says_so() -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    run_config = json.loads(Path("x/config.json").read_text())
    Path("x/config.json").write_text(json.dumps({**run_config, "data": "swirl"}))
    before = content("x")
    result = gantutor("train", "dcgan", "--resume", "x")
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert "x was trained on the data set 'swirl', which this version of gantutor no longer has." in text
    assert "--data: ring, grid, moons, spiral, digits, mnist" in text
    assert content("x") == before


def test_a_run_on_a_folder_that_is_gone_names_the_folder(tmp_path: Path) -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    run_config = json.loads(Path("x/config.json").read_text())
    Path("x/config.json").write_text(json.dumps({**run_config, "data": str(tmp_path / "mine")}))
    result = gantutor("train", "dcgan", "--resume", "x")
    assert result.exit_code == 1
    assert f"{tmp_path / 'mine'} is no folder" in result.output


def test_a_folder_with_a_run_in_it_is_not_written_over() -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    result = gantutor("train", "dcgan", *RING, "--steps", 3, "--folder", "x")
    assert result.exit_code == 2
    assert "x has a run in it: go on with it by --resume x, or name another --folder" in result.output
    assert state("x")["t"] == 2


def test_a_run_killed_by_the_system_ends_bit_for_bit_as_one_that_was_not() -> None:
    often = ["--steps", "240", "--checkpoint-every", "20", "--sample-every", "40"]
    trained("dcgan", *RING, *often, "--folder", "whole")
    arguments = [sys.executable, "-m", "gantutor", "train", "dcgan", *RING, *often, "--folder", "parts"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as killed:
        deadline = time.monotonic() + 120
        while not Path("parts/samples/step_000040.png").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert 20 <= state("parts")["t"] < 240
    trained("dcgan", "--resume", "parts")
    assert same_runs("whole", "parts")


# Several replicas.


def test_two_replicas_train_as_one_process_does() -> None:
    options = [*RING, "--steps", "20", "--sample-every", "10"]
    trained("dcgan", *options, "--folder", "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run(
        [*torchrun, "-m", "gantutor", "train", "dcgan", *options, "--folder", "two"],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert not both.returncode, both.stderr
    assert both.stdout.count("two is at step 20") == 1, "one replica speaks"
    one, two = state("one"), state("two")
    assert 0 < difference(one["model"], two["model"]) < 1e-5  # float32: the sums of gradients have another order
    assert difference(one["batches"], two["batches"]) == 0
    assert sorted(content("one")) == sorted(content("two"))
    again = trained("dcgan", "--resume", "two", "--steps", 21).output  # on one device
    assert again.count("(it was on 2 replicas, is on 1: BatchNorm that is not synchronised sees other shares") == 1
    assert json.loads(Path("two/config.json").read_text())["replicas"] == 1
    assert "replicas" not in trained("dcgan", "--resume", "two", "--steps", 22).output


def test_the_command_to_go_on_starts_as_many_replicas_on_each_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launcher() == "python -m gantutor"
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert launcher() == "torchrun --nproc-per-node 4 -m gantutor"


def test_replicas_are_asked_before_a_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Replicas, "check", lambda _, config, sync_batchnorm: asked.append(sync_batchnorm))
    trained("dcgan", *RING, "--steps", 1)
    trained("dcgan", *RING, "--steps", 1, "--sync-batchnorm")
    assert asked == [False, True]


def test_an_error_says_whose_of_the_replicas_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    result = gantutor("train", "dcgan", "--data", "nowhere")
    assert "Error: (replica 1) --data: " in result.output


# What goes wrong is said in a line.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dcgan", "--data", "nowhere"], "nowhere is no folder; give one of your own images, or choose one of ring"),
        (["dcgan", "--data", "ring", "--size", "28"], "--size is the side of an image, and ring has none"),
        (["dcgan", "--data", "ring", "--batch-size", "1"], "batch_size must be a whole number of at least 2, got 1"),
        (["dcgan", "--strategy", "one_stage"], "one_stage is not exact here: BatchNorm in D"),
        (["dcgan", "--speed", "warp"], "Invalid value for '--speed': 'warp' is unknown; choose of channels_last"),
        (["dcgan", "--model-option", "width"], "Invalid value for '--model-option': 'width' is not of the form"),
        (["dcgan", "--model-option", "depth=3"], "unexpected keyword argument 'depth'"),
        (["dcgan", "--steps", "0"], "Invalid value for '--steps': 0 is not in the range x>=1"),
        (["dcgan", "--resume", "nowhere"], "nowhere has no run in it: config.json is missing"),
        (["pix2pix", "--multipliers", "1,x"], "Invalid value for '--multipliers': '1,x' is no list of whole numbers"),
    ],
)
def test_an_error_that_is_expected(arguments: list[str], message: str) -> None:
    result = gantutor("train", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert not Path("runs").exists() or not os.listdir("runs"), "nothing is left of a run that did not begin"


def test_missing_files_say_how_the_command_line_gets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path / "data"))
    result = gantutor("train", "pix2pix", "--data", "facades")
    assert result.exit_code == 1
    assert 'load_pairs("facades", download=True); here that is --download' in result.output


def test_a_run_that_diverges_keeps_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "two")

    def show(bar: Bar) -> None:
        if bar.run.t == 3:
            next(bar.run.model.G.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(Bar, "show", show)
    result = gantutor("train", "dcgan", *RING, "--steps", 9, "--checkpoint-every", 2, "--folder", "x")
    assert result.exit_code == 1
    message = (
        "Error: d_loss is nan at step 4 of d_first_detach. x is as its newest checkpoint left it; the losses up to "
        "here are in diverged.csv. Start anew with a lower learning rate and another --folder\n"
    )
    assert message in result.output
    assert difference(state("x"), state("two")) == 0
    assert Path("x/history.csv").read_bytes() == Path("two/history.csv").read_bytes()
    rows = Path("x/diverged.csv").read_text().splitlines()
    assert "\n".join(rows[:3]) + "\n" == Path("two/history.csv").read_text()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4"]


def test_a_run_that_diverges_before_its_first_checkpoint_does_not_speak_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(bar: Bar) -> None:
        next(bar.run.model.G.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(Bar, "show", show)
    result = gantutor("train", "dcgan", *RING, "--steps", 9, "--folder", "x")
    assert result.exit_code == 1
    assert "x has no checkpoint yet; the losses up to here are in diverged.csv. Start anew with" in result.output
    assert len(Path("x/diverged.csv").read_text().splitlines()) == 3
    assert not Path("x/history.csv").exists()


def test_weights_that_are_not_finite_are_never_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(bar: Bar) -> None:
        if bar.run.t == 4:  # no loss has seen it yet
            next(bar.run.model.G.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(Bar, "show", show)
    result = gantutor("train", "dcgan", *RING, "--steps", 9, "--checkpoint-every", 2, "--folder", "x")
    assert result.exit_code == 1
    assert (
        "Error: x/checkpoints/latest.pt was not written: after step 4 the weights are NaN or infinite" in result.output
    )
    assert state("x")["t"] == 2


def test_pictures_that_came_into_the_folder_make_another_run() -> None:
    from PIL import Image

    Path("cats").mkdir()
    for number in range(3):
        Image.new("RGB", (30, 30)).save(f"cats/{number}.png")
    small = ["--model-option", "width_G=2", "--model-option", "width_D=2", "--batch-size", "2", "--size", "28"]
    trained("dcgan", "--data", "cats", *small, "--steps", 1, "--folder", "x")
    Image.new("RGB", (30, 30)).save("cats/3.png")
    result = gantutor("train", "dcgan", "--resume", "x", "--steps", 2)
    assert result.exit_code == 1
    assert "belongs to another configuration: pictures was [3], is [4]" in result.output


def test_a_damaged_checkpoint_is_said_and_left_alone() -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")
    Path("x/checkpoints/latest.pt").write_bytes(b"nonsense")
    result = gantutor("train", "dcgan", "--resume", "x", "--steps", 3)
    assert result.exit_code == 1
    assert "Error: x/checkpoints/latest.pt is damaged" in result.output
    assert Path("x/checkpoints/latest.pt").read_bytes() == b"nonsense"


def test_a_disk_that_is_full_ends_the_run_with_the_older_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("dcgan", *RING, "--steps", 2, "--folder", "x")

    def full(path: Path, content: bytes | memoryview) -> None:
        if path.suffix == ".pt":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("gantutor.scale.checkpoint.replace", full)
    result = gantutor("train", "dcgan", "--resume", "x", "--steps", 3)
    assert result.exit_code == 1
    assert "Error: x/checkpoints/latest.pt was not written: No space left on device" in result.output
    assert state("x")["t"] == 2


def test_a_signal_at_the_last_step_does_not_ask_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bar, "show", at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    result = gantutor("train", "dcgan", *RING, "--steps", 4, "--folder", "x")
    assert result.exit_code == 0
    assert "Go on" not in result.output


def test_signals_are_as_they_were_after_a_run() -> None:
    before = signal.getsignal(signal.SIGINT)
    trained("dcgan", *RING, "--steps", 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_history_says_what_the_checkpoint_says() -> None:
    trained("dcgan", *RING, "--steps", 5, "--folder", "x")
    rows = Path("x/history.csv").read_text().splitlines()
    config: Run = RECORD["dcgan"].start()
    for _ in range(5):
        config.step()
    assert rows[0].split(",") == ["step", *config.history.keys()]
    losses = [float(row.split(",")[1]) for row in rows[1:]]
    assert losses == config.history["d_loss"].tolist()
