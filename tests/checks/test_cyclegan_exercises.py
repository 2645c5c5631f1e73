"""The checks of notebook 05; what they take for true, autograd and the reference's code find."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import judged, rejected

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


EXCHANGE = """
def exchange(images, fake, size, swap, place):
    new = fake.detach()
    if len(images) < size:
        images.append(new.clone())
        return new
    if not swap:
        return new
    old, images[place] = images[place], new.clone()
    return old
"""
# What a learner has there instead, and the message.
WRONG_POOLS = [
    ("< size", "< 2", "There is room for 3: each fake is stored. After 3 fakes yours holds 2"),
    ("[place]", "[-1]", "returned the one from place 1"),
    ("[place]", "[0]", "returned the one from place 0"),
    ("fake.detach()", "fake.detach_()", "The fake that came has lost its graph"),
    ("append(new.clone())", "append(fake)", "A stored fake keeps its graph"),
    ("return new", "return fake", "What is returned still has a graph: D's backward"),
    ("images[place], new.clone()", "images[place], fake", "a swap has to, too"),
    ("not swap:\n        return new", "not swap:\n        return fake", "still has a graph when the coin says no"),
    ("old, images[place] =", "images.append(new); old, _ =", "A full pool of 2 holds 3"),
    ("images[place], new.clone()", "new, new.clone()", "stored the new fake and returned it, too"),
    ("if not swap:", "if True:", "returned the new one all the same"),
    ("old, images[place] =", "old, _ =", "the new one was not stored in its place"),
    ("old, images[place] =", "images.append(new); old = images.pop(place); _ =", "Yours moved others"),
    ("if not swap:", "if False:", "The coin said no, so the new fake itself"),
    ("if not swap:", "if not swap:\n        images[place] = new", "the pool stays as it is"),
    ("clone())\n        return new", "clone())\n        return images[0] if swap else new", "whatever the coin says"),
    ("new = fake.detach()", "return images", "got list"),
    ("new = fake.detach()", "return fake[0]", "got (2, 2)"),
]


def exchange_with(there: str, instead: str) -> Callable[..., Any]:
    assert there in EXCHANGE
    names: dict[str, Any] = {}
    exec(EXCHANGE.replace(there, instead), names)
    return names["exchange"]


def test_a_wrong_pool_gets_its_message() -> None:
    judged(checks.pool_exchange, [(exchange_with(*change), message) for *change, message in WRONG_POOLS])


def test_a_right_pool_passes_and_is_what_the_package_does() -> None:
    pool, mine, exchange = ImagePool(3, seed=5), [], exchange_with("", "")
    assert checks.pool_exchange(exchange).passed
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
