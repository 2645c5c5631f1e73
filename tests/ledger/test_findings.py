"""Findings: none on a correct step, the right one on each pitfall; their words; and how statements are rewritten."""

import pytest
import torch
from helpers import NETWORKS, build, draw
from image_helpers import build_cyclegan, build_pix2pix, pictures
from ledger_helpers import finds, kinds, line_of, only, traced

from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.gan import BATCHINGS
from gantutor.ledger import trace
from gantutor.ledger.findings import assigned, made_again, out_of_place, with_call, with_keyword, without_cut
from gantutor.losses import LOSSES, TRANSLATION_LOSSES
from gantutor.pitfalls import PITFALLS, SECOND_TIME
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS
from gantutor.steps import STEPS, d_only, g_only
from gantutor.traits import why_not

ALL = {**STEPS, "d_only": d_only, "g_only": g_only}


def takes(step, loss, networks="points", batching="split"):
    joint = batching in ("joint", "joint_in_D_step")
    return why_not(step, LOSSES[loss], joint=joint, batchnorm_D=networks.endswith("batch")) is None


# Correct steps


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("step", ALL)
def test_nothing_is_found_in_the_lessons_steps_before_and_after_training(step, networks):
    """Each step on all networks; three steps with every loss and batching that they take."""
    settings = [("minimax", batching) for batching in BATCHINGS] + [(loss, "split") for loss in LOSSES]
    whole = networks == "points" and step in ("d_first_retain_graph", "simultaneous", "one_stage")
    for loss, batching in settings if whole else settings[:1]:
        if takes(ALL[step], loss, networks, batching):
            gan, ((real, z),) = build(networks, loss=loss, batching=batching), draw(networks)
            for _ in range(1 + (loss == "minimax")):
                record = trace(ALL[step], gan, real, z)
                assert (record.error, kinds(record)) == (None, []), (loss, batching, str(record))
                ALL[step](gan, real, z)


A, B = pictures(4, 2, seed=1), pictures(4, 3, seed=2)


@pytest.mark.parametrize("step", PIX2PIX_STEPS)
def test_nothing_is_found_in_pix2pix(step):
    settings = [("minimax", each) for each in OBJECTIVES] + [(loss, "L1 + cGAN") for loss in TRANSLATION_LOSSES]
    for loss, objective in settings if step == "simultaneous" else settings[:2]:
        if why_not(PIX2PIX_STEPS[step], LOSSES[loss], patches=True) is None:
            model = build_pix2pix(loss=loss, **OBJECTIVES[objective])
            PIX2PIX_STEPS[step](model, A, B)
            assert kinds(trace(PIX2PIX_STEPS[step], model, A, B)) == [], (loss, objective)


@pytest.mark.parametrize("step", CYCLEGAN_STEPS)
def test_nothing_is_found_in_cyclegan(step):
    model, real_A, real_B = build_cyclegan(), pictures(2, 2, seed=1), pictures(3, 2, seed=2)
    for _ in range(2):
        assert kinds(trace(CYCLEGAN_STEPS[step], model, real_A, real_B)) == []
        CYCLEGAN_STEPS[step](model, real_A, real_B)


# Pitfalls

SCORE_AGAIN = "logits_real, logits_fake = gan.logits(real, fake)  # above line"
DETACH = "logits_real, logits_fake = gan.logits(real, fake.detach())"
RIGHT = {  # the kind, the line it names, what the sentence names, and the corrected line
    "d_first_same_logits": ("changed in place", "g_loss.backward()", "`D.", SCORE_AGAIN),
    "d_first_detached_logits": ("freed graph", "g_loss.backward()", "`logits_fake`", SCORE_AGAIN),
    "d_first_rescored": ("freed graph", "g_loss.backward()", "`fake`", DETACH),
    "g_first_no_detach": ("freed graph", "d_loss.backward()", "`fake`", DETACH),
    "g_first_retain_graph": ("changed in place", "d_loss.backward()", "`G.", DETACH),
    "d_first_early_zero_grad": ("another's gradient", "gan.opt_G.step()", "G", "gan.opt_G.zero_grad()  # above line"),
    "d_first_no_zero_grad_D": ("not cleared", "d_loss.backward()", "D", "gan.opt_D.zero_grad()  # above line"),
}


