"""The checks of notebook 05, as those of 01 in test_checks.py; what `reaches` takes for true, autograd finds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import both_verdicts
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.cyclegan_exercises import OUR_TERMS, REACH_MISTAKES, REACHES, REFERENCE_LOG
from gantutor.cyclegan import REFERENCE_NAMES
from gantutor.image_pool import ImagePool
from gantutor.models import patchgan, resnet
from gantutor.translation import frozen

NOTEBOOK = "05_cyclegan.ipynb"
CELLS = {
    "ex-reaches": checks.reaches,
    "ex-log": checks.reference_log,
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


def test_a_function_without_an_answer_and_an_error() -> None:
    assert checks.pool_exchange(lambda *_: ...) == checks.NOT_YET
    verdict = checks.pool_exchange(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert "ZeroDivisionError" in verdict.message


def rejected(verdict: checks.CheckResult, message: str) -> None:
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


# The log --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"D_A": "d_loss_A"}, "D_A: netD_A is the partner of netG_A"),
        ({"G_A": "adversarial_A"}, "G_A: .*To which domain"),
        ({"cycle_A": "cycle_B"}, "cycle_A: There rec_A = "),
        ({"idt_A": "identity_A"}, r"idt_A: There idt_A = netG_A\(real_B\)"),
        ({"idt_A": "cycle_B"}, "idt_A: cycle_B is another kind of term. There idt_A"),
        ({"D_A": "D_B"}, "'D_B' is none of d_loss_A, d_loss_B"),
        ({"D_A": 3}, "3 is none of d_loss_A"),
        ({"D_A": ["d_loss_B"]}, "is none of d_loss_A"),
    ],
)
def test_a_wrong_reading_of_the_log_gets_its_message(changes: dict[str, Any], message: str) -> None:
    rejected(checks.reference_log({**REFERENCE_LOG, **changes}), message)


def test_the_log_of_the_reference_is_as_its_code_has_it() -> None:
    """Its lines from models/cycle_gan_model.py, with our networks under its names."""
    torch.manual_seed(0)
    ours = {name: resnet(1, width=4, downsamplings=1) for name in ("G_AB", "G_BA")}
    ours |= {name: patchgan(3, 1, 4, "instance") for name in ("D_A", "D_B")}
    G_AB, G_BA, D_A, D_B = ours.values()
    theirs = {name: ours[mine] for name, mine in REFERENCE_NAMES.items()}
    A, B = 2 * torch.rand(2, 1, 3, 16, 16) - 1
    l1, real, fake = nn.L1Loss(), lambda x: (x - 1).square().mean(), lambda x: x.square().mean()
    log = {
        "D_A": real(theirs["D_A"](B)) + fake(theirs["D_A"](theirs["G_A"](A))),
        "G_A": real(theirs["D_A"](theirs["G_A"](A))),
        "cycle_A": l1(theirs["G_B"](theirs["G_A"](A)), A),
        "idt_A": l1(theirs["G_A"](B), B),
    }
    terms = {
        "d_loss_A": real(D_A(A)) + fake(D_A(G_BA(B))),
        "d_loss_B": real(D_B(B)) + fake(D_B(G_AB(A))),
        "adversarial_A": real(D_A(G_BA(B))),
        "adversarial_B": real(D_B(G_AB(A))),
        "cycle_A": l1(G_BA(G_AB(A)), A),
        "cycle_B": l1(G_AB(G_BA(B)), B),
        "identity_A": l1(G_BA(A), A),
        "identity_B": l1(G_AB(B), B),
    }
    assert set(terms) == set(OUR_TERMS)
    for name, value in log.items():
        assert [term for term in terms if torch.isclose(terms[term], value)] == [REFERENCE_LOG[name]]


def test_half_an_answer_is_not_yet() -> None:
    assert checks.reference_log({"G_A": "adversarial_B"}) == checks.NOT_YET
    assert checks.reaches({**REACHES, "D_B frozen": ...}) == checks.NOT_YET


@pytest.mark.parametrize("check", [checks.reference_log, checks.reaches])
@pytest.mark.parametrize("answer", [[1, 2], "D_A", 3, {1, 2}])
def test_what_is_no_dict_is_wrong_and_raises_nothing(check: Callable[..., Any], answer: Any) -> None:
    rejected(check(answer), "The answer should be a dict")


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


def to_the_end(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    if len(images) == size and swap:
        images.append(fake.detach())
        return images.pop(place)
    return exchange(images, fake, size, swap, place)


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


def ignores_size(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    return exchange(images, fake, 2, swap, place)


def always_the_last_place(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    return exchange(images, fake, size, swap, -1)


def destroys_the_graph(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    return exchange(images, fake.detach_(), size, swap, place)


def stores_numbers(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Tensor:
    images.append(fake.mean().item())
    return fake.detach()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ignores_size, "A pool with room for 3 should hold 3 after fake number 3; yours holds 2"),
        (always_the_last_place, r"A swap happens at `place`, here 0.*returned the one from place 1"),
        (destroys_the_graph, r"The fake that came has lost its graph.*detach_\(\) changes the old one"),
        (stores_numbers, "The list should hold images"),
        (stores_graphs, "A stored fake keeps its graph"),
        (returns_graphs, "What is returned still has a graph: D's backward"),
        (swaps_graphs, "a swap has to, too"),
        (returns_graphs_at_last, "still has a graph when the coin says no"),
        (never_full, "A full pool of 2 holds 3"),
        (overwrites_first, "stored the new fake and returned it, too"),
        (always_new, "returned the new one all the same"),
        (loses, "the new one was not stored in its place"),
        (elsewhere, "A swap happens at `place`"),
        (to_the_end, "here 0: .* Yours moved others"),
        (always_swaps, "The coin said no, so the new fake itself"),
        (stores_anyway, "the pool stays as it is"),
        (coin_while_filling, "whatever the coin says"),
        (lambda images, fake, *_: fake.detach(), "yours holds 0"),
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
    rejected(checks.reaches({**REACHES, "D_B frozen": {"G_AB", "D_A"}}), "D_B frozen: There is no way to D_A")
    rejected(checks.reaches({**REACHES, "D_B judges rec_B": {"D_B"}}), "D_B judges rec_B: G_AB is missing")
    rejected(checks.reaches({**REACHES, "fake_B detached": "G_A"}), "G_A is none of G_AB")
    rejected(checks.reaches({**REACHES, "fake_B detached": 5}), "Write a set of names, and not 5")
    rejected(checks.reaches({**REACHES, "fake_B detached": [["G_BA"]]}), "is none of G_AB")


def test_a_single_name_or_a_list_passes() -> None:
    answer = {term: sorted(networks) for term, networks in REACHES.items()}
    assert checks.reaches({**answer, "fake_B detached": "G_BA"}).passed


def test_the_true_reach_is_what_autograd_finds() -> None:
    torch.manual_seed(0)
    networks = {name: resnet(1, width=4, downsamplings=1) for name in ("G_AB", "G_BA")}
    networks |= {name: patchgan(3, 1, 4, "instance") for name in ("D_A", "D_B")}
    G_AB, G_BA, D_B = networks["G_AB"], networks["G_BA"], networks["D_B"]
    real_A, real_B = 2 * torch.rand(2, 1, 3, 16, 16) - 1
    fake_B = G_AB(real_A)
    with frozen(D_B):
        through_frozen = (D_B(fake_B) - 1).square().mean()
    terms = {
        "D_B frozen": through_frozen,
        "fake_B detached": (G_BA(fake_B.detach()) - real_A).abs().mean(),
        "fake_B not detached": (D_B(real_B) - 1).square().mean() + D_B(fake_B).square().mean(),
        "D_B judges rec_B": (D_B(G_AB(G_BA(real_B))) - 1).square().mean(),
    }
    assert terms.keys() == REACHES.keys()
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
