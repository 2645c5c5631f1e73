"""Wrong programs: each is the package with one mistake in it that somebody could make.

A mutant names a function and a pattern in it, both found in the syntax tree, so that formatting does not matter. The
pattern is an expression or some statements that follow each other, and so is what takes its place.
"""

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gantutor"


class PatternError(ValueError):
    """A pattern is not found, or is found more than once: the mutant must follow the code."""


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    name: tells it from the others, and says what is wrong
    file: below gantutor/
    where: a function, a class, or Class.method
    pattern, replacement: what is there, and what takes its place
    why: why a program like this is written
    which: of several places in the order of the source, from 1 on; 0 if the pattern must be there once
    """

    name: str
    file: str
    where: str
    pattern: str
    replacement: str
    why: str
    which: int = 0


@dataclass(frozen=True)
class Room:
    """A part of the package with its tests, pytest's arguments, fastest first; and its mutants."""

    tests: tuple[str, ...]
    mutants: tuple[Mutant, ...]


def mutated(source: str, mutant: Mutant) -> str:
    """The source with the mistake in it, without comments. Raises: PatternError."""
    tree = ast.parse(source)
    wanted, new = parse(mutant.pattern), parse(mutant.replacement)
    if len(wanted) == 1 and isinstance(wanted[0], ast.Expr) and len(new) == 1 and isinstance(new[0], ast.Expr):
        wanted, new = [wanted[0].value], [new[0].value]
    places = find(definition(tree, mutant), wanted)
    if not places:
        raise PatternError(f"{mutant.name}: {mutant.pattern!r} is not in {mutant.where} of {mutant.file}")
    if mutant.which > len(places) or (not mutant.which and len(places) > 1):
        raise PatternError(
            f"{mutant.name}: {mutant.pattern!r} is {len(places)} times in {mutant.where} of {mutant.file}, "
            f"and which={mutant.which}"
        )
    _, node, field, index = places[max(mutant.which - 1, 0)]
    if index is None:
        setattr(node, field, new[0])
    else:
        getattr(node, field)[index : index + len(wanted)] = new
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def without_comments(source: str) -> str:
    """What `mutated` would make of it without a mistake."""
    return ast.unparse(ast.parse(source)) + "\n"


def parse(source: str) -> list[ast.AST]:
    return list(ast.parse(textwrap.dedent(source)).body)


