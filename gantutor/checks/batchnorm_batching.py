"""Checks of notebook 03."""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.checks.detach_or_retain_graph import recorded
from gantutor.checks.result import Function, ask, compare_on, exercise, is_same, misconception, untouched
from gantutor.draws import seeded
from gantutor.gan import BATCHINGS, GAN
from gantutor.steps import d_first_detach, simultaneous

STILL = "D is still trained on real and fake in one batch, and asked about fakes alone. One of the two must change."
CROSSED = "This is the reverse mismatch: G's step is joint, D's is split. A DCGAN learns with it, the MLP does not."
EVALUATED = "G's step asks D in evaluation mode. D was not trained like that, either. Change the batches, not the mode."


def small_image_gan(batching: str = "split") -> GAN:
    """A float64 GAN for images (B, 1, 4, 4) and z (B, 3), with BatchNorm in D; always the same one."""
    with seeded(0):
        G = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
        D = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(16, 1),
        )  # fmt: skip
    return GAN.with_adam(G.double(), D.double(), batching=batching)


def small_batch() -> tuple[Tensor, Tensor]:
    """8 reals, brighter than G's fakes, and 8 z."""
    generator = torch.Generator().manual_seed(1)
    real = torch.rand(8, 1, 4, 4, generator=generator, dtype=torch.float64)
    return real, torch.randn(8, 3, generator=generator, dtype=torch.float64)


def applied(step: Function, batching: str = "split") -> dict[str, Tensor]:
    """The gradients that a step hands to each player's optimizer, flat, by player; a step need not return anything."""
    gan = small_image_gan(batching)
    updates = recorded(gan)
    step(gan, *small_batch())
    return {update.player: update.gradient for update in updates}


@exercise("D is asked as it was trained. Its BatchNorm uses the same kind of batch in both steps.", as_printed=STILL)
def one_view(answer: Function) -> str:
    """`answer(gan, real, z)` is a training step in which G asks D with batches of the kind that D is trained with."""
    found = applied(answer)
    for player in "DG":
        if player not in found:
            return f"{player} was not updated. Each player needs its optimizer's step()."
    for batching, mixed, message in (("split", "joint_in_G_step", CROSSED), ("joint", "joint_in_D_step", STILL)):
        right = applied(d_first_detach, batching)
        if not is_same(found["D"], right["D"]):
            continue
        if any(is_same(found["G"], G) for G in (right["G"], applied(simultaneous, batching)["G"])):
            return ""
        otherwise = "D's gradient is right, but G's is not. G's loss takes the fakes' logits, after D's step."
        known = {message: (d_first_detach, mixed), EVALUATED: (in_evaluation_mode, batching)}
        return misconception(found["G"], {text: applied(*of)["G"] for text, of in known.items()}) or otherwise
    return "D's gradient is neither that of split nor that of joint batches. Change only how D is called."


def in_evaluation_mode(gan: GAN, real: Tensor, z: Tensor) -> None:
    """D's step as `gan.batching` says; in G's step D uses its running statistics."""
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(*gan.logits(real, fake.detach())).backward()
    gan.opt_D.step()
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D.eval()(fake)).backward()
    gan.opt_G.step()


@exercise("Each image has one score, whatever its company, and D goes on as it was.")
def safe_score(answer: Function) -> str:
    """`answer(D, images)` scores each image by itself, with D's running statistics, (N, 1), and leaves D as it was.

    As it was: its weights and statistics, its mode, which parameters ask for a gradient, and what gradients they hold.
    """
    images, _ = small_batch()
    for is_training in (True, False):
        D = small_image_gan().D
        for _ in range(20):  # running statistics that are those of some data
            D(images + 0.1)
        trusted = copy.deepcopy(D).eval()(images)
        changed = untouched("D", D.train(is_training))
        scores = torch.as_tensor(ask(answer, D, images.clone()))
        if scores.shape != trusted.shape:
            return f"Expected one logit for each image, {tuple(trusted.shape)}; yours is {tuple(scores.shape)}."
        if fault := changed():
            return "The scores are right, but " * is_same(scores, trusted) + fault
        apart = (images[:1].clone(), images[1:3].clone())
        alone = torch.cat([torch.as_tensor(answer(D, batch)) for batch in apart])
        if not is_same(alone, scores[:3]):
            return "The first image's score depends on its company. BatchNorm still normalises with this batch."
        if not is_same(scores, trusted):
            return "The scores do not depend on the batch, but they are not D's scores with its running statistics."
    return ""


