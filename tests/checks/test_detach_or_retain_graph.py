"""The checks of notebook 02: each misconception is told apart."""

import linecache
from collections.abc import Callable, Iterable
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


# A step in a few letters, in the order of its lines:
#   F: make the fake (f: already detached); d, g: clear D, clear G; D, G: move D, move G;
#   L: d_loss (l: on the detached fake); M: g_loss (m: on the detached fake; n: on d_loss's logits);
#   B: backward of d_loss (b: keeping the graph); C, c: of g_loss;
#   X, Y: backward of d_loss and of g_loss with inputs=, keeping the graph (x, y: not).
def step(word: str) -> Callable[[GAN, Tensor, Tensor], None]:
    def run(gan: GAN, real: Tensor, z: Tensor) -> None:
        of: dict[str, Any] = {}

        def score(loss: str, fake: Tensor) -> None:
            of["logits"] = gan.D(fake)
            of[loss] = gan.loss.d_loss(gan.D(real), of["logits"]) if loss == "d" else gan.loss.g_loss(of["logits"])

        for letter in word:
            match letter:
                case "d":
                    gan.opt_D.zero_grad()
                case "g":
                    gan.opt_G.zero_grad()
                case "F":
                    of["fake"] = gan.G(z)
                case "f":
                    of["fake"] = gan.G(z).detach()
                case "L" | "l":
                    score("d", of["fake"] if letter == "L" else of["fake"].detach())
                case "M" | "m":
                    score("g", of["fake"] if letter == "M" else of["fake"].detach())
                case "n":
                    of["g"] = gan.loss.g_loss(of["logits"])
                case "B" | "b":
                    of["d"].backward(retain_graph=letter == "b")
                case "C" | "c":
                    of["g"].backward(retain_graph=letter == "c")
                case "X" | "x":
                    of["d"].backward(retain_graph=letter == "X", inputs=list(gan.D.parameters()))
                case "Y" | "y":
                    of["g"].backward(retain_graph=letter == "Y", inputs=list(gan.G.parameters()))
                case "D":
                    gan.opt_D.step()
                case "G":
                    gan.opt_G.step()
                case _:
                    raise AssertionError(letter)

    return run


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


# k steps, in letters:
#   d, g: clear D, clear G; l: backward of d_loss (L: not detached; r, s: on the first reals, the first z; n: minus it);
#   m: backward of g_loss (z: on D's last z; p: minus it); D, G: move D, move G;
#   w, W: clip D's weights, G's; c: clip D's gradients.
def critic(start: str, each: str, last: str) -> Callable[..., None]:
    """`each` is done for each of `reals`."""

    def run(gan: GAN, reals: list[Tensor], zs: list[Tensor], z: Tensor, clip: float) -> None:
        def clamp(tensors: Iterable[Any]) -> None:
            for tensor in tensors:
                tensor.data.clamp_(-clip, clip)

        def backward_of_D(letter: str, i: int) -> None:
            fake = gan.G(zs[0 if letter == "s" else i])
            logits_fake = gan.D(fake if letter == "L" else fake.detach())
            loss = gan.loss.d_loss(gan.D(reals[0 if letter == "r" else i]), logits_fake)
            (-loss if letter == "n" else loss).backward()

        def backward_of_G(letter: str) -> None:
            loss = gan.loss.g_loss(gan.D(gan.G(zs[-1] if letter == "z" else z)))
            (-loss if letter == "p" else loss).backward()

        doings: dict[str, Callable[[], None]] = {
            "d": gan.opt_D.zero_grad,
            "g": gan.opt_G.zero_grad,
            "D": gan.opt_D.step,
            "G": gan.opt_G.step,
            "w": lambda: clamp(gan.D.parameters()),
            "W": lambda: clamp(gan.G.parameters()),
            "c": lambda: clamp(p.grad for p in gan.D.parameters()),
        }
        for i, word in enumerate([start, *[each] * len(reals), last]):
            for letter in word:
                if letter in "lLrsn":
                    backward_of_D(letter, i - 1)
                elif letter in "mzp":
                    backward_of_G(letter)
                else:
                    doings[letter]()

    return run


def in_between(gan: GAN, reals: list[Tensor], zs: list[Tensor], *others: Any) -> None:
    critic("", "dlDw", "gmG")(gan, reals[:2], zs[:2], *others)
    d_only(gan, reals[2], zs[2])


def another_loss(gan: GAN, *inputs: Any) -> None:
    gan.loss = LOSSES["non-saturating"]
    critic("", "dlDw", "gmG")(gan, *inputs)


def clips_again(gan: GAN, *inputs: Any) -> None:
    critic("", "dlDw", "gmG")(gan, *inputs)
    for weight in gan.D.parameters():
        weight.data.clamp_(max=0.05)


def test_another_critic_gets_its_message() -> None:
    for right in (critic("", "dlDw", "gmG"), critic("", "dLDw", "gmG"), critic("g", "dlDw", "mG")):
        assert checks.k_steps(right).passed
    wrong = [
        (critic("", "dlD", "gmG"), "The weights are not clipped"),
        (critic("", "dwlD", "gmG"), "The weights are clipped before each update"),
        (critic("", "dlD", "wgmG"), "The weights are clipped once, after D's last update"),
        (critic("", "dlcD", "gmG"), "The gradients are clipped"),
        (critic("", "dlDw", "gmGW"), "G is clipped, too"),
        (critic("d", "lDw", "gmG"), "D's gradients are not cleared between its updates"),
        (critic("", "lDw", "gmG"), "Update 1, of D: D holds what was left over from before the step"),
        (critic("", "dlDw", "mG"), "Update 4, of G: G holds what was left over from before the step"),
        (critic("", "dLDw", "mG"), "Update 4, of G: G was never cleared"),
        (critic("g", "dLDw", "mG"), "Update 4, of G: G holds d_loss's share, too"),
        (critic("", "drDw", "gmG"), "D sees the same batch in all its updates"),
        (critic("", "dsDw", "gmG"), "D's fakes are made once, for all updates"),
        (critic("", "dlDw", "gzG"), "G's step is on the fakes of D's last update"),
        (critic("", "dnDw", "gmG"), "The sign of D's loss is wrong"),
        (critic("", "dlDw", "gpG"), "The sign of G's loss is wrong"),
        (critic("", "dlDwgmG", ""), "G moves after each of D's updates"),
        (critic("", "dlDw", ""), "not 3 and 0"),
        (in_between, "G moves before D's updates are done"),
        (another_loss, "Update 1, of D: This is another gradient"),
        (clips_again, "All gradients are right, but not the weights at the end. Look at the clipping."),
    ]
    judged(checks.k_steps, wrong)
    assert "clipped before each update" in checks.k_steps(critic("", "dlwD", "gmG")).message
