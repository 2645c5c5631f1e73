"""The checks of notebook 05, as those of 01 in test_checks.py; what `reaches` takes for true, autograd finds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import both_verdicts
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.cyclegan_exercises import CYCLE_MISTAKES, REACH_MISTAKES, REACHES, true_cycle_loss
from gantutor.cyclegan import REFERENCE_NAMES
from gantutor.image_pool import ImagePool
from gantutor.models import patchgan, resnet

NOTEBOOK = "05_cyclegan.ipynb"
CELLS = {
    "ex-reaches": checks.reaches,
    "ex-cycle": checks.cycle_loss,
    "ex-names": checks.reference_names,
    "ex-pool": checks.pool_exchange,
}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_solution_passes_and_the_learners_cell_does_not(cell: str) -> None:
    solution, verdict = both_verdicts(NOTEBOOK, cell, CELLS)
    assert solution.passed
    assert verdict == checks.NOT_YET


@pytest.mark.parametrize("check", CELLS.values())
def test_no_answer(check: Callable[..., Any]) -> None:
    for empty in (..., None):
        assert check(empty) == checks.NOT_YET


@pytest.mark.parametrize("check", [checks.cycle_loss, checks.pool_exchange])
def test_a_function_without_an_answer_and_an_error(check: Callable[..., Any]) -> None:
    assert check(lambda *_: ...) == checks.NOT_YET
    verdict = check(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert "ZeroDivisionError" in verdict.message


def rejected(verdict: checks.CheckResult, message: str) -> None:
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


# The names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"D_A": "D_A", "D_B": "D_B"}, "D_A: the letter is not the domain that it judges.*partner of G_A"),
        ({"D_B": "D_B"}, "D_B: .*partner of G_B"),
        ({"G_A": "G_BA", "G_B": "G_AB"}, "G_A: the letter is the domain that it starts from"),
        ({"G_A": "D_B"}, "a D cannot be a G"),
        ({"D_A": "netD_B"}, "'netD_B' is none of G_AB, G_BA, D_A, D_B"),
    ],
)
def test_a_wrong_name_gets_its_message(changes: dict[str, str], message: str) -> None:
    rejected(checks.reference_names({**REFERENCE_NAMES, **changes}), message)


def test_half_an_answer_is_not_yet() -> None:
    assert checks.reference_names({"G_A": "G_AB"}) == checks.NOT_YET
    assert checks.reaches({**REACHES, "cycle_A": ...}) == checks.NOT_YET


# The cycle loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "wrong"), CYCLE_MISTAKES.items())
def test_each_known_wrong_cycle_gets_its_message(message: str, wrong: Callable[..., Tensor]) -> None:
    rejected(checks.cycle_loss(wrong), re.escape(message))


def test_a_right_cycle_in_other_words_passes() -> None:
    def other(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
        loss = nn.L1Loss()
        return loss(G_AB(G_BA(real_B)), real_B) + loss(G_BA(G_AB(real_A)), real_A)

    assert checks.cycle_loss(other).passed


def test_other_wrong_cycles() -> None:
    rejected(checks.cycle_loss(lambda *inputs: 10 * true_cycle_loss(*inputs)), "the value should be")
    rejected(checks.cycle_loss(lambda *inputs: true_cycle_loss(*inputs).item()), "yours is float")
    rejected(checks.cycle_loss(lambda *inputs: true_cycle_loss(*inputs).expand(2)), r"yours is shape \(2,\)")
    rejected(checks.cycle_loss(lambda *inputs: true_cycle_loss(*inputs).detach()), "with gradients in both")


# The pool -------------------------------------------------------------------------------------------------------------


def exchange(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    fake = fake.detach()
    if len(images) < size:
        images.append(fake.clone())
        return fake
    if not swap:
        return fake
    old = images[place].clone()
    images[place] = fake.clone()
    return old


def stores_graphs(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) < size:
        images.append(fake)
        return fake.detach()
    return exchange(images, fake, size, swap, place)


def returns_graphs(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    exchange(images, fake, size, swap, place)
    return fake


def swaps_graphs(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) < size or not swap:
        return exchange(images, fake, size, swap, place)
    old, images[place] = images[place], fake
    return old


def returns_graphs_at_last(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    full = len(images) == size
    given = exchange(images, fake, size, swap, place)
    return fake if full and not swap else given


def never_full(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    images.append(fake.detach())
    return images[place] if swap and len(images) > size else fake.detach()


def overwrites_first(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    fake = fake.detach()
    if len(images) < size:
        images.append(fake)
    elif swap:
        images[place] = fake
        return images[place]
    return fake


def always_new(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) < size:
        images.append(fake.detach())
    return fake.detach()


def loses(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) < size or not swap:
        return exchange(images, fake, size, swap, place)
    return images[place]


def elsewhere(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    return exchange(images, fake, size, swap, 0)


def always_swaps(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    return exchange(images, fake, size, True, place)


def stores_anyway(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) == size and not swap:
        images[place] = fake.detach()
        return fake.detach()
    return exchange(images, fake, size, swap, place)


def coin_while_filling(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) < size:
        images.append(fake.detach())
        return images[0] if swap else fake.detach()
    return exchange(images, fake, size, swap, place)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (stores_graphs, "a stored fake drags its graph along"),
        (returns_graphs, "what is returned still has a graph: D's backward"),
        (swaps_graphs, "a swap has to, too"),
        (returns_graphs_at_last, "still has a graph when the coin says no"),
        (never_full, "a full pool of 2 holds 3"),
        (overwrites_first, "stored the new fake and returned it, too"),
        (always_new, "returned the new one all the same"),
        (loses, "the new one was not stored in its place"),
        (elsewhere, "a swap happens at `place`"),
        (always_swaps, "the coin said no, so the new fake itself"),
        (stores_anyway, "the pool stays as it is"),
        (coin_while_filling, "whatever the coin says"),
        (lambda images, fake, *_: fake.detach(), "after 1 there are 0"),
        (lambda images, fake, *_: images, "got list"),
        (lambda images, fake, *_: fake[0], r"got shape \(2, 2\)"),
    ],
)
def test_a_wrong_pool_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    rejected(checks.pool_exchange(answer), message)


def test_a_right_pool_passes_and_is_what_the_package_does() -> None:
    assert checks.pool_exchange(exchange).passed
    pool, mine = ImagePool(3, seed=5), []
    chance = torch.Generator().manual_seed(5)
    for number in range(40):
        fake = torch.full((1, 1, 2, 2), float(number))
        swap = bool(torch.rand(1, generator=chance) < 0.5)
        place = int(torch.randint(3, (1,), generator=chance))
        assert torch.equal(pool.query(fake)[0], exchange(mine, fake[0], 3, swap, place))
    assert torch.equal(torch.stack(pool.images), torch.stack(mine))


# Whose gradient -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mistake", "message"), REACH_MISTAKES.items())
def test_each_known_wrong_reach_gets_its_message(mistake: tuple[str, frozenset[str]], message: str) -> None:
    term, given = mistake
    assert given != REACHES[term]
    rejected(checks.reaches({**REACHES, term: given}), f"{term}: {re.escape(message)}")


def test_other_wrong_reaches() -> None:
    rejected(checks.reaches({**REACHES, "d_loss_B": {"D_B", "D_A"}}), "d_loss_B: there is no way to D_A")
    rejected(checks.reaches({**REACHES, "adversarial_B": {"D_B"}}), "adversarial_B: G_AB is missing")
    rejected(checks.reaches({**REACHES, "identity_B": "G_A"}), "G_A is none of G_AB")


def test_a_single_name_or_a_list_passes() -> None:
    answer = {term: sorted(networks) for term, networks in REACHES.items()}
    assert checks.reaches({**answer, "identity_B": "G_AB"}).passed


def test_the_true_reach_is_what_autograd_finds() -> None:
    torch.manual_seed(0)
    networks = {name: resnet(1, width=4, downsamplings=1) for name in ("G_AB", "G_BA")}
    networks |= {name: patchgan(3, 1, 4, "instance") for name in ("D_A", "D_B")}
    G_AB, G_BA, D_B = networks["G_AB"], networks["G_BA"], networks["D_B"]
    real_A, real_B = 2 * torch.rand(2, 1, 3, 16, 16) - 1
    fake_B = G_AB(real_A)
    terms = {
        "adversarial_B": (D_B(fake_B) - 1).square().mean(),
        "cycle_A": (G_BA(fake_B) - real_A).abs().mean(),
        "identity_B": (G_AB(real_B) - real_B).abs().mean(),
        "d_loss_B": (D_B(real_B) - 1).square().mean() + D_B(ImagePool().query(fake_B)).square().mean(),
    }
    for term, loss in terms.items():
        for network in networks.values():
            network.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        filled = {
            name
            for name, network in networks.items()
            if any(p.grad is not None and p.grad.any() for p in network.parameters())
        }
        assert filled == REACHES[term], term
