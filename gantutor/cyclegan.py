"""CycleGAN: images A become images B and back, learnt from two sets of images that are not paired.

A step is one plain function, `step(model, real_A, real_B) -> report`, as in steps.py; both batches are (B, C, H, W) in
[-1, 1]. Everything is named by the domain it lies in or judges: fake_B = G_AB(real_A) is judged by D_B, rec_A =
G_BA(fake_B) is held against real_A, idt_B = G_AB(real_B) against real_B. The report holds detached tensors: the scalars
`d_loss`, `g_loss`, `cycle_loss` and `identity_loss`, each the sum over both domains and unweighted, and D's scores
`logits_real_A`, `logits_fake_A`, `logits_real_B`, `logits_fake_B` as D's update saw them.

D's losses are halved, as in the paper and the reference implementation.
Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017;
github.com/junyanz/pytorch-CycleGAN-and-pix2pix, models/cycle_gan_model.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantutor.gan import attempt, check_batch, check_logits, evaluating, frozen
from gantutor.image_pool import ImagePool
from gantutor.losses import Loss, translation_loss
from gantutor.models.reference import matched_state_dict
from gantutor.traits import Traits, check_step

Report = dict[str, Tensor]

# The reference names a discriminator after the generator that it judges: its D_A sees what its G_A makes, domain B.
REFERENCE_NAMES = {"G_A": "G_AB", "G_B": "G_BA", "D_A": "D_B", "D_B": "D_A"}


@dataclass
class CycleGAN:
    """Two generators, two discriminators, an optimizer for each two, pools of fakes, and what the generators minimise:

        lambda_gan · g_loss + lambda_cycle · (cycle_loss + lambda_identity · identity_loss)

    `lambda_identity` is relative to `lambda_cycle`, as in the reference.
    Raises: ValueError for a loss with a penalty and for a relativistic one, which the steps do not take.
    """

    G_AB: nn.Module
    G_BA: nn.Module
    D_A: nn.Module
    D_B: nn.Module
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    loss: Loss
    lambda_gan: float = 1.0
    lambda_cycle: float = 10.0
    lambda_identity: float = 0.5
    pool_A: ImagePool = field(default_factory=lambda: ImagePool(seed=0))
    pool_B: ImagePool = field(default_factory=lambda: ImagePool(seed=1))

    def __post_init__(self) -> None:
        check_step(g_first_separate, self.loss)

    @classmethod
    def with_adam(
        cls,
        G_AB: nn.Module,
        G_BA: nn.Module,
        D_A: nn.Module,
        D_B: nn.Module,
        loss: str = "lsgan",
        lr_G: float = 2e-4,
        lr_D: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        **settings: Any,
    ) -> "CycleGAN":
        """A model whose players use Adam, with the paper's rates; `settings` are the fields from `lambda_gan` on.

        `loss` is a name of `losses.TRANSLATION_LOSSES`. Raises: ValueError for another.
        """
        opt_G = torch.optim.Adam([*G_AB.parameters(), *G_BA.parameters()], lr_G, betas)
        opt_D = torch.optim.Adam([*D_A.parameters(), *D_B.parameters()], lr_D, betas)
        return cls(G_AB, G_BA, D_A, D_B, opt_G, opt_D, translation_loss(loss), **settings)

    @torch.no_grad()
    def translate(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """fake_B, rec_A, idt_A and fake_A, rec_B, idt_B for looking at: in evaluation mode, without a graph."""
        with evaluating(self.G_AB), evaluating(self.G_BA):
            fake_B, fake_A = self.G_AB(real_A), self.G_BA(real_B)
            return {
                "fake_B": fake_B, "rec_A": self.G_BA(fake_B), "idt_A": self.G_BA(real_A),
                "fake_A": fake_A, "rec_B": self.G_AB(fake_A), "idt_B": self.G_AB(real_B),
            }  # fmt: skip

    def check(self, real_A: Tensor, real_B: Tensor) -> None:
        """Look at one batch before training starts: do the shapes, types and ranges fit the networks?

        Raises: ValueError, saying what came and what was expected.
        """
        check_batch("real_A", real_A, self.G_AB, images=True)
        check_batch("real_B", real_B, self.G_BA, images=True)
        if real_A.shape[1] != real_B.shape[1] and self.lambda_identity:
            raise ValueError(
                "the identity term feeds each generator the other's domain, so both need the same channels; A has "
                f"{real_A.shape[1]} and B has {real_B.shape[1]}"
            )
        for name, G, real, D, to in (
            ("G_AB", self.G_AB, real_A, self.D_B, real_B),
            ("G_BA", self.G_BA, real_B, self.D_A, real_A),
        ):
            fake = attempt(G, real, f"{name} does not take images")
            if fake.shape[2:] != real.shape[2:] or fake.shape[1] != to.shape[1]:
                raise ValueError(
                    f"{name} makes {tuple(fake.shape)} of {tuple(real.shape)}; expected the same size and "
                    f"{to.shape[1]} channels"
                )
            who = f"the discriminator of {name}"
            check_logits(who, attempt(D, fake, f"{who} does not take images"), len(real))


def load_reference(model: CycleGAN, folder: str | Path, epoch: str = "latest") -> list[str]:
    """Load the reference's `latest_net_G_A.pth` and its like, as many as the folder has, and return whose they were.

    All are read and compared before the first is loaded. Raises: FileNotFoundError where a generator is missing;
    ValueError for files that do not fit, as `load_reference_state_dict` has it.
    """
    paths = {ours: Path(folder) / f"{epoch}_net_{theirs}.pth" for theirs, ours in REFERENCE_NAMES.items()}
    there = [name for name, path in paths.items() if path.is_file() or name in ("G_AB", "G_BA")]
    found = {name: matched_state_dict(getattr(model, name), paths[name]) for name in there}
    for name, state in found.items():
        getattr(model, name).load_state_dict(state)
    return there


def cyclegan_report(losses: dict[str, Tensor], logits: dict[str, tuple[Tensor, Tensor]]) -> Report:
    """What a step returns. Nothing here reads a value (`.item()`), which would make a GPU wait."""
    scores = {
        f"logits_{kind}_{domain}": x
        for domain, pair in logits.items()
        for kind, x in zip(("real", "fake"), pair, strict=True)
    }
    return {name: tensor.detach() for name, tensor in {**losses, **scores}.items()}


def mean_l1(x: Tensor, y: Tensor) -> Tensor:
    """mean(|x − y|), a scalar."""
    return (x - y).abs().mean()


@Traits(logits_only=True, joins_domains=True)
def g_first_shared(model: CycleGAN, real_A: Tensor, real_B: Tensor) -> Report:
    """The generators first, as the reference has it; each makes its translation and its identity in one forward.

    The same update as `g_first_separate`, in fewer and larger operations, where G treats each image by itself.
    Raises: ValueError for BatchNorm in a generator, which would mix the two domains' statistics.
    """
    check_per_image(model)
    fake_B, idt_B = model.G_AB(torch.cat([real_A, real_B])).split([len(real_A), len(real_B)])
    fake_A, idt_A = model.G_BA(torch.cat([real_B, real_A])).split([len(real_B), len(real_A)])
    rec_A, rec_B = model.G_BA(fake_B), model.G_AB(fake_A)

    model.opt_G.zero_grad()
    with frozen(model.D_A, model.D_B):
        g_loss = model.loss.g_loss(model.D_A(fake_A)) + model.loss.g_loss(model.D_B(fake_B))
    cycle_loss = mean_l1(rec_A, real_A) + mean_l1(rec_B, real_B)
    identity_loss = mean_l1(idt_A, real_A) + mean_l1(idt_B, real_B)
    relative = cycle_loss + model.lambda_identity * identity_loss
    (model.lambda_gan * g_loss + model.lambda_cycle * relative).backward()
    model.opt_G.step()

    model.opt_D.zero_grad()
    logits_A = model.D_A(real_A), model.D_A(model.pool_A.query(fake_A))
    logits_B = model.D_B(real_B), model.D_B(model.pool_B.query(fake_B))
    d_loss = model.loss.d_loss(*logits_A) / 2 + model.loss.d_loss(*logits_B) / 2
    d_loss.backward()
    model.opt_D.step()
    losses = {"d_loss": d_loss, "g_loss": g_loss, "cycle_loss": cycle_loss, "identity_loss": identity_loss}
    return cyclegan_report(losses, {"A": logits_A, "B": logits_B})


@Traits(logits_only=True)
def g_first_separate(model: CycleGAN, real_A: Tensor, real_B: Tensor) -> Report:
    """As the step is usually written: a forward for each image, and D's weights not frozen in G's step.

    The reference does freeze them.
    """
    fake_B, fake_A = model.G_AB(real_A), model.G_BA(real_B)
    rec_A, rec_B = model.G_BA(fake_B), model.G_AB(fake_A)
    idt_A, idt_B = model.G_BA(real_A), model.G_AB(real_B)

    model.opt_G.zero_grad()
    g_loss = model.loss.g_loss(model.D_A(fake_A)) + model.loss.g_loss(model.D_B(fake_B))
    cycle_loss = mean_l1(rec_A, real_A) + mean_l1(rec_B, real_B)
    identity_loss = mean_l1(idt_A, real_A) + mean_l1(idt_B, real_B)
    relative = cycle_loss + model.lambda_identity * identity_loss
    (model.lambda_gan * g_loss + model.lambda_cycle * relative).backward()
    model.opt_G.step()

    model.opt_D.zero_grad()  # removes what G's backward has left in the discriminators
    logits_A = model.D_A(real_A), model.D_A(model.pool_A.query(fake_A))
    logits_B = model.D_B(real_B), model.D_B(model.pool_B.query(fake_B))
    (model.loss.d_loss(*logits_A) / 2).backward()
    (model.loss.d_loss(*logits_B) / 2).backward()
    model.opt_D.step()
    d_loss = model.loss.d_loss(*logits_A) / 2 + model.loss.d_loss(*logits_B) / 2
    losses = {"d_loss": d_loss, "g_loss": g_loss, "cycle_loss": cycle_loss, "identity_loss": identity_loss}
    return cyclegan_report(losses, {"A": logits_A, "B": logits_B})


@Traits(logits_only=True, joins_domains=True)
def d_first_shared(model: CycleGAN, real_A: Tensor, real_B: Tensor) -> Report:
    """The discriminators first, on detached fakes; then the generators against the updated discriminators.

    Raises: as `g_first_shared`.
    """
    check_per_image(model)
    fake_B, idt_B = model.G_AB(torch.cat([real_A, real_B])).split([len(real_A), len(real_B)])
    fake_A, idt_A = model.G_BA(torch.cat([real_B, real_A])).split([len(real_B), len(real_A)])
    rec_A, rec_B = model.G_BA(fake_B), model.G_AB(fake_A)

    model.opt_D.zero_grad()
    logits_A = model.D_A(real_A), model.D_A(model.pool_A.query(fake_A))
    logits_B = model.D_B(real_B), model.D_B(model.pool_B.query(fake_B))
    d_loss = model.loss.d_loss(*logits_A) / 2 + model.loss.d_loss(*logits_B) / 2
    d_loss.backward()
    model.opt_D.step()

    model.opt_G.zero_grad()
    with frozen(model.D_A, model.D_B):
        g_loss = model.loss.g_loss(model.D_A(fake_A)) + model.loss.g_loss(model.D_B(fake_B))
    cycle_loss = mean_l1(rec_A, real_A) + mean_l1(rec_B, real_B)
    identity_loss = mean_l1(idt_A, real_A) + mean_l1(idt_B, real_B)
    relative = cycle_loss + model.lambda_identity * identity_loss
    (model.lambda_gan * g_loss + model.lambda_cycle * relative).backward()
    model.opt_G.step()
    losses = {"d_loss": d_loss, "g_loss": g_loss, "cycle_loss": cycle_loss, "identity_loss": identity_loss}
    return cyclegan_report(losses, {"A": logits_A, "B": logits_B})


def check_per_image(model: CycleGAN) -> None:
    """Refuse to join two domains in one batch where a generator has BatchNorm. Raises: ValueError, saying why."""
    for name in ("G_AB", "G_BA"):
        if any(isinstance(module, _BatchNorm) for module in getattr(model, name).modules()):
            check_step(g_first_shared, model.loss, batchnorm_G=name)


CycleGANStep = Callable[[CycleGAN, Tensor, Tensor], Report]

CYCLEGAN_STEPS: dict[str, CycleGANStep] = {
    "g_first_shared": g_first_shared,
    "g_first_separate": g_first_separate,
    "d_first_shared": d_first_shared,
}
