"""
Runs of untrained networks and pairs of files, for tests of registration.

The images show one anatomy, known as a function of space: it can be sampled on any
grid, in any pose, without interpolation.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.spatial.transform import Rotation

from deepreg_meta.config import load_config
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.geometry.affine import apply, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks, save_landmarks
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.training import DATA_FILE, build_model
from tests.helpers import randomize, run_config, without_xla, write_yaml

SEMI_AXES = (4.2, 5.0, 4.6)  # mm, of the gland
POINTS = np.array([[1.5, -1.0, 0.8], [-1.2, 2.0, -1.0], [0.4, 0.6, 2.2]])  # mm
NAMES = ("cyst", "apex", "calcification")
CENTRE = np.array([12.0, -30.0, 45.0])  # mm, where the anatomy lies without a pose


def turn(angles_deg: Sequence[float], shift: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """:return: (4, 4), a rotation about CENTRE and a shift in mm."""
    matrix = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    return from_parts(matrix, CENTRE - matrix @ CENTRE + shift)


def grid_at(
    shape: tuple[int, int, int],
    spacing: Sequence[float],
    angles_deg: Sequence[float] = (0, 0, 0),
    flip: Sequence[int] = (1, 1, 1),
    centre: Sequence[float] = (0, 0, 0),
) -> Grid:
    """:return: a grid whose middle is `centre` mm away from CENTRE."""
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    columns = rotation @ np.diag(np.multiply(spacing, flip))
    middle = CENTRE + centre - columns @ ((np.array(shape) - 1) / 2)
    return Grid(shape, from_parts(columns, middle))


def sample_anatomy(grid: Grid, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:return: image with values in [100, 1000], and labels (*shape, 2), on a grid."""
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    own = apply(np.linalg.inv(pose), grid.to_world(voxels)) - CENTRE
    radius = np.linalg.norm(own / SEMI_AXES, axis=-1)
    cyst = np.linalg.norm(own - POINTS[0], axis=-1)
    image = 250 + 60 * np.sin(0.5 * own[..., 0] + 0.3) + 50 * np.cos(0.4 * own[..., 1])
    image += 400 / (1 + np.exp(6 * (radius - 1))) + 150 * np.exp(-(cyst**2) / 4)
    labels = np.stack([radius <= 1, cyst <= 1.7], axis=-1)
    return image.astype(np.float32), labels


def write_side(
    folder: Path, name: str, grid: Grid, pose: np.ndarray | None = None
) -> PairFiles:
    """
    Write image, labels and landmarks of the anatomy.

    :param folder: to write to.
    :param name: of the image file.
    :param grid: to sample on.
    :param pose: of the anatomy; None is where it lies.
    :return: the files.
    """
    pose = np.eye(4) if pose is None else pose
    image, labels = sample_anatomy(grid, pose)
    paths = [folder / f"{name}{end}" for end in (".nii.gz", "_labels.nii.gz")]
    save_volume(paths[0], image, grid.affine)
    save_volume(paths[1], labels, grid.affine)
    points = folder / f"{name}.mrk.json"
    save_landmarks(points, Landmarks(NAMES, apply(pose, CENTRE + POINTS)))
    return PairFiles(paths[0], (paths[1],), points)


def run_of(changes: dict | None = None, dataset: dict | None = None) -> dict:
    """
    Write out a run that adapts by image and label on full volumes.

    :param changes: of `train.loss` by term (None takes one away), or other keys.
    :param dataset: keys of `dataset`.
    """
    config = run_config()
    config["align"] = "center"
    config["dataset"] |= {
        "moving_image_shape": [14, 12, 10], "fixed_image_shape": [12, 14, 10],
        **(dataset or {}),
    }  # fmt: skip
    config["train"]["preprocess"]["data_augmentation"] = []
    config["train"]["loss"]["image"] = dict(name="ssd")
    for key, value in (changes or {}).items():
        if key in ("image", "label"):
            config["train"]["loss"][key] = value
        else:
            config[key] = value
    loss = config["train"]["loss"]
    config["train"]["loss"] = {k: v for k, v in loss.items() if v is not None}
    return config


def write_run(
    folder: Path, config: dict, orientation: str | None = "RAS", biases: bool = False
) -> Path:
    """
    Write the folder of a run as training leaves it, its weights drawn at random.

    :param folder: of the run.
    :param config: of `run_of`.
    :param orientation: of the training images; None says nothing of them.
    :param biases: draw the biases alone and leave all kernels zero, so that the
        images have no say in the field.
    :return: the folder.
    """
    folder.mkdir(parents=True)
    loaded = load_config(write_yaml(folder / "config.yaml", config))
    with without_xla():
        model = build_model(loaded)
    randomize(model.network)
    if biases:
        for variable in model.network.weights:
            if "kernel" in variable.name:
                variable.assign(tf.zeros_like(variable))
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), folder / "save", None, checkpoint_name="ckpt"
    ).save(checkpoint_number=1)
    if orientation is not None:
        side = {"orientations": [orientation], "grid_spacing_mm": [1.3, 1.3, 1.3]}
        text = json.dumps({"moving": side, "fixed": side})
        (folder / DATA_FILE).write_text(text)
    return folder
