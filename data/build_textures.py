"""Build data/textures.npz from the pictures that ship with scikit-image: python data/build_textures.py

brick, grass, gravel  uint8 (256, 256)  grey textures, half the size of the originals
horse                 uint8 (128, 160)  how much of each cell the silhouette covers, 0 to 255

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
    """The four arrays."""
    from skimage import data

    arrays = {
        name: np.asarray(Image.fromarray(getattr(data, name)()).reduce(2)) for name in ("brick", "grass", "gravel")
    }
    horse = ~data.horse()  # the silhouette is black on white
    rows, columns = np.nonzero(horse.any(1))[0], np.nonzero(horse.any(0))[0]
    horse = horse[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picture = Image.fromarray(horse.astype(np.uint8) * 255)
    arrays["brick"] = np.rot90(arrays["brick"]).copy()  # so that the courses lie flat
    arrays["horse"] = np.asarray(picture.resize((160, 128), Image.Resampling.BOX))
    return arrays


if __name__ == "__main__":
    if not find_spec("skimage"):
        print(f"{FILE} is left as it is. It is made from pictures of scikit-image: pip install scikit-image")
        sys.exit(NO_SOURCES)
    unfinished = FILE.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **build())
    unfinished.replace(FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
