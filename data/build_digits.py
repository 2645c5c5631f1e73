"""Build data/digits.npz from the copy of the UCI digits that ships with scikit-learn: python data/build_digits.py

images    uint8 (1797, 8, 8)  ink per cell, 0 to 16
labels    uint8 (1797,)       0 to 9
held_out  uint8 (1797,)       1 for the 450 images of the test split, drawn once
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

FILE = Path(__file__).with_name("digits.npz")


def build() -> dict[str, np.ndarray]:
    """The three arrays."""
    source = load_digits()
    held_out = np.zeros(len(source.target), np.uint8)
    # RandomState and not default_rng: numpy promises that its numbers never change.
    held_out[np.random.RandomState(0).permutation(len(held_out))[:450]] = 1
    return {"images": source.images.astype(np.uint8), "labels": source.target.astype(np.uint8), "held_out": held_out}


if __name__ == "__main__":
    unfinished = FILE.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **build())
    unfinished.replace(FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
