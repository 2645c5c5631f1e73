"""A LightningModule's training_step (Lightning-AI/pytorch-lightning 591, 557, 5574, 21513, 5545, 6282)."""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import at, finds, kinds, line_of, mlp, moved

from gantutor.ledger import compare, cost, trace

L = pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")


class GAN(L.LightningModule):
    def __init__(self, toggle=True):
        super().__init__()
        self.automatic_optimization = False
        self.toggle = toggle
        self.generator, self.discriminator = mlp(4, 6), mlp(6, 1)

    def forward(self, z):
        return self.generator(z)

    def adversarial_loss(self, y_hat, y):
        return F.binary_cross_entropy_with_logits(y_hat, y)

    def training_step(self, batch, batch_idx):
        (imgs,) = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(len(imgs), 4)
        if self.toggle:
            self.toggle_optimizer(optimizer_g)
        g_loss = self.adversarial_loss(self.discriminator(self(z)), torch.ones(len(imgs), 1))
        self.log("g_loss", g_loss)
        self.manual_backward(g_loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        if self.toggle:
            self.untoggle_optimizer(optimizer_g)
            self.toggle_optimizer(optimizer_d)
        d_loss = self.adversarial_loss(self.discriminator(imgs), torch.ones(len(imgs), 1))
        d_loss = (d_loss + self.adversarial_loss(self.discriminator(self(z).detach()), torch.zeros(len(imgs), 1))) / 2
        self.manual_backward(d_loss)
        optimizer_d.step()
        optimizer_d.zero_grad()
        if self.toggle:
            self.untoggle_optimizer(optimizer_d)

    def configure_optimizers(self):
        return [torch.optim.Adam(net.parameters(), 2e-4) for net in (self.generator, self.discriminator)], []


loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(32, 6)), batch_size=8)


class Look(L.Callback):
    """Traces a step inside a running Trainer, which is where a user would do it."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 2:
            before = {name: value.clone() for name, value in module.state_dict().items()}
            self.record = trace(module.training_step, batch, 0)
            self.cost = cost(module.training_step, batch, 0, repeats=1)
            self.same = compare({"a": module.training_step, "b": module.training_step}, batch, 0)
            assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def fit(module):
    torch.manual_seed(0)
    look = Look()
    trainer = L.Trainer(
        max_steps=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[look],
    )  # fmt: skip
    trainer.fit(module, loader)
    return look


def test_with_toggle_optimizer_g_loss_leaves_nothing_in_the_discriminator():
    toggled = fit(GAN())
    record = toggled.record
    assert kinds(record) == []
    assert set(record.before) == {"self.generator", "self.discriminator"}
    after = at(record, "self.manual_backward(g_loss)").networks
    assert (after["self.discriminator"].with_gradient, after["self.generator"].gradient_norm > 0) == (0, True)
    assert moved(record) == [
        ("optimizer_g.step()", "self.generator"), ("optimizer_d.step()", "self.discriminator")
    ]  # fmt: skip
    assert toggled.cost.networks["self.discriminator"].forwards == 3
    assert all(found.equal for found in toggled.same.differences)


def test_without_it_the_discriminator_moves_on_g_loss_too():
    record = fit(GAN(toggle=False)).record
    finds(record, "another's gradient", "optimizer_d.step()", "`g_loss`", "self.discriminator")
    assert len(at(record, "optimizer_d.step()").networks["self.discriminator"].contributions) == 2


def test_a_module_that_no_trainer_has_is_traced_with_what_it_has():
    """`self.optimizers()` needs a Trainer and raises without one: the trace ends there and says what to do."""
    record = trace(GAN().training_step, next(iter(loader)), 0)
    assert set(record.before) == {"self.generator", "self.discriminator"}
    assert f"Line {line_of(record, 'optimizer_g, optimizer_d =')}" in record.diagnosis
    assert "asks for the Trainer" in str(record)
    assert "on_train_batch_start" in str(record)