def true_dependence(norm: str, batching: str, player: str) -> Tensor:
    """1 where a logit (row) depends on an image (column: real, real, fake, fake); for G the rows are the fakes'."""
    joint = batching in (("joint", "joint_in_D_step") if player == "D" else ("joint", "joint_in_G_step"))
    matrix = torch.eye(4) if norm != "batch" else torch.ones(4, 4) if joint else KINDS
    return matrix if player == "D" else matrix[2:]


KINDS = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
ASKED = tuple(itertools.product(("batch", "group"), BATCHINGS, "DG"))


@exercise("With BatchNorm a batch is one object; without it, a list of images.")
def dependence(answer: Function) -> str:
    """`answer(norm, batching, player)` says which logit depends on which image, as `true_dependence` does."""
    return compare_on(ASKED, answer, true_dependence, {}, wrong_matrix)


def wrong_matrix(asked: tuple[str, str, str], found: Any, truth: Tensor) -> str:
    """What a matrix that is not the truth has misunderstood."""
    (norm, batching, player), value = asked, torch.as_tensor(found).float()
    place = f'For norm "{norm}", batching "{batching}", player "{player}": '
    if value.shape != truth.shape:
        return f"{place}expected a matrix {tuple(truth.shape)}, yours has shape {tuple(value.shape)}."
    row, column = (value != truth).nonzero()[0].tolist()
    place += f"row {row}, column {column} must be {truth[row, column]:.0f}. "
    if torch.equal(value, 1 - truth):
        return f'{place}These are the zeros and ones exchanged: 1 is for "depends".'
    if norm != "batch":
        return f"{place}This norm looks at one image at a time."
    if torch.equal(value, true_dependence("group", batching, player)):
        return f"{place}BatchNorm uses the mean of the batch, and each image of the batch is in it."
    if any(torch.equal(value, true_dependence(norm, other, player)) for other in BATCHINGS):
        kind = "joint" if truth.all() else "split"
        return f"{place}{player}'s step is {kind} here. Look at the player whose step it is."
    return f"{place}Ask which images are in the same call of D as the image of this row."


SHARES_ASKED = (([1, 0, 0], 0.1), ([0.5, 0.5], 0.1), ([0.5, 0], 0.1), ([0, 1, 0, 1, 1], 0.1), ([1, 0], 0.5))


def share(calls: list[float], momentum: float) -> float:
    weights = [momentum * (1 - momentum) ** age for age in reversed(range(len(calls)))]
    return sum(weight * call for weight, call in zip(weights, calls, strict=True)) / sum(weights)


SHARE_MISTAKES: dict[str, Function] = {
    "All calls weigh the same in your answer. The newest batch has more weight than the ones before it.": (
        lambda calls, momentum: sum(calls) / len(calls)
    ),
    "Your weights are in the wrong order: the last call is the newest and weighs most.": (
        lambda calls, momentum: share(calls[::-1], momentum)
    ),
    "You counted one step only. The steps before it weigh, too, and all the weights together are 1.": (
        lambda calls, momentum: share(calls, momentum) * (1 - (1 - momentum) ** len(calls))
    ),
    "You took the last call alone. The ones before it still weigh.": lambda calls, momentum: calls[-1],
    "Each call keeps 1 − momentum of the old mean. You exchanged momentum and 1 − momentum.": (
        lambda calls, momentum: share(calls, 1 - momentum)
    ),
}


@exercise("The newest call weighs most, and the weights of all steps together are 1.")
def share_of_reals(answer: Function) -> str:
    """`answer(calls, momentum)` is the share of reals in a running mean that a step's calls move, in their order."""

    def place(asked: tuple[list[float], float], found: float, _: float) -> str:
        rule = "Write down the weight of each call, newest first, and add up all steps."
        return f"For calls {asked[0]} and momentum {asked[1]} the share is not {found:.3f}. {rule}"

    def number(*asked: Any) -> float:
        return float(ask(answer, *asked))

    return compare_on(SHARES_ASKED, number, share, SHARE_MISTAKES, place, atol=1e-3)
