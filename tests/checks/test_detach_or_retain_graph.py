"""The checks of notebook 02: each misconception is told apart."""

import linecache
from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from helpers import build, draw
from test_checks import NOTEBOOKS, judged, rejected
from torch import Tensor

from gantutor import checks
from gantutor.checks.detach_or_retain_graph import PUZZLE
from gantutor.gan import GAN
from gantutor.ledger import trace
from gantutor.losses import LOSSES
from gantutor.steps import STEPS, d_only

CHECKS = {"two updates": checks.two_updates_of_G, "at once": checks.both_at_once}


# A step in a few letters, one for each of its lines.
LINES = {
    "F": "fake = gan.G(z)",
    "f": "fake = gan.G(z).detach()",
    "d": "gan.opt_D.zero_grad()",
    "g": "gan.opt_G.zero_grad()",
    "D": "gan.opt_D.step()",
    "G": "gan.opt_G.step()",
    "L": "logits = gan.D(fake); d_loss = gan.loss.d_loss(gan.D(real), logits)",
    "l": "logits = gan.D(fake.detach()); d_loss = gan.loss.d_loss(gan.D(real), logits)",
    "M": "g_loss = gan.loss.g_loss(gan.D(fake))",
    "m": "g_loss = gan.loss.g_loss(gan.D(fake.detach()))",
    "n": "g_loss = gan.loss.g_loss(logits)",
    "-": "d_loss = -d_loss",
    "+": "g_loss = -g_loss",
    "B": "d_loss.backward()",
    "b": "d_loss.backward(retain_graph=True)",
    "C": "g_loss.backward()",
    "c": "g_loss.backward(retain_graph=True)",
    "X": "d_loss.backward(retain_graph=True, inputs=list(gan.D.parameters()))",
    "x": "d_loss.backward(inputs=list(gan.D.parameters()))",
    "Y": "g_loss.backward(retain_graph=True, inputs=list(gan.G.parameters()))",
    "y": "g_loss.backward(inputs=list(gan.G.parameters()))",
    # Of a critic's k steps alone.
    "1": "real = reals[0]",
    "2": "z_d = zs[0]",
    "r": "fake = gan.G(z_d)",
    "w": "clamp(gan.D.parameters())",
    "W": "clamp(gan.G.parameters())",
    "k": "clamp(p.grad for p in gan.D.parameters())",
}


def defined(head: str, *lines: str) -> Callable[..., None]:
    """The function of that head, and a body of these lines."""
    names: dict[str, Any] = {}
    exec("\n    ".join([head, "pass", *lines]), names)
    return names["step"]


def step(word: str) -> Callable[[GAN, Tensor, Tensor], None]:
    return defined("def step(gan, real, z):", *(LINES[letter] for letter in word))


RIGHT = {
    "two updates": ["FdlBDgMCGFgMCG", "dFlBDFgMCGFgMCG", "FdLbDgMCGFgMCG", "FdlBDgMCGgFMCG"],
    "at once": ["FgMCdlBGD", "FgMCdlBDG", "FgMCdFlBGD"],
}


@pytest.mark.parametrize(("cell", "word"), [(cell, word) for cell, words in RIGHT.items() for word in words])
def test_any_right_step_passes(cell: str, word: str) -> None:
    verdict = CHECKS[cell](step(word))
    assert verdict.passed, verdict.message


