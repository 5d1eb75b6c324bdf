"""What the volumes of a run are brought to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from deepreg_meta.config import RunConfig
from deepreg_meta.config.preprocessing import IntensityConfig, SpacingConfig
from deepreg_meta.dataset.intensity import Intensity, read_reference
from deepreg_meta.dataset.volume_check import DataError

ROLES: tuple[Literal["moving", "fixed"], ...] = ("moving", "fixed")
Sides = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Target:
    """
    What a volume is brought to.

    :param shape: sides of the network's grid.
    :param spacing_mm: voxel sides that replace those of the file, on the file's grid;
        None keeps the file's.
    :param label_indices: name and integer of each label where label files are index
        maps; None where they hold channels in [0, 1].
    :param orientation: where the axes point, such as RAS; None leaves them.
    :param voxel_mm: voxel sides along the axes so turned, before `fit`; None keeps
        them.
    :param fit: how the shape is reached: resize stretches, pad adds and takes away
        voxels around the centre.
    :param padding: whether losses take voxels that were added for background, or
        ignore them.
    :param intensity: steps on the voxels of the file.
    """

    shape: tuple[int, int, int]
    spacing_mm: Sides | None = None
    label_indices: Mapping[str, int] | None = None
    orientation: str | None = None
    voxel_mm: Sides | None = None
    fit: Literal["resize", "pad"] = "resize"
    padding: Literal["background", "ignore"] = "background"
    intensity: Intensity = field(default_factory=Intensity)

    @property
    def ignores_padding(self) -> bool:
        """Whether there may be voxels that losses leave out."""
        return self.fit == "pad" and self.padding == "ignore"


def build_targets(config: RunConfig) -> dict[str, Target]:
    """
    Read from a configuration what its volumes are brought to.

    :param config: the validated configuration.
    :return: for moving and fixed volumes.
    :raises DataError: when a volume that images are matched to cannot be used.
    """
    dataset, grid = config.dataset, config.dataset.grid
    spacing = dataset.spacing_mm or SpacingConfig()
    voxel = grid.spacing_mm or SpacingConfig()
    intensity = _build_intensity(config)
    shapes = {"moving": dataset.moving_shape, "fixed": dataset.fixed_shape}
    return {
        role: Target(
            shape=shapes[role],
            spacing_mm=three_sides(getattr(spacing, role)),
            label_indices=dataset.labels,
            orientation=grid.orientation,
            voxel_mm=three_sides(getattr(voxel, role)),
            fit=grid.fit,
            padding=grid.padding,
            intensity=intensity[role],
        )
        for role in ROLES
    }


def three_sides(sides: Sequence[float] | None) -> Sides | None:
    """Give the voxels of 2-D images a third side, whose length does not matter."""
    return None if sides is None else (sides[0], sides[1], (*sides, 1.0)[2])


def _build_intensity(config: RunConfig) -> dict[str, Intensity]:
    """Read the volumes that images are matched to, each of them once."""
    options = config.dataset.intensity or IntensityConfig()
    steps = {role: getattr(options, role) for role in ROLES}
    files, problems = {}, []
    for path in {s.file for role in ROLES for s in steps[role] if s.file is not None}:
        try:
            files[path] = read_reference(path)
        except (ValueError, OSError) as err:
            problems.append(str(err))
    if problems:
        raise DataError(f"{config.data_key('intensity')}: a reference:", problems)
    return {role: Intensity(steps[role], files) for role in ROLES}