@pytest.mark.parametrize("name", PITFALLS)
@pytest.mark.parametrize("trained", [False, True])
def test_each_pitfall_gets_the_right_finding(name, trained):
    gan, ((real, z),) = build("points"), draw("points")
    if trained:
        STEPS["d_first_detach"](gan, real, z)
    record = trace(PITFALLS[name].step, gan, real, z)
    kind, text, named, fix = RIGHT[name]
    assert finds(record, kind, text, named).fix.startswith(fix)
    if PITFALLS[name].raises == SECOND_TIME:
        assert record.diagnosis.endswith("has gone through it before and freed what it had saved.")


def test_the_findings_come_first_in_the_trace_and_read_as_messages():
    record = traced(PITFALLS["d_first_rescored"].step)
    found = only(record, "freed graph")
    first, second = str(found).splitlines()
    assert first == f"Line {found.line}: {found.what} {found.why}"
    assert second == f"  Write: {found.fix}"
    assert found.what == "`g_loss.backward()` needs a graph that is used up."
    assert str(record).startswith(str(found))
    assert record._repr_html_().index("is used up") < record._repr_html_().index("<table")


# Steps that are right, and look like mistakes


def both_backwards(gan, real, z):
    logits_real, logits_fake = gan.D(real), gan.D(gan.G(z))
    d_loss, g_loss = gan.loss.d_loss(logits_real, logits_fake), gan.loss.g_loss(logits_fake)
    gan.opt_D.zero_grad()
    gan.opt_G.zero_grad()
    d_loss.backward(retain_graph=True)
    g_loss.backward()
    gan.opt_D.step()
    gan.opt_G.step()


def cleared_too_soon(gan, real, z):
    fake = gan.G(z)
    d_loss = gan.loss.d_loss(gan.D(real), gan.D(fake.detach()))
    d_loss.backward()
    gan.opt_D.step()
    gan.opt_D.zero_grad()
    g_loss = gan.loss.g_loss(gan.D(fake))
    g_loss.backward()
    gan.opt_G.step()
    gan.opt_G.zero_grad()


def test_both_backwards_pull_against_each_other_and_the_others_loss_is_left_for_the_next_step():
    assert "inputs=list(" in only(traced(both_backwards), "another's gradient").fix
    record = traced(cleared_too_soon)
    found = finds(record, "another's gradient", "g_loss.backward()", "The next step will move D on `g_loss`, too.")
    assert found.fix == f"gan.opt_D.zero_grad()  # above line {line_of(record, 'd_loss.backward()')}"


class Encoded:
    """An autoencoder with an optimizer for each part: two losses, and no adversary."""

    def __init__(self):
        torch.manual_seed(0)
        self.E, self.head_a, self.head_b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)
        self.opt_E, self.opt_a, self.opt_b = (
            torch.optim.Adam(net.parameters(), 1e-3) for net in (self.E, self.head_a, self.head_b)
        )


def clear(*optimizers):
    for optimizer in optimizers:
        optimizer.zero_grad()


def step(*optimizers):
    for optimizer in optimizers:
        optimizer.step()


def two_heads(m, x):
    code = m.E(x).tanh()
    loss_a, loss_b = (m.head_a(code) - x).square().mean(), m.head_b(code).square().mean()
    clear(m.opt_E, m.opt_a, m.opt_b)
    loss_a.backward(retain_graph=True)
    loss_b.backward()
    step(m.opt_E, m.opt_a, m.opt_b)


def heads_in_turns(m, x):
    clear(m.opt_E, m.opt_a, m.opt_b)
    code = m.E(x).tanh()
    loss_a = (m.head_a(code) - x).square().mean()
    loss_a.backward(retain_graph=True)
    m.opt_a.step()
    loss_b = m.head_b(code).square().mean()
    loss_b.backward()
    step(m.opt_b, m.opt_E)


def two_terms_apart(m, x):
    error = m.head_a(m.E(x).tanh()) - x
    clear(m.opt_E, m.opt_a)
    error.square().mean().backward(retain_graph=True)
    error.abs().mean().backward()
    step(m.opt_E, m.opt_a)


def with_a_term_of_its_own(m, x):
    code = m.E(x).tanh()
    loss_a, small = (m.head_a(code) - x).square().mean(), code.square().mean()
    clear(m.opt_E, m.opt_a)
    loss_a.backward(retain_graph=True)
    small.backward()
    step(m.opt_E, m.opt_a)


def cleared_by_the_loop(m, x):
    loss = (m.head_a(m.E(x)) - x).square().mean()
    loss.backward()
    step(m.opt_E, m.opt_a)


def clears_at_the_end(m, x):
    cleared_by_the_loop(m, x)
    clear(m.opt_E, m.opt_a)


