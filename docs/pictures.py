"""Make the README's pictures anew: `python docs/pictures.py`. They are what the panel shows."""

from pathlib import Path

from gantutor.lab import Experiment, Lab

HERE = Path(__file__).parent


def digits() -> None:
    """A GAN learns to write, 12 steps a frame."""
    lab = Lab(Experiment(data="digits", device="cpu"), name="digits", keep_frames=True)
    for _ in range(36):
        lab.advance(12)
    lab.film.save_gif(HERE / "digits.gif", fps=6)
    lab.close()


def ring() -> None:
    """Two losses side by side on the ring, the same seed."""
    a = Experiment(data="ring", device="cpu")
    lab = Lab(a, a.replace(loss="wgan-gp"), name="ring")
    lab.advance(1500)
    lab.snapshot().save(HERE / "00_start_here.png", optimize=True)
    lab.close()


if __name__ == "__main__":
    digits()
    ring()
