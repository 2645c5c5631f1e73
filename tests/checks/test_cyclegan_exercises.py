"""The checks of notebook 05; what they take for true, autograd and the reference's code find."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import judged, rejected
from torch import Tensor

from gantutor import checks
from gantutor.checks.cyclegan_exercises import REACH_MISTAKES, REACHES, REFERENCE_LOG
from gantutor.gan import frozen
from gantutor.image_pool import ImagePool
from gantutor.models import patchgan, resnet

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
    ],
)
def test_a_wrong_reading_of_the_log_gets_its_message(changes: dict[str, Any], message: str) -> None:
    rejected(checks.reference_log({**REFERENCE_LOG, **changes}), message)


def test_half_an_answer_is_not_yet() -> None:
    assert checks.reference_log({"G_A": "adversarial_B"}) == checks.NOT_YET
    assert checks.reaches({**REACHES, "D_B frozen": ...}) == checks.NOT_YET


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


def spoiled(fault: str) -> Callable[..., Any]:
    """The exchange with one fault."""

    def answer(images: list[Tensor], fake: Tensor, size: int, swap: bool, place: int) -> Any:
        room, full_swap = len(images) < size, len(images) == size and swap
        if fault == "stores graphs" and room:
            images.append(fake)
            return fake.detach()
        if fault == "swaps graphs" and full_swap:
            old, images[place] = images[place], fake
            return old
        if fault == "never full" and not room:
            images.append(fake.detach())
            return images[place] if swap else fake.detach()
        if fault == "overwrites first" and full_swap:
            images[place] = fake.detach()
            return images[place]
        if fault == "loses" and full_swap:
            return images[place]
        if fault == "to the end" and full_swap:
            images.append(fake.detach())
            return images.pop(place)
        if fault == "stores anyway" and not room and not swap:
            images[place] = fake.detach()
            return fake.detach()
        given = exchange(
            images,
            fake.detach_() if fault == "destroys the graph" else fake,
            2 if fault == "ignores size" else size,
            (swap or fault == "always swaps") and fault != "always new",
            {"elsewhere": 0, "the last place": -1}.get(fault, place),
        )
        graph = fault == "returns graphs" or (fault == "returns graphs at last" and not room and not swap)
        return fake if graph else images[0] if fault == "coin while filling" and room and swap else given

    return answer


def test_a_wrong_pool_gets_its_message() -> None:
    assert checks.pool_exchange(spoiled("")).passed
    wrong = {
        "ignores size": "There is room for 3: each fake is stored. After 3 fakes yours holds 2",
        "the last place": "returned the one from place 1",
        "destroys the graph": "The fake that came has lost its graph",
        "stores graphs": "A stored fake keeps its graph",
        "returns graphs": "What is returned still has a graph: D's backward",
        "swaps graphs": "a swap has to, too",
        "returns graphs at last": "still has a graph when the coin says no",
        "never full": "A full pool of 2 holds 3",
        "overwrites first": "stored the new fake and returned it, too",
        "always new": "returned the new one all the same",
        "loses": "the new one was not stored in its place",
        "elsewhere": "returned the one from place 0",
        "to the end": "Yours moved others",
        "always swaps": "The coin said no, so the new fake itself",
        "stores anyway": "the pool stays as it is",
        "coin while filling": "whatever the coin says",
    }
    shapes = [(lambda images, fake, *_: images, "got list"), (lambda images, fake, *_: fake[0], "got (2, 2)")]
    judged(checks.pool_exchange, [*((spoiled(fault), text) for fault, text in wrong.items()), *shapes])


def test_a_right_pool_passes_and_is_what_the_package_does() -> None:
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
    for other in ("G_A", 5, [["G_BA"]]):
        rejected(checks.reaches({**REACHES, "fake_B detached": other}), "fake_B detached: .* is no set of the names")


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
