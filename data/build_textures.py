"""Build data/textures.npz from the pictures that ship with scikit-image: python data/build_textures.py

brick, grass, gravel  uint8 (256, 256)  grey textures, half the size of the originals

scikit-image is needed here and nowhere else: pip install scikit-image, or gantutor's extra "data".
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

FILE = Path(__file__).with_name("textures.npz")
NO_SOURCES = 3  # the exit status that `make data` passes over


def build() -> dict[str, np.ndarray]:
    """The three arrays."""
    from skimage import data

    arrays = {
        name: np.asarray(Image.fromarray(getattr(data, name)()).reduce(2)) for name in ("brick", "grass", "gravel")
    }
    arrays["brick"] = np.rot90(arrays["brick"]).copy()  # so that the courses lie flat
    return arrays


if __name__ == "__main__":
    if not find_spec("skimage"):
        print(f"{FILE} is left as it is. It is made from pictures of scikit-image: pip install scikit-image")
        sys.exit(NO_SOURCES)
    unfinished = FILE.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **build())
    unfinished.replace(FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
