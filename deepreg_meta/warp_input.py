"""What `deepreg_warp` is given: two images, as far as named, and the way between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.initial import centre_of_mass_affine
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.geometry.volume_file import VolumeFile, read_volume

Side = Literal["fixed", "moving"]
MASS = "mass"  # of --initial


@dataclass(frozen=True, eq=False)
class Space:
    """
    The two images, as far as they are named.

    :param source: image that is warped, or of the space that points come from.
    :param reference: image of the space that things are brought to.
    :param to: which of the two is the target.
    """

    source: VolumeFile | None
    reference: VolumeFile | None
    to: Side

    @property
    def fixed(self) -> VolumeFile | None:
        """The fixed image."""
        return self.reference if self.to == "fixed" else self.source

    @property
    def moving(self) -> VolumeFile | None:
        """The moving image."""
        return self.source if self.to == "fixed" else self.reference

    @property
    def source_grid(self) -> Grid | None:
        """The grid of the source."""
        return self.source.grid if self.source else None

    def target_grid(self, transform: Transform) -> Grid | None:
        """
        Find the grid of the result.

        :param transform: fixed to moving space.
        :return: None where nothing tells it.
        """
        if self.reference is not None:
            return self.reference.grid
        first = next(iter(transform.parts), None)
        # a field that comes first lies in fixed space
        if self.to == "fixed" and isinstance(first, Field):
            return first.grid
        return None

    def checked_grid(self, grid: Grid | None) -> Grid:
        """:raises ValueError: when there is no grid for the result."""
        if grid is None:
            raise ValueError(
                f"--reference: expected the {self.to} image, on whose grid the result "
                "is wanted; the transforms do not tell it."
            )
        return grid


def whole_transform(
    space: Space,
    ddf_path: str | None,
    transform_paths: Sequence[str],
    initial: str | None,
) -> Transform:
    """
    Compose what takes fixed to moving points.

    :param space: the images.
    :param ddf_path: field in DeepReg's layout, in place of transforms.
    :param transform_paths: the first one is applied first.
    :param initial: affine transform that is applied last, or `mass`.
    :return: fixed to moving space.
    :raises ValueError: when there is none, or an image is needed that is not named.
    """
    if not (ddf_path or transform_paths or initial):
        raise ValueError("expected --transform, --ddf or --initial, got none of them.")
    if ddf_path and transform_paths:
        raise ValueError("--transform, --ddf: expected one of them, got both.")
    whole = Transform()
    if ddf_path:
        whole = _load_ddf(space, ddf_path)
    grid = space.fixed.grid if space.fixed else None
    for path in transform_paths:
        whole = whole.then(load_transform(path, grid))
        grid = None  # the next one does not start from the fixed image
    return whole.then(_initial(space, initial)) if initial else whole


def _load_ddf(space: Space, path: str) -> Transform:
    if space.moving is None:
        option = "--source" if space.to == "fixed" else "--reference"
        raise ValueError(
            f"--ddf: a field in DeepReg's layout counts voxels of the moving image: "
            f"name it by {option}."
        )
    moving = space.moving.grid
    if space.fixed is not None:
        return load_transform(path, space.fixed.grid, moving)
    # DeepReg's pairs often share one grid, and its fields do not say theirs
    has_same_shape = read_volume(path).grid.shape == moving.shape
    return load_transform(path, moving if has_same_shape else None, moving)


def _initial(space: Space, initial: str) -> Transform:
    if initial == MASS:
        if space.fixed is None or space.moving is None:
            raise ValueError(
                "--initial mass: expected both images, one as --reference, and for "
                "points the other as --source."
            )
        return Transform((centre_of_mass_affine(space.fixed, space.moving),))
    transform = load_transform(initial)
    matrix = transform.matrix
    if matrix is None:
        raise GeometryError(
            f"--initial: expected an affine transform, got a displacement field, "
            f"{initial}. Name it after --transform."
        )
    return Transform((Affine(matrix),))
