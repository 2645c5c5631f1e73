"""Training loops in the shape of much-copied repositories run under %%trace without an edit, in a real IPython shell.

They are written anew, with the names and the structure that they have there, around small networks.
"""

import sys
import textwrap

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from ledger_helpers import kinds, moved

SETUP = """
import argparse, itertools, random, sys
import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Variable
from torchvision.utils import save_image

torch.manual_seed(0)
Tensor, device = torch.FloatTensor, torch.device("cpu")


def images(n):
    return torch.rand(n, 1, 8, 8) * 2 - 1


def loader(data, batch_size):
    return torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)


def labelled(n, batch_size):
    return loader(torch.utils.data.TensorDataset(images(n), torch.zeros(n)), batch_size)


def paired(n, batch_size):
    return loader([{"A": a, "B": b} for a, b in zip(images(n), images(n))], batch_size)


def adam(*networks):
    parameters = itertools.chain(*(net.parameters() for net in networks))
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))


def generator_net(nz):
    first = (nn.ConvTranspose2d(nz, 8, 8), nn.BatchNorm2d(8), nn.ReLU(True))
    return nn.Sequential(*first, nn.Conv2d(8, 1, 1), nn.Tanh())


def score_net(channels=1):
    return nn.Sequential(nn.Conv2d(channels, 8, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 4))


def picture_net():
    first = (nn.Conv2d(1, 8, 3, 1, 1), nn.InstanceNorm2d(8), nn.ReLU(inplace=True))
    return nn.Sequential(*first, nn.Conv2d(8, 1, 1))
"""

DCGAN_SETUP = """
opt = argparse.Namespace(niter=2, outf=".")
nz, real_label, fake_label = 4, 1, 0
dataloader = labelled(24, 6)
netG, netD = generator_net(nz), nn.Sequential(score_net(), nn.Sigmoid(), nn.Flatten(0))
criterion, fixed_noise = nn.BCELoss(), torch.randn(4, nz, 1, 1)
optimizerD, optimizerG = adam(netD), adam(netG)
"""

DCGAN = """
for epoch in range(opt.niter):
    for i, data in enumerate(dataloader, 0):
        # D: the reals
        netD.zero_grad()
        real_cpu = data[0].to(device)
        batch_size = real_cpu.size(0)
        label = torch.full((batch_size,), real_label, dtype=real_cpu.dtype, device=device)
        output = netD(real_cpu)
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean().item()

        # D: the fakes
        noise = torch.randn(batch_size, nz, 1, 1, device=device)
        fake = netG(noise)
        label.fill_(fake_label)
        output = netD(fake.detach())
        errD_fake = criterion(output, label)
        errD_fake.backward()
        D_G_z1 = output.mean().item()
        errD = errD_real + errD_fake
        optimizerD.step()

        # G
        netG.zero_grad()
        label.fill_(real_label)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        D_G_z2 = output.mean().item()
        optimizerG.step()

        print('[%d][%d] Loss_D: %.4f Loss_G: %.4f D(x): %.4f D(G(z)): %.4f / %.4f'
              % (epoch, i, errD.item(), errG.item(), D_x, D_G_z1, D_G_z2))
        if i % 100 == 0:
            fake = netG(fixed_noise)
            save_image(fake.detach(), '%s/fake_samples_epoch_%03d.png' % (opt.outf, epoch), normalize=True)
"""

GAN_SETUP = """
opt = argparse.Namespace(n_epochs=2, latent_dim=4, sample_interval=400)
dataloader = labelled(24, 6)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        first = (nn.Linear(opt.latent_dim, 16), nn.BatchNorm1d(16, 0.8), nn.LeakyReLU(0.2, inplace=True))
        self.model = nn.Sequential(*first, nn.Linear(16, 64), nn.Tanh())

    def forward(self, z):
        return self.model(z).view(z.size(0), 1, 8, 8)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(64, 16), nn.LeakyReLU(0.2, inplace=True), nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, img):
        return self.model(img.view(img.size(0), -1))


adversarial_loss = torch.nn.BCELoss()
generator, discriminator = Generator(), Discriminator()
optimizer_G, optimizer_D = adam(generator), adam(discriminator)
"""

