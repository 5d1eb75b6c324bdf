"""
A data set in the form of the Learn2Reg challenge, small and made by formulas alone, so
that the challenge's own scorer can be run on the very same files elsewhere.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (9, 10, 11)
PAIRS = (
    ("0001_0000", "0001_0001"),  # named by subjects: disp_0001_0001
    ("0002_0000", "0001_0000"),  # one modality: disp_0002_0001, an .npz
    ("0003_0001", "0001_0000"),  # modalities 1 and 0: disp_0003_0001_0001_0000
)
METHODS = [
    {"name": "LogJacDetStd", "metric": "sdlogj"},
    {"name": "TRE_kp", "metric": "tre", "dest": "keypoints"},
    {"name": "TRE_lm", "metric": "tre", "dest": "landmarks"},
    {"name": "DSC", "metric": "dice", "labels": [1, 2, 3]},
    {"name": "HD95", "metric": "hd95", "labels": [1, 2, 3]},
]


def voxels():
    """Voxel coordinates, (9, 10, 11, 3)."""
    axes = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return np.stack(axes, axis=-1).astype(float)


def ball(centre, radius):
    """True within a distance of the centre, in voxels."""
    return np.linalg.norm(voxels() - centre, axis=-1) <= radius


def displacement(number):
    """A smooth field; the third one folds."""
    x, y, z = np.moveaxis(voxels(), -1, 0)
    waves = (
        np.sin(0.9 * x + 0.4 * y + number),
        np.cos(0.7 * y - 0.5 * z),
        np.sin(0.8 * z + 0.3 * x * y / 4),
    )
    return (0.6, 0.8, 2.5)[number] * np.stack(waves, axis=-1)


def label(number):
    """Three structures; the image of number 1 lacks the last."""
    volume = np.zeros(SHAPE, np.uint8)
    volume[ball((4.2 + 0.3 * number, 4.5, 5.0 - 0.4 * number), 2.7)] = 1
    volume[ball((2.0, 7.0 - 0.5 * number, 3.0), 1.6)] = 2
    if number == 1:  # the second one is where no voxel of the first pair comes from
        volume[volume == 2] = 0
        volume[0, 0, 0] = 2
    else:
        volume[5:8, 2:4, 7 : 9 + number // 2] = 3
    return volume


def points(number):
    """Voxel coordinates: between voxels, on the last ones, and beyond them."""
    shift = 0.5 * number * np.array([0.3, -0.4, 0.2])
    return np.array([[3.3, 4.7, 5.1], [8, 9, 10], [2, 3, 4], [8.4, 1, 2]]) + shift


def write_data(folder):
    """
    Write images, labels, points, masks, fields and both JSON files.

    :return: the evaluation configuration, and the data set.
    """
    folder = Path(folder)
    affine = np.array(
        [[0, -1.9, 0, 5], [0.7, 0, 0, -3], [0, 0, 1.2, 8], [0, 0, 0, 1]], float
    )
    names = sorted({name for pair in PAIRS for name in pair})
    for number, name in enumerate(names):
        spaced = affine @ np.diag([1 + 0.1 * number, 1, 1, 1])
        image = voxels().sum(axis=-1) % (5 + number)
        for kind, volume in (
            ("images", image.astype(np.float32)),
            ("labels", label(number)),
            ("masks", 1 * ball((4, 4, 5), 3.6) + ball((4, 4, 5), 1.5)),
        ):
            if kind == "masks" and name == "0002_0000":
                continue  # the scorer goes on without
            path = folder / f"{kind}Tr" / f"Tiny_{name}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(volume.astype(np.float32), spaced), path)
        for kind, shift in (("landmarks", 0), ("keypoints", 1), ("keypoints01", 2)):
            path = folder / f"{kind}Tr" / f"Tiny_{name}.csv"
            path.parent.mkdir(exist_ok=True)
            np.savetxt(path, points(number + shift), delimiter=",", fmt="%.6f")
    fields = folder / "fields"
    fields.mkdir()
    for path, number in (("disp_0001_0001", 0), ("disp_0003_0001_0001_0000", 2)):
        field = displacement(number).astype(np.float32)
        nib.save(nib.Nifti1Image(field, np.eye(4)), fields / f"{path}.nii.gz")
    np.savez(fields / "disp_0002_0001.npz", displacement(1))
    return _write_json(folder)


def _write_json(folder):
    pairs = [
        {
            "fixed": f"./imagesTr/Tiny_{fixed}.nii.gz",
            "moving": f"./imagesTr/Tiny_{moving}.nii.gz",
        }
        for fixed, moving in PAIRS
    ]
    config = {
        "task_name": "Tiny",
        "evaluation_methods": METHODS,
        "expected_shape": [*SHAPE, 3],
        "eval_pairs": pairs,
        "eval_config_version": 0.2,
        "masked_evaluation": True,
    }
    dataset = {
        "name": "Tiny",
        "tensorImageShape": {"0": list(SHAPE)},
        "registration_val": pairs,
        "registration_test": pairs[:1],
    }
    paths = folder / "Tiny_evaluation_config.json", folder / "Tiny_dataset.json"
    for path, content in zip(paths, (config, dataset)):  # noqa: B905
        path.write_text(json.dumps(content))
    return paths
