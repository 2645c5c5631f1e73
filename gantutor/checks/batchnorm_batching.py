"""Checks of notebook 03."""

import copy
import dataclasses

import torch
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, ask, judge
from gantutor.checks.watched import recorded
from gantutor.gan import BATCHINGS, GAN
from gantutor.steps import d_first_detach, simultaneous

STILL = "D is still trained on real and fake in one batch, and asked about fakes alone. One of the two must change."


CROSSED = (
    "now it is crossed: D is trained on separate batches, and G asks it with a joint one; that is not how this D was "
    "trained."
)
EVALUATED = (
    "G's step asks D in evaluation mode, with its running statistics: that is not how D was trained, either. Change "
    "the batches, not the mode."
)


def small_image_gan(batching: str = "split") -> GAN:
    """A float64 GAN for images (B, 1, 4, 4) and z (B, 3), with BatchNorm in D; always the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
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


def applied(step: Function, gan: GAN) -> dict[str, Tensor]:
    """The gradients that a step hands to each player's optimizer, flat; 0 for a player that it does not move."""
    gan = copy.deepcopy(gan)
    updates = recorded(gan)
    step(gan, *small_batch())
    return {"G": torch.zeros(1), "D": torch.zeros(1), **dict(updates)}


def one_view(answer: Function) -> CheckResult:
    """`answer(gan, real, z)` is a training step in which G asks D with batches of the kind that D is trained with.

    The step that still does what the pitfall does is not answered yet.
    """

    def same(a: Tensor, b: Tensor) -> bool:
        return a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-9)

    def check(answer: Function) -> str:
        found = applied(answer, small_image_gan())  # a step need not return anything
        right = {batching: applied(d_first_detach, small_image_gan(batching)) for batching in BATCHINGS}
        in_D = [name for name in ("split", "joint") if same(found["D"], right[name]["D"])]
        if len(found["D"]) == 1 or len(found["G"]) == 1:
            return f"{'D' if len(found['D']) == 1 else 'G'} was not updated: each player needs its optimizer's step()."
        if not in_D:
            return "D's gradient is neither that of split nor that of joint batches: change the batches only."
        before_its_update = applied(simultaneous, small_image_gan(in_D[0]))  # both losses on one forward of D
        if same(found["G"], right[in_D[0]]["G"]) or same(found["G"], before_its_update["G"]):
            return ""
        if in_D == ["joint"] and same(found["G"], right["joint_in_D_step"]["G"]):
            return STILL
        if in_D == ["split"]:
            crossed = applied(crossed_step, small_image_gan())
            if same(found["G"], crossed["G"]):
                return CROSSED
        if same(found["G"], applied(in_evaluation_mode, small_image_gan(in_D[0]))["G"]):
            return EVALUATED
        return (
            "D is trained as it should be, but G's gradient is another: G's loss is that of the fakes, after D's step."
        )

    praise = "D is asked as it was trained. Its BatchNorm uses the same kind of batch in both steps."
    verdict = judge(answer, check, praise)
    return dataclasses.replace(verdict, answered=verdict.answered and verdict.message != STILL)


def crossed_step(gan: GAN, real: Tensor, z: Tensor) -> None:
    """Split in D's step, joint in G's."""
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(gan.D(real), gan.D(fake.detach())).backward()
    gan.opt_D.step()
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D(torch.cat([real, fake]))[len(real) :]).backward()
    gan.opt_G.step()


def in_evaluation_mode(gan: GAN, real: Tensor, z: Tensor) -> None:
    """D's step as `gan.batching` says; in G's step D uses its running statistics."""
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(*gan.logits(real, fake.detach())).backward()
    gan.opt_D.step()
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D.eval()(fake)).backward()
    gan.opt_G.step()