def definition(tree: ast.AST, mutant: Mutant) -> ast.AST:
    """The function or class that the mutant names."""
    found = tree
    for name in mutant.where.split("."):
        inner = [node for node in getattr(found, "body", []) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        named = [node for node in inner if node.name == name]
        if len(named) != 1:
            raise PatternError(f"{mutant.name}: {mutant.where} is not in {mutant.file}, or more than once")
        found = named[0]
    return found


Place = tuple[tuple[int, int], ast.AST, str, int | None]  # line and column; the field of the node; the place in a list


def find(root: ast.AST, wanted: list[ast.AST]) -> list[Place]:
    """Where `wanted` is, in the order of the source."""
    dumps, places = [ast.dump(node) for node in wanted], []
    for node in ast.walk(root):
        for field, value in ast.iter_fields(node):
            parts = value if isinstance(value, list) else [value]
            for index in range(len(parts) - len(dumps) + 1):
                window = parts[index : index + len(dumps)]
                if all(isinstance(x, ast.AST) and ast.dump(x) == dump for x, dump in zip(window, dumps, strict=True)):
                    start = (window[0].lineno, window[0].col_offset)
                    places.append((start, node, field, index if isinstance(value, list) else None))
    return sorted(places, key=lambda place: place[0])


LOSSES = (
    Mutant(
        "minimax: the sign of G's loss",
        "losses.py",
        "Minimax.g_loss",
        "F.logsigmoid(-logits_fake).mean()",
        "-F.logsigmoid(-logits_fake).mean()",
        "Every other loss begins with a minus, so G gets D's own term: it then helps D.",
    ),
    Mutant(
        "non-saturating: the saturating loss for G",
        "losses.py",
        "NonSaturating.g_loss",
        "-F.logsigmoid(logits_fake).mean()",
        "F.logsigmoid(-logits_fake).mean()",
        "Equation 1 of the paper read for both players; near D's certainty the gradient vanishes.",
    ),
    Mutant(
        "least squares: a sum for a mean",
        "losses.py",
        "LeastSquares.d_loss",
        "logits_fake.square().mean()",
        "logits_fake.square().sum()",
        "The fakes then weigh as many times more than the reals as the batch is large.",
    ),
    Mutant(
        "hinge: the reals' margin for the fakes",
        "losses.py",
        "Hinge.d_loss",
        "F.relu(1 + logits_fake)",
        "F.relu(1 - logits_fake)",
        "The line above copied: D then raises the scores of fakes, too.",
    ),
    Mutant(
        "wgan: the critic's signs turned round",
        "losses.py",
        "Wasserstein.d_loss",
        "logits_fake.mean() - logits_real.mean()",
        "logits_real.mean() - logits_fake.mean()",
        "The paper's algorithm ascends; here the optimizer descends.",
    ),
    Mutant(
        "wgan-gp: λ is 1",
        "losses.py",
        "WassersteinGP.__init__",
        "10.0",
        "1.0",
        "A weight is left out easily, and the run still looks like training.",
    ),
    Mutant(
        "penalty without create_graph",
        "losses.py",
        "gradients_of",
        "torch.autograd.grad(D(x).sum(), x, create_graph=True)",
        "torch.autograd.grad(D(x).sum(), x)",
        "The penalty has the right value then, and no gradient for D.",
    ),
    Mutant(
        "R2 at the reals",
        "losses.py",
        "R2.penalty",
        "super().penalty(D, fake, real)",
        "super().penalty(D, real, fake)",
        "The arguments handed on in their order: R2 is R1 under another name.",
    ),
    Mutant(
        "relativistic: D has G's loss",
        "losses.py",
        "Relativistic.d_loss",
        "self.g_loss(logits_real, logits_fake)",
        "self.g_loss(logits_fake, logits_real)",
        "By the names of the parameters it looks right; D then takes reals for less real than fakes.",
    ),
)

STEPS = (
    Mutant(
        "D first: detach left out",
        "steps.py",
        "d_first_detach",
        "gan.logits(real, fake.detach())",
        "gan.logits(real, fake)",
        "The most asked question about GANs: D's backward runs on into G and frees its graph.",
    ),
    Mutant(
        "D first: G's zero_grad forgotten",
        "steps.py",
        "d_first_detach",
        "gan.opt_G.zero_grad()",
        "pass",
        "D's backward leaves nothing in G, so only the second step shows that gradients add up.",
    ),
    Mutant(
        "retain_graph: G's zero_grad before D's backward",
        "steps.py",
        "d_first_retain_graph",
        """
        d_loss.backward(retain_graph=True)
        gan.opt_D.step()
        gan.opt_G.zero_grad()
        """,
        """
        gan.opt_G.zero_grad()
        d_loss.backward(retain_graph=True)
        gan.opt_D.step()
        """,
        "Both zero_grad at the top look tidy; G then keeps what D's loss has sent it.",
    ),
    Mutant(
        "G first: D's zero_grad forgotten",
        "steps.py",
        "g_first_detach",
        "gan.opt_D.zero_grad()",
        "pass",
        "G's loss has left its gradient in D, and D follows it.",
    ),
    Mutant(
        "G first: no penalty",
        "steps.py",
        "g_first_detach",
        "gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)",
        "gan.loss.d_loss(logits_real, logits_fake)",
        "WGAN-GP trained as if its loss were only the two means.",
    ),
    Mutant(
        "regenerate: the second fake from another z",
        "steps.py",
        "d_first_regenerate",
        "fake = gan.G(z)",
        "fake = gan.G(torch.randn_like(z))",
        "Many loops draw a new z for G; the step then is no function of its arguments.",
        which=2,
    ),
    Mutant(
        "simultaneous: G's loss reaches D's gradients",
        "steps.py",
        "simultaneous",
        "g_loss.backward(inputs=list(gan.G.parameters()))",
        "g_loss.backward()",
        "A plain backward adds G's loss to the gradients that D is about to apply.",
    ),
    Mutant(
        "one stage: the ratio left out",
        "steps.py",
        "one_stage",
        "received.grad * ratio",
        "received.grad",
        "G then descends D's loss and makes its fakes easier to find.",
    ),
    Mutant(
        "one stage: clamp stops the gradient",
        "steps.py",
        "floored",
        "logits_fake.clamp(min=gan.loss.floor).detach() + (logits_fake - logits_fake.detach())",
        "logits_fake.clamp(min=gan.loss.floor)",
        "The shorter line has the same value; below the floor nothing comes back.",
    ),
)

GAN = (
    Mutant(
        "the sign of the fakes' gradient",
        "gan.py",
        "GAN.fake_gradient",
        "-gradient",
        "gradient",
        "The gradient points uphill; an arrow is to show where G's loss pushes.",
    ),
    Mutant(
        "D's probability is that of a fake",
        "gan.py",
        "GAN.prob_real",
        "self.D(x).sigmoid()",
        "(-self.D(x)).sigmoid()",
        "With the labels turned round, 1 means fake.",
    ),
    Mutant(
        "samples in training mode",
        "gan.py",
        "GAN.sample",
        """
        with evaluating(self.G):
            return self.G(z)
        """,
        "return self.G(z)",
        "no_grad is taken for eval: BatchNorm goes on to count what is only looked at.",
    ),
    Mutant(
        "evaluation mode stays",
        "gan.py",
        "evaluating",
        "network.train(was_training)",
        "pass",
        "Who calls eval for a picture forgets to call train afterwards.",
    ),
    Mutant(
        "both optimizers with G's rate",
        "gan.py",
        "GAN.with_adam",
        "torch.optim.Adam(D.parameters(), lr_D, betas)",
        "torch.optim.Adam(D.parameters(), lr_G, betas)",
        "A copied line; with equal rates nobody notices.",
    ),
    Mutant(
        "joint: real and fake change places",
        "gan.py",
        "GAN.logits",
        "return logits_real, logits_fake",
        "return logits_fake, logits_real",
        "The halves of a joint batch are told apart by their order alone.",
    ),
    Mutant(
        "G's step is split where it should be joint",
        "gan.py",
        "GAN.logits_for_G",
        'self.batching in ("joint", "joint_in_G_step")',
        'self.batching == "joint"',
        "One of two mixed batchings forgotten: without BatchNorm in D it is the same.",
    ),
)

PIX2PIX = (
    Mutant(
        "D first: λ missing",
        "pix2pix.py",
        "d_first_detach",
        "model.lambda_gan * g_loss + model.lambda_L1 * l1_loss",
        "model.lambda_gan * g_loss + l1_loss",
        "A sum of two losses, as most code has it: the L1 term has a hundredth of its weight.",
    ),
    Mutant(
        "λ is 10 by default",
        "pix2pix.py",
        "Pix2Pix",
        "lambda_L1: float = 100.0",
        "lambda_L1: float = 10.0",
        "CycleGAN's weight in the place of pix2pix's.",
    ),
    Mutant(
        "G first: D is shown the target as the input",
        "pix2pix.py",
        "g_first_detach",
        "model.loss.g_loss(model.logits(real_A, fake_B))",
        "model.loss.g_loss(model.logits(real_B, fake_B))",
        "Real next to fake, as without a condition: D then judges another pair than it has learnt.",
    ),
    Mutant(
        "D first: D's loss not halved",
        "pix2pix.py",
        "d_first_detach",
        "model.loss.d_loss(logits_real, logits_fake) / 2",
        "model.loss.d_loss(logits_real, logits_fake)",
        "Adam hardly notices, so that no picture shows it.",
    ),
    Mutant(
        "simultaneous: L2 for L1",
        "pix2pix.py",
        "simultaneous",
        "(fake_B - real_B).abs().mean()",
        "(fake_B - real_B).square().mean()",
        "The usual error of a regression; the paper says that it blurs more.",
    ),
    Mutant(
        "one stage: D's half not taken back",
        "pix2pix.py",
        "one_stage",
        "2 * model.loss.slope_ratio(logits_fake.detach()).flatten()[0]",
        "model.loss.slope_ratio(logits_fake.detach()).flatten()[0]",
        "The ratio belongs to the whole loss; G then gets half of its adversarial term.",
    ),
    Mutant(
        "translating moves the statistics",
        "pix2pix.py",
        "Pix2Pix.translate",
        "with training_for_a_look(self.G):\n    return self.G(A)",
        "return self.G.train()(A)",
        "Looking at the output as the paper does counts the test images in BatchNorm.",
    ),
    Mutant(
        "the decay begins a step late",
        "configs/translation_configs.py",
        "decay_factor",
        "t + 1 - constant",
        "t - constant",
        "Epochs counted from 0 or from 1: the last rate is then not what the papers have.",
    ),
)

CYCLEGAN = (
    Mutant(
        "separate: each discriminator judges the other's domain",
        "cyclegan.py",
        "g_first_separate",
        "model.loss.g_loss(model.D_A(fake_A)) + model.loss.g_loss(model.D_B(fake_B))",
        "model.loss.g_loss(model.D_B(fake_A)) + model.loss.g_loss(model.D_A(fake_B))",
        "The reference names D_A after the generator G_A, whose fakes lie in B.",
    ),
    Mutant(
        "shared: the pool of A ignored",
        "cyclegan.py",
        "g_first_shared",
        "model.pool_A.query(fake_A)",
        "fake_A.detach()",
        "The newest fakes are at hand, and for a while all looks the same.",
    ),
    Mutant(
        "D first: λ of the cycle missing",
        "cyclegan.py",
        "d_first_shared",
        "model.lambda_gan * g_loss + model.lambda_cycle * relative",
        "model.lambda_gan * g_loss + relative",
        "A plain sum of the three losses.",
    ),
    Mutant(
        "shared: λ of the identity not relative",
        "cyclegan.py",
        "g_first_shared",
        "model.lambda_gan * g_loss + model.lambda_cycle * relative",
        "model.lambda_gan * g_loss + model.lambda_cycle * cycle_loss + model.lambda_identity * identity_loss",
        "0.5 is relative to λ of the cycle in the reference, which the paper does not say.",
    ),
    Mutant(
        "separate: the identity through the other generator",
        "cyclegan.py",
        "g_first_separate",
        "idt_A, idt_B = model.G_BA(real_A), model.G_AB(real_B)",
        "idt_A, idt_B = model.G_AB(real_A), model.G_BA(real_B)",
        "From A comes G_AB: but then the generator is punished for translating.",
    ),
    Mutant(
        "D first: the cycle ends in the other domain",
        "cyclegan.py",
        "d_first_shared",
        "mean_l1(rec_A, real_A) + mean_l1(rec_B, real_B)",
        "mean_l1(rec_A, real_B) + mean_l1(rec_B, real_A)",
        "rec_A is made of fake_B, and so is compared with B.",
    ),
    Mutant(
        "a full pool takes nothing more",
        "image_pool.py",
        "ImagePool.choose",
        "choices.append((place, swap, swap))",
        "choices.append((place, swap, False))",
        "An old fake is returned, but the new one does not take its place.",
    ),
)

DATA = (
    Mutant(
        "images in [0, 1]",
        "data/images.py",
        "to_float",
        "images.float().div_(127.5).sub_(1)",
        "images.float().div_(255)",
        "What ToTensor gives; G's tanh goes from −1 to 1.",
    ),
    Mutant(
        "digits: the two parts exchanged",
        "data/embedded.py",
        "digits",
        'held_out == (split == "test")',
        'held_out == (split == "train")',
        "A mask of what is held out read as one of what is kept.",
    ),
    Mutant(
        "held-out images among those of training",
        "data/own_images.py",
        "unpaired_folders",
        "images[~test].to(device)",
        "images.to(device)",
        "What is put aside is not taken out.",
    ),
    Mutant(
        "only the target is mirrored",
        "data/images.py",
        "augment",
        "images = [torch.where(mirrored, batch.flip(3), batch) for batch in images]",
        "images = [*images[:-1], torch.where(mirrored, images[-1].flip(3), images[-1])]",
        "A transform given to one of two images, as a data set of single images has it.",
    ),
    Mutant(
        "label maps enlarged smoothly",
        "data/images.py",
        "Pairs.sample",
        '[self.label_map == "A", self.label_map == "B"]',
        "[False, False]",
        "An image is resized as images are: colours arise that belong to no class.",
    ),
    Mutant(
        "z from the global generator",
        "batches.py",
        "Batches._draw_z",
        "torch.randn(self.batch_size, self.z_dim, generator=self.generator, device=self.data.device)",
        "torch.randn(self.batch_size, self.z_dim, device=self.data.device)",
        "The usual call; batches then depend on whatever else the program draws.",
    ),
)

CHECKPOINTS = (
    Mutant(
        "a checkpoint without the optimizers",
        "model_state.py",
        "stateful",
        '{name: value for name, value in attributes(model).items() if hasattr(value, "state_dict")}',
        "networks(model)",
        "Only the weights are saved: Adam's moments start anew.",
    ),
    Mutant(
        "torch's random state not restored",
        "scale/checkpoint.py",
        "load_checkpoint",
        'set_global_rng_state(content["chance"])',
        "pass",
        "The weights are those of before; dropout's masks are not.",
    ),
    Mutant(
        "the data begin anew",
        "training.py",
        "Run.load_state_dict",
        'self.batches.load_state_dict(state["batches"])',
        "pass",
        "As with a new DataLoader: the run goes on with the batches that it began with.",
    ),
    Mutant(
        "written in place",
        "scale/checkpoint.py",
        "replace",
        'temporary = path.with_name(f"{path.name}.tmp")',
        "temporary = path",
        "torch.save to the file itself: a full disk then costs the old checkpoint, too.",
    ),
    Mutant(
        "the state of before is no copy",
        "scale/checkpoint.py",
        "load_checkpoint",
        "copy.deepcopy(run.state_dict())",
        "run.state_dict()",
        "state_dict gives the tensors themselves: a load that fails half way cannot be taken back.",
    ),
)

COMMAND_LINE = (
    Mutant(
        "a choice does not reach the config",
        "scale/run_folder.py",
        "new_config",
        '{**DEFAULTS, **config_fields(kind), "speed": "auto", **given, "kind": kind}',
        '{**DEFAULTS, **given, **config_fields(kind), "speed": "auto", "kind": kind}',
        "The option is parsed, checked and then forgotten.",
    ),
    Mutant(
        "what is given with --resume is ignored",
        "scale/run_folder.py",
        "resume_config",
        "{**run_config, **given}",
        "run_config",
        "The stored config read, the new options checked and not used.",
    ),
    Mutant(
        "no checkpoint at the last step",
        "scale/command.py",
        "due",
        "t % every == 0 or t == last",
        "t % every == 0",
        "A loop with a modulo loses its last steps.",
    ),
    Mutant(
        "a step too many",
        "scale/command.py",
        "go",
        "run.t < steps",
        "run.t <= steps",
        "Steps counted from 0 or from 1.",
        which=1,
    ),
    Mutant(
        "each sample of a new z",
        "scale/command.py",
        "samples_of",
        "run.model.sample(z)",
        "run.model.sample(torch.randn_like(z))",
        "Pictures cannot be compared then, and looking changes the random state.",
        which=2,
    ),
)

REPLICAS = (
    Mutant(
        "every replica takes the first share",
        "batches.py",
        "Share.rows",
        "slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)",
        "slice(0, size // self.count)",
        "The same seed on all replicas, without a sampler that shares out: they all see the same rows.",
    ),
    Mutant(
        "the rows of the shares swapped",
        "batches.py",
        "Share.rows",
        "slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)",
        "slice((self.count - 1 - self.rank) * size // self.count, (self.count - self.rank) * size // self.count)",
        "Replicas counted from the end: every mean stays, but shares put together are not the batch.",
    ),
    Mutant(
        "scalars are sums over the replicas",
        "scale/distributed.py",
        "averaged_step",
        "torch.stack([report[name].double() for name in names]) / dist.get_world_size()",
        "torch.stack([report[name].double() for name in names])",
        "all_reduce adds; whoever wants a mean must divide.",
    ),
    Mutant(
        "synchronised statistics without their gradient",
        "scale/replicas.py",
        "SumOverReplicas.backward",
        "SumOverReplicas.apply(gradient)",
        "gradient",
        "The forward is right, and the other replicas' share of the gradient is lost.",
    ),
)

LEDGER = (
    Mutant(
        "a gradient that cancels is cleared",
        "ledger/graph.py",
        "GradientSlot.look",
        "gradient is None",
        "gradient is None or not gradient.any()",
        "All zeros looks like cleared, and is what two losses make that cancel.",
    ),
    Mutant(
        "a share is the gradient so far",
        "ledger/graph.py",
        "GradientSlot._arrives",
        "gradients[0].detach().clone()",
        "self.parameter.grad.detach().clone()",
        "Looked at after the fact: the first share is right, all later ones are sums.",
    ),
    Mutant(
        "unscaling leaves the shares",
        "ledger/graph.py",
        "GradientSlot.written",
        "vector * factor",
        "vector",
        "Shares of a GradScaler's loss then stand beside a gradient 65,536 times smaller.",
    ),
    Mutant(
        "along is the norm",
        "ledger/graph.py",
        "contributions",
        "product / norm if norm else 0.0",
        "size",
        "Lengths do not add up to the gradient's length; the parts along it do.",
    ),
    Mutant(
        "a freed graph is alive",
        "ledger/graph.py",
        "saved",
        "return {}, FREED, name",
        "return {}, ALIVE, name",
        "A graph that has nothing left looks like one that saved nothing.",
    ),
    Mutant(
        "any broken part raises",
        "ledger/graph.py",
        "Scene.failing",
        "broken &= on_the_way(nodes, inputs)",
        "pass",
        "backward(inputs=...) does not go through all of the graph.",
    ),
    Mutant(
        "the oldest node raises first",
        "ledger/graph.py",
        "Scene.failing",
        "node._sequence_nr()",
        "-node._sequence_nr()",
        "A backward begins at the end: what was made last is gone through first.",
    ),
    Mutant(
        "a shared layer is the last network's",
        "ledger/reach.py",
        "Reach._add",
        "self.owner.setdefault(id(parameter), name)",
        "self.owner[id(parameter)] = name",
        "A loop that overwrites: the trunk of D and Q is then Q's.",
    ),
    Mutant(
        "requires_grad is not put back",
        "ledger/reach.py",
        "Snapshot.restore",
        "tensor.requires_grad_(held.requires_grad)",
        "pass",
        "Values and gradients are thought of; a network that the step has frozen stays frozen.",
    ),
    Mutant(
        "gradients are not put back",
        "ledger/reach.py",
        "Snapshot.restore",
        "tensor.grad = held.grad",
        "pass",
        "A trace then clears what the user has collected.",
    ),
    Mutant(
        "versions are not put back",
        "ledger/reach.py",
        "Snapshot.restore",
        "held.version >= 0 and held.tensor._version != held.version",
        "False",
        "The numbers are as before; a graph that the user keeps raises all the same.",
    ),
    Mutant(
        "containers are not put back",
        "ledger/reach.py",
        "Snapshot.restore",
        "put_back(container, before)",
        "pass",
        "The history and the pool of the user's training then hold what only the trace has made.",
    ),
    Mutant(
        "an optimizer's step is everybody's",
        "ledger/findings.py",
        "Facts._used",
        "sent.number in numbers",
        "i < index",
        "All backwards before a step are not the step's: some were cleared, some went into the other player.",
    ),
    Mutant(
        "a skipped step is a step",
        "ledger/findings.py",
        "Facts.__init__",
        "not step.skipped",
        "True",
        "A GradScaler that has met an infinity has done its work; it is no mistake.",
    ),
    Mutant(
        "clearing at any time",
        "ledger/findings.py",
        "Facts.cleared",
        "first < i < last and set(networks) & set(clear.networks)",
        "set(networks) & set(clear.networks)",
        "A zero_grad in the wrong place is a zero_grad, too, if nobody looks when.",
    ),
    Mutant(
        "detach in the player's own way",
        "ledger/findings.py",
        "fix_graph",
        "player & (set(raised.reaches) - behind) and not player & behind",
        "True",
        "detach ends every error of a graph, and G's learning with it.",
    ),
    Mutant(
        "retain_graph for everything",
        "ledger/findings.py",
        "fix_graph",
        "theirs and not theirs & behind",
        "False",
        "It is what PyTorch's message says, and it leaves D's gradient in G.",
    ),
    Mutant(
        "another's gradient: any loss that two share",
        "ledger/findings.py",
        "anothers_gradient",
        "own and all(facts.users(i) == [used] for i in own)",
        "own",
        "An encoder with two heads is moved by both heads' losses, and should be.",
    ),
    Mutant(
        "opposed is apart",
        "ledger/findings.py",
        "opposed",
        "(product - share.norm**2) / (share.norm * rest) < AGAINST",
        "(product - share.norm**2) / (share.norm * rest) < 1",
        "Two losses of one player are never quite parallel.",
    ),
    Mutant(
        "nothing is opposed",
        "ledger/findings.py",
        "opposed",
        "share.norm and rest and (product - share.norm**2) / (share.norm * rest) < AGAINST",
        "share.norm < 0",
        "Both backwards before either step, without inputs=, then pass.",
    ),
    Mutant(
        "the next step is not looked at",
        "ledger/findings.py",
        "anothers_gradient",
        "yield from left_for_the_next_step(facts)",
        "pass",
        "A loss after the clearing does its harm one step later.",
    ),
    Mutant(
        "an optimizer that never stepped has been cleared",
        "ledger/findings.py",
        "not_cleared",
        "left or step.first",
        "left",
        "In the first step there is nothing from before, and the mistake is there already.",
    ),
    Mutant(
        "never cleared, whoever clears",
        "ledger/findings.py",
        "not_cleared",
        "left or step.first",
        "True",
        "Many people clear in the loop around the step.",
    ),
    Mutant(
        "any gradient without create_graph is a penalty",
        "ledger/findings.py",
        "constant_penalty",
        "'' if facts.parameters & set(asked.inputs or ()) else constant_in_a_loss(facts, facts.moments[index])",
        "constant_in_a_loss(facts, facts.moments[index]) or 'x'",
        "A weight between two losses is made of such gradients, and is meant to be a number.",
    ),
    Mutant(
        "evaluation mode is wrong for all",
        "ledger/findings.py",
        "wrong_mode",
        "trained and call.grad and (not call.training) and (not call.frozen) and call.layers",
        "not call.training",
        "Samples are made in evaluation mode, and a teacher is in it for good.",
    ),
    Mutant(
        "the first cut",
        "ledger/findings.py",
        "lost",
        "reversed(facts.events[:until])",
        "facts.events[:until]",
        "D's half detaches the fake, as it should; what cuts G off comes later.",
    ),
    Mutant(
        "infinity anywhere",
        "ledger/findings.py",
        "not_a_number",
        "found.kind == 'weights' or not all(map(math.isfinite, wrong))",
        "True",
        "A mask of minus infinity is meant.",
    ),
    Mutant(
        "a sum of losses before its backward",
        "ledger/findings.py",
        "kept_graph",
        "line.tensors[value].state == FREED",
        "True",
        "lossD += lossDFake is how two terms are added, not how memory is lost.",
    ),
    Mutant(
        "weights changed before the forward",
        "ledger/trace.py",
        "Recorder._moved_since",
        "number > node._sequence_nr()",
        "True",
        "WGAN clamps, and then scores: that is right.",
    ),
    Mutant(
        "an optimizer's own writes mix weights",
        "ledger/trace.py",
        "Recorder._moved_since",
        "note.state == ALIVE",
        "True",
        "What autograd has checked is no silent change.",
    ),
)

ROOMS = {
    "losses": Room(("tests/test_losses.py",), LOSSES),
    "steps": Room(("tests/test_steps.py",), STEPS),
    "gan": Room(("tests/test_gan.py", "tests/test_steps.py"), GAN),
    "pix2pix": Room(("tests/test_pix2pix.py", "tests/configs/test_configs.py"), PIX2PIX),
    "cyclegan": Room(("tests/test_image_pool.py", "tests/test_cyclegan.py"), CYCLEGAN),
    "data": Room(
        (
            *("tests/data/test_images.py", "tests/data/test_embedded.py", "tests/data/test_own_images.py"),
            *("tests/test_batches.py", "-k", "not worker"),
        ),
        DATA,
    ),
    "checkpoints": Room(("tests/scale/test_checkpoint.py",), CHECKPOINTS),
    "command line": Room(
        (*("tests/scale/test_run_folder.py", "tests/scale/test_command.py"),),
        COMMAND_LINE,
    ),
    "ledger": Room(
        (
            *("tests/ledger/cases", "tests/ledger/test_findings.py", "tests/ledger/test_trace.py"),
            *("tests/ledger/test_put_back.py", "tests/ledger/test_properties.py"),
            *(
                "--ignore",
                "tests/ledger/cases/test_ranks.py",
                "--ignore",
                "tests/ledger/cases/test_lightning_module.py",
            ),
        ),
        LEDGER,
    ),
    "replicas": Room(("tests/test_batches.py", "tests/scale/test_distributed.py"), REPLICAS),
}