GAN = """
for epoch in range(opt.n_epochs):
    for i, (imgs, _) in enumerate(dataloader):
        valid = Variable(Tensor(imgs.size(0), 1).fill_(1.0), requires_grad=False)
        fake = Variable(Tensor(imgs.size(0), 1).fill_(0.0), requires_grad=False)
        real_imgs = Variable(imgs.type(Tensor))

        # G
        optimizer_G.zero_grad()
        z = Variable(Tensor(np.random.normal(0, 1, (imgs.shape[0], opt.latent_dim))))
        gen_imgs = generator(z)
        g_loss = adversarial_loss(discriminator(gen_imgs), valid)
        g_loss.backward()
        optimizer_G.step()

        # D
        optimizer_D.zero_grad()
        real_loss = adversarial_loss(discriminator(real_imgs), valid)
        fake_loss = adversarial_loss(discriminator(gen_imgs.detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        optimizer_D.step()

        print("[Epoch %d/%d] [D loss: %f] [G loss: %f]" % (epoch, opt.n_epochs, d_loss.item(), g_loss.item()))
        batches_done = epoch * len(dataloader) + i
        if batches_done % opt.sample_interval == 0:
            save_image(gen_imgs.data[:25], "%d.png" % batches_done, nrow=5, normalize=True)
"""

PIX2PIX_SETUP = """
opt = argparse.Namespace(epoch=0, n_epochs=2)
dataloader = paired(12, 3)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = score_net(2)

    def forward(self, img_A, img_B):
        return self.model(torch.cat((img_A, img_B), 1))


criterion_GAN, criterion_pixelwise = torch.nn.MSELoss(), torch.nn.L1Loss()
lambda_pixel, patch = 100, (1, 1, 1)
generator, discriminator = picture_net(), Discriminator()
optimizer_G, optimizer_D = adam(generator), adam(discriminator)
"""

PIX2PIX = """
for epoch in range(opt.epoch, opt.n_epochs):
    for i, batch in enumerate(dataloader):
        real_A = Variable(batch["B"].type(Tensor))
        real_B = Variable(batch["A"].type(Tensor))
        valid = Variable(Tensor(np.ones((real_A.size(0), *patch))), requires_grad=False)
        fake = Variable(Tensor(np.zeros((real_A.size(0), *patch))), requires_grad=False)

        # G
        optimizer_G.zero_grad()
        fake_B = generator(real_A)
        pred_fake = discriminator(fake_B, real_A)
        loss_GAN = criterion_GAN(pred_fake, valid)
        loss_pixel = criterion_pixelwise(fake_B, real_B)
        loss_G = loss_GAN + lambda_pixel * loss_pixel
        loss_G.backward()
        optimizer_G.step()

        # D
        optimizer_D.zero_grad()
        pred_real = discriminator(real_B, real_A)
        loss_real = criterion_GAN(pred_real, valid)
        pred_fake = discriminator(fake_B.detach(), real_A)
        loss_fake = criterion_GAN(pred_fake, fake)
        loss_D = 0.5 * (loss_real + loss_fake)
        loss_D.backward()
        optimizer_D.step()

        sys.stdout.write("\\r[Epoch %d/%d] [D loss: %f] [G loss: %f, pixel: %f, adv: %f]"
                         % (epoch, opt.n_epochs, loss_D.item(), loss_G.item(), loss_pixel.item(), loss_GAN.item()))
"""

CYCLEGAN_SETUP = """
opt = argparse.Namespace(epoch=0, n_epochs=2, lambda_cyc=10.0, lambda_id=5.0)
dataloader = paired(6, 1)


class ReplayBuffer:
    def __init__(self, max_size=50):
        self.max_size, self.data = max_size, []

    def push_and_pop(self, data):
        to_return = []
        for element in data.data:
            element = torch.unsqueeze(element, 0)
            if len(self.data) < self.max_size:
                self.data.append(element)
                to_return.append(element)
            elif random.uniform(0, 1) > 0.5:
                i = random.randint(0, self.max_size - 1)
                to_return.append(self.data[i].clone())
                self.data[i] = element
            else:
                to_return.append(element)
        return Variable(torch.cat(to_return))


criterion_GAN, criterion_cycle, criterion_identity = torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.L1Loss()
G_AB, G_BA, D_A, D_B = picture_net(), picture_net(), score_net(), score_net()
D_A.output_shape = (1, 1, 1)
optimizer_G, optimizer_D_A, optimizer_D_B = adam(G_AB, G_BA), adam(D_A), adam(D_B)
fake_A_buffer, fake_B_buffer = ReplayBuffer(), ReplayBuffer()
"""