def balanced(m, x):  # as VQGAN weighs its losses: a gradient at a weight, as a number
    code = m.E(x)
    loss_a, loss_b = (m.head_a(code) - x).square().mean(), m.head_b(code).square().mean()
    (at_a,) = torch.autograd.grad(loss_a, m.E.weight, retain_graph=True)
    (at_b,) = torch.autograd.grad(loss_b, m.E.weight, retain_graph=True)
    weight = at_a.norm() / (at_b.norm() + 1e-4)
    loss = loss_a + weight.detach() * loss_b
    clear(m.opt_E)
    loss.backward()
    step(m.opt_E)


def frozen_teacher(m, x):  # a network in evaluation mode that nobody trains
    m.head_b.eval().requires_grad_(False)
    loss = m.head_b(m.head_a(m.E(x))).square().mean()
    clear(m.opt_E)
    loss.backward()
    step(m.opt_E)


def masked(m, x):  # minus infinity as a mask is meant
    scores = m.E(x).masked_fill(torch.eye(3)[: len(x)].bool(), float("-inf"))
    loss = -scores.softmax(1).square().mean()
    clear(m.opt_E)
    loss.backward()
    step(m.opt_E)


def straight_through(m, x):
    code = m.E(x)
    hard = code + (code.round() - code).detach()
    loss = (m.head_a(hard) - x).square().mean()
    clear(m.opt_E, m.opt_a)
    loss.backward()
    step(m.opt_E, m.opt_a)


RIGHT_STEPS = [
    *(two_heads, heads_in_turns, two_terms_apart, with_a_term_of_its_own, clears_at_the_end),
    *(balanced, frozen_teacher, masked, straight_through),
]


@pytest.mark.parametrize("step", RIGHT_STEPS)
def test_a_right_step_that_looks_like_a_mistake(step):
    m, x = Encoded(), torch.randn(3, 3)
    for _ in range(2):
        assert kinds(trace(step, m, x)) == []
        step(m, x)


def test_a_step_whose_caller_clears_is_right_once_it_is_seen_that_something_does():
    m, x = Encoded(), torch.randn(3, 3)
    for _ in range(2):  # in the first step nothing shows that anybody does; in the second, nobody did
        assert "not cleared" in kinds(trace(cleared_by_the_loop, m, x))
        cleared_by_the_loop(m, x)
    clear(m.opt_E, m.opt_a)
    assert kinds(trace(cleared_by_the_loop, m, x)) == []


def cleared_once(m, x):
    m.opt_E.zero_grad()
    for _ in range(2):
        loss = m.E(x).square().mean()
        loss.backward()
        m.opt_E.step()


def cleared_too_early(m, x):
    loss = m.E(x).square().mean()
    loss.backward()
    m.opt_E.zero_grad()
    m.opt_E.step()


def test_it_matters_when_a_gradient_is_cleared():
    only(trace(cleared_once, Encoded(), torch.randn(3, 3)), "not cleared")
    only(trace(cleared_too_early, Encoded(), torch.randn(3, 3)), "unused gradient")


# Statements rewritten


def test_statements_are_rewritten():
    assert with_call("a, b = D(x), D(self.fake)", "self.fake", "detach()") == "a, b = (D(x), D(self.fake.detach()))"
    assert with_call("losses.append(errD)", "errD", "item()") == "losses.append(errD.item())"
    assert with_call("fake = G(z)", "fake", "detach()") == ""  # it is not read
    assert with_call("for p in fake:", "fake", "detach()") == ""  # half a statement
    assert without_cut("fake = torch.from_numpy(G(z).detach().numpy())") == "fake = G(z)"
    assert without_cut("fake = Variable(G(z).data)") == "fake = G(z)"
    assert made_again("p0, p1 = D(x), D(fake)", "p1") == "p1 = D(fake)"
    assert made_again("p0, p1 = both(x, fake)", "p1") == "p0, p1 = both(x, fake)"
    assert out_of_place("label.fill_(0.0)") == "label = torch.full_like(label, 0.0)"
    assert out_of_place("fake += noise") == "fake = fake + noise"
    assert out_of_place("fake[:, :3] = x") == "fake = fake.clone(); fake[:, :3] = x"
    assert out_of_place("flat.clamp_(0, 1)") == "flat = flat.clamp(0, 1)"
    assert with_keyword("loss.backward()", "backward", "retain_graph=True") == "loss.backward(retain_graph=True)"
    assert with_keyword("(g,) = grad(s, x, create_graph=False)", "grad", "create_graph=True").endswith(
        "grad(s, x, create_graph=True)"
    )
    assert assigned("a, self.b = c[0] = f(x)") == ["a", "self.b", "c[0]"]