# cell: (word, a part of the message that it must get, and no other of these parts)
WRONG: dict[str, list[tuple[str, str]]] = {
    "two updates": [
        ("FdlBDgMCG", "here the optimizers move D, G."),
        ("FgMCGFgMCGdlBD", "here the optimizers move G, G, D"),
        ("FdlBDgMCGG", "Update 3, of G: It is G's first gradient once more"),
        ("FdlBDgMCGFMCG", "Update 3, of G: G's first gradient was not cleared"),
        ("FdlBDgMCGFgmCG", "Update 3, of G: G is given no gradient"),
        ("FdlBDMCGFgMCG", "opt_G.zero_grad() is missing"),
        ("FlBDgMCGFgMCG", "opt_D.zero_grad() is missing"),
        ("FdLbDMCGFgMCG", "d_loss's share on top"),
        ("FdgLbDMCGFgMCG", "Update 2, of G: G holds d_loss's share"),
        ("FdgMYlBDGFgMCG", "G meets the D of before"),
        ("FdlBdDgMCGFgMCG", "Clear it before d_loss.backward()"),
        ("FdLBDgMCGFgMCG", "an earlier backward has freed"),
    ],
    "at once": [
        ("FdgLnbgCDG", "Update 1, of D: D holds g_loss's share"),
        ("FdgLnbdCDG", "its own was cleared after d_loss.backward()"),
        ("FdgLnBCDG", "an earlier backward has freed"),
        ("FdlBDgMCG", "by a D that has moved already"),
        ("FgMCGdFlBD", "Update 2, of D: D judges a fake made by the G that has moved"),
        ("FMCdlBGD", "opt_G.zero_grad() is missing"),
        ("FgMClBGD", "g_loss's share on top"),
        ("FgMCdlBG", "here the optimizers move G."),
    ],
}


@pytest.mark.parametrize("cell", WRONG)
def test_a_wrong_step_gets_its_own_message(cell: str) -> None:
    judged(CHECKS[cell], [(step(word), part) for word, part in WRONG[cell]])


def test_the_step_as_printed_is_not_answered_yet() -> None:
    verdict = checks.two_updates_of_G(step("FdlBDgMcGgMcG"))
    assert (verdict.passed, verdict.answered) == (False, False)
    assert "A kept graph holds weights" in verdict.message


def test_steps_of_the_package_are_judged_as_they_should_be() -> None:
    assert "uses retain_graph" in checks.both_at_once(step("FdgLnXYDG")).message
    assert "uses inputs=" in checks.both_at_once(step("FdLxFgMyDG")).message
    assert checks.both_at_once(STEPS["one_stage"]).passed


# The ledger


def test_the_truth_of_the_puzzle_is_what_a_trace_of_the_cell_shows() -> None:
    cells = {
        cell.id: cell.source
        for cell in nbformat.read(NOTEBOOKS / "02_detach_or_retain_graph.ipynb", as_version=4).cells
    }
    source = cells["ex-ledger"].partition("\n\n\n")[0]
    marks = {number: line[-1] for number, line in enumerate(source.splitlines(), start=1) if line[-3:-1] == "# "}
    names: dict[str, Any] = {}
    linecache.cache["<puzzle>"] = (len(source), None, source.splitlines(keepends=True), "<puzzle>")
    exec(compile(source, "<puzzle>", "exec"), names)
    record = trace(names["puzzle"], build("points"), *draw("points")[0])
    texts = {line.number: line.text for line in record.lines}
    seen = {
        marks[line.number]: {
            name: {texts[part.line].partition(".")[0] for part in line.networks[name].contributions} for name in "GD"
        }
        for line in record.lines
        if line.number in marks
    }
    assert seen == PUZZLE


def changed(line: str, network: str, to: Any) -> dict[str, dict[str, Any]]:
    return {each: {**PUZZLE[each], **({network: to} if each == line else {})} for each in PUZZLE}


@pytest.mark.parametrize(
    ("line", "network", "to", "part"),
    [
        ("A", "D", set(), "backward fills every parameter that it passes"),
        ("B", "G", set(), "opt_D knows nothing of G's"),
        ("B", "D", {"g_loss"}, "is cleared here"),
        ("C", "G", {"d_loss"}, r"^Line C: you say that G holds d_loss, D holds d_loss\. But backward adds"),
        ("C", "G", {"g_loss"}, "the fake is not detached"),
        ("C", "D", {"d_loss", "g_loss"}, "which is empty since line B"),
        ("D", "D", set(), "and clears none"),
        ("D", "G", {"adam"}, "Answer with sets of the names"),
    ],
)
def test_a_wrong_ledger_gets_its_message(line: str, network: str, to: set[str], part: str) -> None:
    rejected(checks.ledger(changed(line, network, to)), part)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({line: PUZZLE[line] for line in "ABD"}, "^Line C: nothing is found for G"),
        ({**PUZZLE, "B": {"G": {"g_loss"}}}, "^Line B: nothing is found for D"),
        (changed("D", "D", 0), "^Line D: for D there is 0. Answer with sets of the names"),
        (changed("A", "D", [["g_loss"]]), r"^Line A: for D there is \[\['g_loss'\]\]"),
    ],
)
def test_an_answer_that_is_no_ledger_gets_a_clear_verdict(answer: Any, message: str) -> None:
    rejected(checks.ledger(answer), message)


