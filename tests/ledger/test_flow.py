"""Where a tensor comes from: the networks and the named tensors before it, checked against what autograd reaches."""

import pytest
import torch
from helpers import NETWORKS, build, draw
from ledger_helpers import at, traced
from torch import Tensor

from gantutor.gan import GAN
from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, Line, Link, trace
from gantutor.pitfalls import PITFALLS
from gantutor.steps import STEPS, Step

ALL: dict[str, Step] = {**STEPS, **{name: pitfall.step for name, pitfall in PITFALLS.items()}}


def behind(name: str, line: Line) -> set[str]:
    """The networks through which a backward from a tensor goes, by the links alone."""
    link = line.tensors[name].link
    return set() if link is None else set(link.through).union(*(behind(source, line) for source in link.made_from))


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("step", ALL)
def test_links_lead_to_the_networks_that_autograd_reaches(step: str, networks: str) -> None:
    loss = "minimax" if step == "one_stage" else "non-saturating"
    record = traced(ALL[step], networks, loss=loss)
    seen = 0
    for line in record.lines:
        for name, state in line.tensors.items():
            if state.state != NO_GRAPH:
                assert behind(name, line) == set(state.reaches), (line.number, name)
                seen += 1
    assert seen > 10


def test_detach_cuts_the_link_and_g_loss_keeps_it() -> None:
    tensors = at(traced(STEPS["d_first_detach"]), "g_loss =").tensors
    assert tensors["real"].link is tensors["z"].link is None
    assert tensors["fake"].link == Link(("G",), (), ("z",), ALIVE)
    assert tensors["logits_real"].link == Link(("D",), (), ("real",), FREED)
    assert tensors["logits_fake"].link == Link(("D",), (), ("fake",), FREED)
    assert tensors["d_loss"].link == Link((), ("logits_real", "logits_fake"), (), FREED)
    assert tensors["g_loss"].link == Link(("D",), ("fake",), (), ALIVE)


def test_a_leaf_made_by_detach_and_a_value_made_under_no_grad_have_their_sources() -> None:
    tensors = traced(STEPS["one_stage"]).lines[-1].tensors
    assert tensors["received"].link == Link((), (), ("fake",), NO_GRAPH)
    assert tensors["logits_fake"].link == Link(("D",), ("received",), (), FREED)
    tensors = at(traced(STEPS["d_first_regenerate"]), "gan.opt_D.zero_grad").tensors
    assert tensors["fake"].link == Link(("G",), (), ("z",), NO_GRAPH)


def test_a_part_of_a_graph_has_a_state_of_its_own() -> None:
    tensors = at(traced(PITFALLS["d_first_same_logits"].step), "g_loss =").tensors
    states = {name: state.link.state for name, state in tensors.items() if state.link}
    wanted = {"logits_real": STALE, "logits_fake": STALE, "d_loss": ALIVE, "g_loss": ALIVE, "fake": ALIVE}
    assert states == wanted


def test_in_a_joint_batch_both_logits_come_from_the_fake() -> None:
    tensors = at(traced(STEPS["d_first_retain_graph"], "dcgan-batch", batching="joint"), "d_loss =").tensors
    for name in ("logits_real", "logits_fake"):
        link = tensors[name].link
        assert link is not None
        assert (link.through, link.made_from) == (("D",), ("fake",))


def a_frozen_D(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    gan.D.requires_grad_(False)
    fake = gan.G(z)
    g_loss = gan.D(fake).mean()
    (g_loss + fake.mean()).backward()
    return {"g_loss": g_loss}


def test_a_frozen_network_is_still_on_the_way() -> None:
    record = traced(a_frozen_D)
    state = at(record, "g_loss =").tensors["g_loss"]
    assert state.link == Link(("D",), ("fake",), (), ALIVE)
    assert state.reaches == ("G",)
    assert at(record, "(g_loss").backwards == ()  # the sum has no name


def test_a_line_names_what_it_called_backward_on() -> None:
    called = {
        line.text: line.backwards for line in traced(STEPS["simultaneous"], loss="wgan-gp").lines if line.backwards
    }
    assert list(called.values()) == [("d_loss",), ("g_loss",)]  # and not what the penalty differentiates
    assert traced(PITFALLS["d_first_rescored"].step).lines[-1].backwards == ("g_loss",)  # the one that raised


def from_a_passing_value(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        fake = gan.G(z + 1)
    same_size = [torch.zeros_like(z) for _ in range(8)]
    D = torch.ones(3, dtype=z.dtype, requires_grad=True)
    scaled = D * D
    empty, other = torch.empty(0), torch.empty(0)
    return {"fake": fake, "scaled": scaled, "empty": empty, "other": other, "zeros": same_size[0]}


def test_no_source_is_made_up() -> None:
    tensors = trace(from_a_passing_value, build("points"), *draw("points")[0]).lines[-1].tensors
    assert tensors["fake"].link == Link(("G",), (), (), NO_GRAPH)  # z + 1 has no name, and its memory no new owner
    assert tensors["scaled"].link == Link((), ("D",), (), ALIVE)  # a tensor of that name, and not the network
    assert tensors["empty"].link is tensors["other"].link is None