CYCLEGAN = """
for epoch in range(opt.epoch, opt.n_epochs):
    for i, batch in enumerate(dataloader):
        real_A = Variable(batch["A"].type(Tensor))
        real_B = Variable(batch["B"].type(Tensor))
        valid = Variable(Tensor(np.ones((real_A.size(0), *D_A.output_shape))), requires_grad=False)
        fake = Variable(Tensor(np.zeros((real_A.size(0), *D_A.output_shape))), requires_grad=False)

        # generators
        G_AB.train()
        G_BA.train()
        optimizer_G.zero_grad()
        loss_id_A = criterion_identity(G_BA(real_A), real_A)
        loss_id_B = criterion_identity(G_AB(real_B), real_B)
        loss_identity = (loss_id_A + loss_id_B) / 2
        fake_B = G_AB(real_A)
        loss_GAN_AB = criterion_GAN(D_B(fake_B), valid)
        fake_A = G_BA(real_B)
        loss_GAN_BA = criterion_GAN(D_A(fake_A), valid)
        loss_GAN = (loss_GAN_AB + loss_GAN_BA) / 2
        recov_A = G_BA(fake_B)
        loss_cycle_A = criterion_cycle(recov_A, real_A)
        recov_B = G_AB(fake_A)
        loss_cycle_B = criterion_cycle(recov_B, real_B)
        loss_cycle = (loss_cycle_A + loss_cycle_B) / 2
        loss_G = loss_GAN + opt.lambda_cyc * loss_cycle + opt.lambda_id * loss_identity
        loss_G.backward()
        optimizer_G.step()

        # D of A
        optimizer_D_A.zero_grad()
        loss_real = criterion_GAN(D_A(real_A), valid)
        fake_A_ = fake_A_buffer.push_and_pop(fake_A)
        loss_fake = criterion_GAN(D_A(fake_A_.detach()), fake)
        loss_D_A = (loss_real + loss_fake) / 2
        loss_D_A.backward()
        optimizer_D_A.step()

        # D of B
        optimizer_D_B.zero_grad()
        loss_real = criterion_GAN(D_B(real_B), valid)
        fake_B_ = fake_B_buffer.push_and_pop(fake_B)
        loss_fake = criterion_GAN(D_B(fake_B_.detach()), fake)
        loss_D_B = (loss_real + loss_fake) / 2
        loss_D_B.backward()
        optimizer_D_B.step()
        loss_D = (loss_D_A + loss_D_B) / 2
        sys.stdout.write("\\r[D loss: %f] [G loss: %f]" % (loss_D.item(), loss_G.item()))
"""

WGAN_SETUP = """
opt = argparse.Namespace(niter=2, Diters=2, batchSize=4, clamp_lower=-0.01, clamp_upper=0.01)
nz = 4
dataloader = labelled(40, opt.batchSize)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = score_net()

    def forward(self, input):
        output = self.main(input)
        return output.mean(0).view(1)


netG, netD = generator_net(nz), Critic()
input = torch.FloatTensor(opt.batchSize, 1, 8, 8)
noise = torch.FloatTensor(opt.batchSize, nz, 1, 1)
one, mone = torch.FloatTensor([1]), torch.FloatTensor([-1])
optimizerD, optimizerG = (torch.optim.RMSprop(net.parameters(), lr=5e-5) for net in (netD, netG))
gen_iterations = 25
"""

WGAN = """
for epoch in range(opt.niter):
    data_iter = iter(dataloader)
    i = 0
    while i < len(dataloader):
        # the critic
        for p in netD.parameters():
            p.requires_grad = True
        if gen_iterations < 25 or gen_iterations % 500 == 0:
            Diters = 100
        else:
            Diters = opt.Diters
        j = 0
        while j < Diters and i < len(dataloader):
            j += 1
            for p in netD.parameters():
                p.data.clamp_(opt.clamp_lower, opt.clamp_upper)
            data = next(data_iter)
            i += 1
            real_cpu, _ = data
            netD.zero_grad()
            batch_size = real_cpu.size(0)
            input.resize_as_(real_cpu).copy_(real_cpu)
            inputv = Variable(input)
            errD_real = netD(inputv)
            errD_real.backward(one)

            noise.resize_(opt.batchSize, nz, 1, 1).normal_(0, 1)
            with torch.no_grad():
                noisev = Variable(noise)
            fake = Variable(netG(noisev).data)
            inputv = fake
            errD_fake = netD(inputv)
            errD_fake.backward(mone)
            errD = errD_real - errD_fake
            optimizerD.step()

        # the generator
        for p in netD.parameters():
            p.requires_grad = False
        netG.zero_grad()
        noise.resize_(opt.batchSize, nz, 1, 1).normal_(0, 1)
        noisev = Variable(noise)
        fake = netG(noisev)
        errG = netD(fake)
        errG.backward(one)
        optimizerG.step()
        gen_iterations += 1
        print('[%d/%d][%d] Loss_D: %f Loss_G: %f Loss_D_real: %f Loss_D_fake %f'
              % (epoch, opt.niter, gen_iterations, errD.data[0], errG.data[0], errD_real.data[0], errD_fake.data[0]))
"""