def safe_score(answer: Function) -> CheckResult:
    """`answer(D, images)` scores each image by itself, with D's running statistics, (N, 1), and leaves D as it was.

    As it was: its weights and statistics, its mode, which parameters ask for a gradient, and what gradients they hold.
    """

    def check(answer: Function) -> str:
        D, (images, _) = small_image_gan().D.train(), small_batch()
        for _ in range(20):  # running statistics that are those of some data
            D(images + 0.1)
        before = {name: value.clone() for name, value in D.state_dict().items()}
        trusted = copy.deepcopy(D).eval()(images).detach()
        scores = ask(answer, D, images.clone())
        if not isinstance(scores, Tensor) or scores.shape != trusted.shape:
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            return f"one logit for each image is wanted, shape {tuple(trusted.shape)}; yours is {shape}."
        moved = [name for name, value in D.state_dict().items() if not torch.equal(value, before[name])]
        if moved:
            return f"scoring has moved D's running statistics ({moved[0]}): a look must not change what is looked at."
        if not all(p.requires_grad for p in D.parameters()):
            return "D's parameters no longer require a gradient, so D would not learn any more: restore requires_grad."
        if any(p.grad is not None for p in D.parameters()):
            return "scoring has left gradients in D: the next step would start with them. A score needs no backward."
        modes = [module.training for module in D.modules()]
        alone = torch.cat([answer(D.train(), images[:1].clone()), answer(D.train(), images[1:3].clone())])
        if not torch.allclose(alone, scores[:3], rtol=1e-6, atol=1e-9):
            return "the first image's score depends on its company: BatchNorm still normalises with this batch."
        if not torch.allclose(scores, trusted, rtol=1e-6, atol=1e-9):
            return "the scores do not depend on the batch, but they are not D's with its running statistics."
        if not all(modes):
            return "right scores, but D is left in evaluation mode: the training that goes on would not be the same."
        D.eval()
        answer(D, images.clone())
        return "D came in evaluation mode and was left in training mode: restore what was." if D.training else ""

    praise = "each image has one score, whatever its company, and D goes on as it was."
    return judge(answer, check, praise)


def true_dependence(norm: str, batching: str) -> Tensor:
    """4 x 4, 1 where in D's step the logit of a row depends on the image of a column: real, real, fake, fake."""
    if norm != "batch":
        return torch.eye(4)
    if batching == "split":
        return torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    return torch.ones(4, 4)


BLOCKS = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
ASKED = (("batch", "split"), ("batch", "joint"), ("batch", "joint_in_D_step"), ("group", "split"), ("group", "joint"))


def dependence(answer: Function) -> CheckResult:
    """`answer(norm, batching)` says which logit depends on which image in D's step, as `true_dependence` does."""
    known: dict[tuple[str, str], list[tuple[Tensor, str]]] = {
        ("batch", "split"): [
            (torch.eye(4), "BatchNorm uses the mean of the batch, and so each of its images."),
            (torch.ones(4, 4), "split gives D two batches: a real's logit knows nothing of the fakes."),
            (1 - BLOCKS, "these are the zeros and ones exchanged: 1 is for 'depends'."),
        ],
        ("batch", "joint"): [
            (torch.eye(4), "BatchNorm uses the mean of the batch, and so each of its images."),
            (BLOCKS, "in one batch reals and fakes share the mean, so each logit depends on all four images."),
            (1 - BLOCKS, "a logit depends on its own image, too."),
        ],
        ("batch", "joint_in_D_step"): [
            (BLOCKS, "that is what G's step sees; the question is D's step, which is joint."),
        ],
    }

    def check(answer: Function) -> str:
        for norm, batching in ASKED:
            value, truth = torch.as_tensor(ask(answer, norm, batching)).float(), true_dependence(norm, batching)
            place = f"norm {norm!r}, batching {batching!r}: "
            if value.shape != truth.shape:
                return f"{place}a matrix (4, 4) is wanted, yours has shape {tuple(value.shape)}."
            if not torch.equal(value, truth):
                if norm != "batch":
                    return f"{place}this norm looks at one image at a time, so only the diagonal is 1."
                same = (message for wrong, message in known[norm, batching] if torch.equal(value, wrong))
                first = (value != truth).nonzero()[0].tolist()
                return place + next(same, f"row {first[0]}, column {first[1]} is wrong.")
        return ""

    return judge(answer, check, "with BatchNorm a batch is one object; without it, it is a list of images.")
