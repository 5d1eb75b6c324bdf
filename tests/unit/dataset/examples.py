"""Small volumes, files and configurations that the tests of this folder start from."""

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from deepreg_meta.config import load_config
from deepreg_meta.dataset.source import RawLabel, RawVolume
from deepreg_meta.dataset.stored import Place

MOVING, FIXED = (6, 7, 8), (5, 6, 7)
AFFINE = np.array(
    [[0.0, -0.5, 0.0, 3.0], [2.0, 0.0, 0.0, -1.0], [0.0, 0.0, 1.5, 7.0], [0, 0, 0, 1]]
)


def image(shape, seed=0):
    return np.random.default_rng(seed).uniform(3, 90, shape).astype(np.float32)


def label(shape, num=1):
    """One block per channel; a 3-D mask where there is one channel only."""
    array = np.zeros((*shape, num), np.uint8)
    for channel in range(num):
        array[1:4, 1:3, channel : channel + 3, channel] = 1
    return array[..., 0] if num == 1 else array


def oblique(angles_deg, spacing, origin, flip=(1, 1, 1), order=(0, 1, 2)):
    """A rotated, anisotropic affine, its columns permuted and flipped."""
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.eye(3)[:, list(order)] @ np.diag(flip)
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    return affine


def place(affine=AFFINE, has_affine=True, forms=None, problem=""):
    """Where voxels lie: by default the file states it."""
    return Place(affine, has_affine, (affine,) if forms is None else forms, problem)


def raw_volume(voxels, affine=AFFINE, labels=(), **options):
    """What was read of files image.nii and label_0.nii, ..."""
    raw_labels = [
        one
        if isinstance(one, RawLabel)
        else RawLabel(f"label_{i}.nii", one, place(affine))
        for i, one in enumerate(labels)
    ]
    options = {"place": place(affine), **options}
    return RawVolume("image.nii", voxels, labels=raw_labels, **options)


def save(path, voxels, affine=AFFINE):
    """Write a NIfTI file that states its place in its sform alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti = nib.Nifti1Image(voxels, np.eye(4))  # it would refuse a singular one
    nifti.set_sform(affine, code=1)
    nib.save(nifti, path)
    return path


class Folder:
    """A split on disk; `put` replaces one file."""

    def __init__(self, path, kinds, names):
        self.path = path
        for kind in kinds:
            for number, name in enumerate(names):
                shape = MOVING if "moving" in kind else FIXED
                make = label(shape) if "label" in kind else image(shape, number)
                self.put(kind, name, make)

    def file(self, kind, name):
        return self.path / kind / f"{name}.nii.gz"

    def put(self, kind, name, array, affine=AFFINE):
        save(self.file(kind, name), array, affine)


KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")


def config_of(tmp_path, folder, **dataset):
    path = tmp_path / "meta.yaml"
    path.write_text(
        """
        train:
          method: reptile
          backbone: {name: local}
          loss: {image: {name: ssd}}
          optimizer: {name: Adam, learning_rate: 1.0e-3}
          epochs: 1
        """
    )
    defaults = {
        "type": "paired",
        "format": "nifti",
        "dir": {"train": str(folder.path if isinstance(folder, Folder) else folder)},
        "labeled": True,
        "moving_image_shape": list(MOVING),
        "fixed_image_shape": list(FIXED),
    }
    top = {key: dataset.pop(key) for key in ("adapt", "align") if key in dataset}
    return load_config(path, {"dataset": {**defaults, **dataset}, **top})
