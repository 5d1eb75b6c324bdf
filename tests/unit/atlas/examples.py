"""
Targets and atlases that show one anatomy in several poses, and a registrar that knows
the poses, so that nothing has to be trained or compiled.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from deepreg_meta.atlas.files import find_files
from deepreg_meta.config import RunConfig, load_config
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.geometry.volume_file import save_volume
from tests.helpers import write_yaml
from tests.pairs import grid_at, run_of, sample_anatomy, turn

GRID = grid_at((17, 16, 15), (1.0, 1.1, 1.2))
SHAPE = [13, 12, 11]  # of the network, whose voxels are those of the files
DATASET = dict(
    labels={"gland": 1, "cyst": 4},
    grid=dict(fit="pad"),
    moving_image_shape=SHAPE,
    fixed_image_shape=SHAPE,
)
# the further on, the less alike the target, which has no pose
POSES = {
    "target": turn((0, 0, 0)),
    "a3": turn((12, -9, 10), (2.0, -1.5, 1.0)),
    "a1": turn((2, 3, -2), (0.5, -0.5, 0.4)),
    "a2": turn((5, -6, 4), (-1.0, 1.0, 0.8)),
}


def write_atlas(
    folder: Path, name: str, pose: np.ndarray, grid: Grid = GRID, noise: float = 0.0
) -> None:
    """Write the anatomy in a pose, with a map: 1 gland, 4 cyst."""
    image, labels = sample_anatomy(grid, pose)
    rng = np.random.default_rng(len(name))
    image += (noise * rng.normal(size=image.shape)).astype(np.float32)
    values = np.where(labels[..., 1], 4, labels[..., 0].astype(int)).astype(np.uint8)
    save_volume(folder / "images" / f"{name}.nii.gz", image, grid.affine)
    save_volume(folder / "labels" / f"{name}.nii.gz", values, grid.affine)


def write_all(folder: Path, poses: dict[str, np.ndarray] | None = None) -> list:
    """:return: images with labels, by name: atlases, then the target."""
    for name, pose in (poses or POSES).items():
        write_atlas(folder, name, pose)
    return find_files([folder / "images"], [folder / "labels"])


def config_of(folder: Path, dataset: dict | None = None, **changes) -> RunConfig:
    """:return: a run that compares images and labels and aligns centres."""
    data = run_of(changes or None, {**DATASET, **(dataset or {})})
    folder.mkdir(parents=True, exist_ok=True)
    return load_config([write_yaml(folder / "run.yaml", data)])


class PoseRegistrar:
    """Finds the pose that each file was written in."""

    def __init__(self, config: RunConfig, checkpoint: str = "none/save/ckpt-1") -> None:
        self.config, self.checkpoint = config, checkpoint
        self.description = None  # of the training images
        self.calls: list[tuple] = []

    def register(self, fixed, moving, **options):
        names = [Path(path).name.split(".")[0] for path in (fixed, moving)]
        self.calls.append((*names, options))
        matrix = POSES[names[1]] @ np.linalg.inv(POSES[names[0]])
        return SimpleNamespace(
            transform=Transform((Affine(matrix),)),
            scores={"seconds": 1.5},
            result=SimpleNamespace(cpu_seconds=0.5),
            warnings=["far"] if names[1] == "a3" else [],
        )