LOOPS = {  # the source, what comes before the loop, the loop, and which optimizer moves which network
    "pytorch/examples dcgan": (DCGAN_SETUP, DCGAN, {"optimizerD.step()": {"netD"}, "optimizerG.step()": {"netG"}}),
    "PyTorch-GAN gan": (
        *(GAN_SETUP, GAN, {"optimizer_D.step()": {"discriminator"}, "optimizer_G.step()": {"generator"}}),
    ),
    "PyTorch-GAN pix2pix": (
        *(PIX2PIX_SETUP, PIX2PIX, {"optimizer_D.step()": {"discriminator"}, "optimizer_G.step()": {"generator"}}),
    ),
    "PyTorch-GAN cyclegan": (
        CYCLEGAN_SETUP, CYCLEGAN,
        {"optimizer_G.step()": {"G_AB", "G_BA"}, "optimizer_D_A.step()": {"D_A"}, "optimizer_D_B.step()": {"D_B"}},
    ),
    "WassersteinGAN": (
        WGAN_SETUP, WGAN,
        {"p.data.clamp_(opt.clamp_lower, opt.clamp_upper)": {"netD"}, "optimizerD.step()": {"netD"},
         "optimizerG.step()": {"netG"}},
    ),
}  # fmt: skip
BATCH = "epoch, i = 0, 1\nbatch = data = next(iter(dataloader))\nimgs = data[0] if isinstance(data, list) else None"


@pytest.fixture(scope="module")
def shell():
    """An IPython shell of its own, with the extension loaded."""
    main = sys.modules["__main__"]
    shell = InteractiveShell.instance()
    run(shell, "%load_ext gantutor")
    yield shell
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main  # a shell puts its own there


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(shell, cell):
    """What a cell gives. Raises: what the cell raises."""
    result = shell.run_cell(textwrap.dedent(cell))
    result.raise_error()
    return result.result


def iteration(loop):
    """The body of the innermost `for` over batches, which people paste when they want to see one iteration."""
    lines = loop.strip("\n").splitlines()
    return textwrap.dedent("\n".join(lines[2:])) + "\n"


@pytest.mark.parametrize("name", LOOPS)
def test_a_whole_loop_runs_under_the_magic_without_an_edit_and_so_does_one_iteration(name, shell):
    setup, loop, moves = LOOPS[name]
    run(shell, SETUP + setup)
    networks = [value for value in shell.user_ns.values() if isinstance(value, torch.nn.Module)]
    before = [value.clone() for network in networks for value in network.state_dict().values()]
    record = run(shell, "%%trace\n" + loop.lstrip("\n"))
    assert (record.error, kinds(record)) == (None, [])
    found = {}
    for text, network in moved(record):
        found.setdefault(text, set()).add(network)
    assert found == moves
    steps = [line.text for line in record.lines if line.text in ("optimizerG.step()", "optimizer_G.step()")]
    assert len(steps) == 3
    now = [value for network in networks for value in network.state_dict().values()]
    assert all(map(torch.equal, before, now))
    if name != "WassersteinGAN":
        run(shell, BATCH)
        record = run(shell, "%%trace\n" + iteration(loop))
        assert (record.error, kinds(record)) == (None, [])
        assert dict(moved(record)).keys() == moves.keys()


def test_a_cell_with_the_classic_bug_says_what_to_change(shell):
    run(shell, SETUP + GAN_SETUP + BATCH)
    record = run(shell, "%%trace\n" + iteration(GAN.replace("gen_imgs.detach()", "gen_imgs")))
    assert kinds(record) == ["freed graph"]
    assert "gen_imgs.detach()" in record.findings[0].fix
    assert str(record).startswith(str(record.findings[0]).splitlines()[0])


def test_the_cells_own_results_stay_and_the_users_names_are_theirs(shell):
    run(shell, "import torch\nnet = torch.nn.Linear(2, 1)\nx = torch.ones(3, 2)")
    record = run(shell, "%%trace\nloss = net(x).sum()\nloss.backward()")
    assert [line.text for line in record.lines] == ["loss = net(x).sum()", "loss.backward()"]
    assert shell.user_ns["loss"].grad_fn is not None
    assert shell.user_ns["net"].weight.grad is None