def critic(start: str, each: str, last: str) -> Callable[..., None]:
    """k steps in letters: `each` is done for each of `reals`, its fakes, of `z_d`, are made first."""
    return defined(
        "def step(gan, reals, zs, z, clip):",
        "clamp = lambda tensors: [tensor.data.clamp_(-clip, clip) for tensor in tensors]",
        *(LINES[letter] for letter in start),
        "for real, z_d in zip(reals, zs):",
        *(f"    {LINES[letter]}" for letter in each),
        *(LINES[letter] for letter in last),
    )


def in_between(gan: GAN, reals: list[Tensor], zs: list[Tensor], *others: Any) -> None:
    critic("", "drlBDw", "gFMCG")(gan, reals[:2], zs[:2], *others)
    d_only(gan, reals[2], zs[2])


def another_loss(gan: GAN, *inputs: Any) -> None:
    gan.loss = LOSSES["non-saturating"]
    critic("", "drlBDw", "gFMCG")(gan, *inputs)


def clips_again(gan: GAN, *inputs: Any) -> None:
    critic("", "drlBDw", "gFMCG")(gan, *inputs)
    for weight in gan.D.parameters():
        weight.data.clamp_(max=0.05)


def test_another_critic_gets_its_message() -> None:
    for right in (critic("", "drlBDw", "gFMCG"), critic("", "drLBDw", "gFMCG"), critic("g", "drlBDw", "FMCG")):
        assert checks.k_steps(right).passed
    wrong = [
        (critic("", "drlBD", "gFMCG"), "The weights are not clipped"),
        (critic("", "dwrlBD", "gFMCG"), "The weights are clipped before each update"),
        (critic("", "drlBD", "wgFMCG"), "The weights are clipped once, after D's last update"),
        (critic("", "drlBkD", "gFMCG"), "The gradients are clipped"),
        (critic("", "drlBDw", "gFMCGW"), "G is clipped, too"),
        (critic("d", "rlBDw", "gFMCG"), "D's gradients are not cleared between its updates"),
        (critic("", "rlBDw", "gFMCG"), "Update 1, of D: D holds what was left over from before the step"),
        (critic("", "drlBDw", "FMCG"), "Update 4, of G: G holds what was left over from before the step"),
        (critic("", "drLBDw", "FMCG"), "Update 4, of G: G was never cleared"),
        (critic("g", "drLBDw", "FMCG"), "Update 4, of G: G holds d_loss's share, too"),
        (critic("", "d1rlBDw", "gFMCG"), "D sees the same batch in all its updates"),
        (critic("", "d2rlBDw", "gFMCG"), "D's fakes are made once, for all updates"),
        (critic("", "drlBDw", "grMCG"), "G's step is on the fakes of D's last update"),
        (critic("", "drl-BDw", "gFMCG"), "The sign of D's loss is wrong"),
        (critic("", "drlBDw", "gFM+CG"), "The sign of G's loss is wrong"),
        (critic("", "drlBDwgFMCG", ""), "G moves after each of D's updates"),
        (critic("", "drlBDw", ""), "not 3 and 0"),
        (in_between, "G moves before D's updates are done"),
        (another_loss, "Update 1, of D: This is another gradient"),
        (clips_again, "All gradients are right, but not the weights at the end. Look at the clipping."),
    ]
    judged(checks.k_steps, wrong)
    assert "clipped before each update" in checks.k_steps(critic("", "drlBwD", "gFMCG")).message
