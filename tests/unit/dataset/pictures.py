"""Pictures on disk: pairs of PNG files with label maps or masks, and configurations."""

import numpy as np
from PIL import Image

from tests.unit.dataset.examples import KINDS, config_of

COLUMNS, ROWS = 7, 5
SHAPE = (COLUMNS, ROWS, 1)


def picture(seed=0, bits=8):
    """:return: (columns, rows), whole numbers that use their bits."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (COLUMNS, ROWS))
    return values.astype(np.uint16 if bits == 16 else np.uint8)


def label_map(value=1):
    """:return: (columns, rows), a block that is no square."""
    label = np.zeros((COLUMNS, ROWS), np.uint8)
    label[2:6, 1:4] = value
    return label


def save_png(path, image):
    """
    Write (columns, rows) as a grey PNG.

    :return: the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image.T)).save(path)
    return path


def write_pictures(folder, names=("one", "two"), value=1, kinds=KINDS):
    """Write a split of PNG files, the images different ones."""
    for number, kind in enumerate(kinds):
        for index, name in enumerate(names):
            make = label_map(value) if "label" in kind else picture(10 * number + index)
            save_png(folder / kind / f"{name}.png", make)
    return folder


def write_shifted(folder, names, value=1, shift=2):
    """
    Write a split of 20 x 16 pixels whose moving structures lie further to the right.

    The fixed label has the columns 4 to 8 and the rows 5 to 11, 35 pixels.
    """
    for number, name in enumerate(names):
        texture = np.random.default_rng(number).integers(0, 90, (20, 16))
        for role, step in (("fixed", 0), ("moving", shift)):
            label = np.zeros((20, 16), np.uint8)
            label[4 + step : 9 + step, 5:12] = 1
            image = np.roll(texture, step, axis=0) + 150 * label
            save_png(folder / f"{role}_images" / f"{name}.png", image.astype(np.uint8))
            save_png(folder / f"{role}_labels" / f"{name}.png", value * label)
    return folder


def png_config(tmp_path, folder, **dataset):
    """:return: the configuration of a split of PNG files."""
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [COLUMNS, ROWS])
    return config_of(tmp_path, folder, **{"format": "png", **shapes, **dataset})
