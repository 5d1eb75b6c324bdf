"""What registers images without a network: a configuration made for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.config import ConfigError, RunConfig, load_config
from deepreg_meta.config.adapt_schema import AlignConfig
from deepreg_meta.config.files import PathLike, read_files
from deepreg_meta.config.findings import Findings, parse_section
from deepreg_meta.config.preprocessing import GridConfig, SpacingConfig
from deepreg_meta.dataset.route import plan_route, turned_shape
from deepreg_meta.dataset.stored import read_place
from deepreg_meta.dataset.target import ROLES, Sides, Target, three_sides
from deepreg_meta.geometry.affine import spacing_of
from deepreg_meta.geometry.grid import Grid, Shape
from deepreg_meta.geometry.picture_file import Layout
from deepreg_meta.geometry.volume_file import read_volume

DEFAULT = Path(__file__).parent / "config" / "classical.yaml"
_ALIKE = 1e-3  # relative difference of voxel sides that are not worth resampling


class StoredGrid(NamedTuple):
    """
    The grid of an image.

    :param path: of its file.
    :param grid: of its voxels; a 2-D image has a last side of 1.
    :param has_orientation: whether the file states where its axes point.
    :param layout: of the file: a volume, a plane of two axes, or a picture.
    """

    path: Path
    grid: Grid
    has_orientation: bool
    layout: Layout = "volume"


class _Given(NamedTuple):
    """
    What YAML files say of the network's grids.

    :param paths: the files.
    :param dataset: their section, as it was read.
    :param grid: `dataset.grid`; None where it is wrong, as `align` is.
    :param align: how images lie before.
    :param stated: voxel sides that replace those of the image files.
    """

    paths: list[PathLike]
    dataset: dict[str, Any]
    grid: GridConfig | None
    align: AlignConfig | None
    stated: SpacingConfig

    @property
    def orientation(self) -> str | None:
        """Where axes are to point."""
        return self.grid.orientation if self.grid else None

    def names(self, key: str) -> bool:
        """Whether a key of `dataset.grid` is given."""
        grid = self.dataset.get("grid")
        return isinstance(grid, dict) and grid.get(key) is not None

    def turn(self, images: Sequence[StoredGrid]) -> str | None:
        """
        Return where all axes are to point, where nothing says so and they differ.

        :param images: it is where the first one's point; None unless all state it.
        """
        if not self.grid or not self.align or self.align.mode == "corner":
            return None
        if self.orientation or not all(own.has_orientation for own in images):
            return None
        codes = [own.grid.orientation for own in images]
        return None if len(set(codes)) == 1 else codes[0]


def stored_grid(path: str | Path) -> StoredGrid:
    """
    Read the grid of an image.

    :param path: of its file.
    :raises ValueError: for an image that cannot be read.
    """
    volume = read_volume(Path(path))
    has_orientation = read_place(str(path)).has_orientation
    return StoredGrid(Path(path), volume.grid, has_orientation, volume.layout)


def classical_config(
    fixed: str | Path,
    moving: str | Path,
    config_path: PathLike | Sequence[PathLike] = (),
) -> RunConfig:
    """
    Configure the classical registration of two images, each on its own grid.

    Where both files state where their axes point, and not alike, the moving image's are
    turned to the fixed image's (`dataset.grid.orientation`), since most ways of `align`
    lay the axes parallel as they are stored.

    :param fixed: image file.
    :param moving: image file.
    :param config_path: YAML file, or files, that are merged after the default.
    :return: the configuration; shapes that no file states are those of the images, or
        what they are with voxels of `dataset.grid.spacing_mm`.
    :raises ConfigError: for wrong keys, and where a network takes part.
    :raises ValueError: for an image that cannot be read.
    """
    images = [stored_grid(fixed), stored_grid(moving)]
    _check_axes(images)
    given = _read_given(config_path)
    turn = given.turn(images)
    grid = {} if turn is None else {"orientation": turn}
    return _load(given, grid, {"fixed": images[:1], "moving": images[1:]})


def common_config(
    images: Sequence[StoredGrid], config_path: PathLike | Sequence[PathLike] = ()
) -> RunConfig:
    """
    Configure the classical registration of any of several images to any other.

    All are brought to one grid, so that what registers is compiled once: axes are
    turned as in `classical_config`, voxels are as large as those of the first image
    (`dataset.grid.spacing_mm`), and what is smaller than the largest image is padded
    (`dataset.grid.fit`). What a file says of these goes before.

    :param images: one at least.
    :param config_path: as of `classical_config`.
    :return: the configuration.
    :raises ConfigError: for wrong keys, and where a network takes part.
    :raises ValueError: for images of two axes beside volumes.
    """
    _check_axes(images)
    given = _read_given(config_path)
    turn = given.turn(images)
    grid: dict[str, Any] = {} if turn is None else {"orientation": turn}
    if not given.names("fit"):
        grid["fit"] = "pad"
    if not given.names("spacing_mm"):
        stated = three_sides(given.stated.fixed)
        sides = [_sides(own, turn or given.orientation, stated) for own in images]
        if not np.allclose(sides, sides[0], rtol=_ALIKE, atol=0):
            grid["spacing_mm"] = [round(float(side), 6) for side in sides[0]]
    return _load(given, grid, dict.fromkeys(ROLES, images))


def _read_given(config_path: PathLike | Sequence[PathLike]) -> _Given:
    """Read what the default and the files after it say."""
    own = [config_path] if isinstance(config_path, PathLike) else config_path
    paths = [DEFAULT, *own]
    raw = read_files(paths).raw
    dataset = raw.get("dataset")
    dataset = dataset if isinstance(dataset, dict) else {}
    unheard = Findings({}, "")  # whoever loads the configuration tells what is wrong
    stated = parse_section(SpacingConfig, dataset.get("spacing_mm") or {}, (), unheard)
    return _Given(
        paths,
        dataset,
        parse_section(GridConfig, dataset.get("grid") or {}, (), unheard),
        parse_section(AlignConfig, raw.get("align") or {}, (), unheard),
        stated or SpacingConfig(),
    )


def _load(
    given: _Given,
    grid: Mapping[str, Any],
    images: Mapping[str, Sequence[StoredGrid]],
) -> RunConfig:
    """
    Load the configuration, with what the images decide.

    :param given: what files say.
    :param grid: keys of `dataset.grid`.
    :param images: of each role; the network's grid holds the largest of them.
    """
    own: dict[str, Any] = {"grid": dict(grid)} if grid else {}
    orientation = grid.get("orientation", given.orientation)
    voxel = (given.grid and given.grid.spacing_mm) or SpacingConfig()
    if "spacing_mm" in grid:
        voxel = SpacingConfig.model_validate(grid["spacing_mm"])
    for role in ROLES:
        key = f"{role}_image_shape"
        if not given.dataset.get(key):
            stated = three_sides(getattr(given.stated, role))
            wanted = three_sides(getattr(voxel, role))
            shapes = [_shape(one, orientation, stated, wanted) for one in images[role]]
            own[key] = np.max(shapes, axis=0).tolist()
    config = load_config(given.paths, {"dataset": own}, "of the image files")
    name = config.reptile_train.backbone.name if config.is_reptile else config.method
    if name != "identity":
        raise ConfigError(
            [
                f"train.backbone.name {config.locate('train.backbone.name')}: expected "
                f"identity with --classical, got {name!r}. Train it, and register with "
                "--ckpt_path."
            ]
        )
    if not config.adapt.adapts:
        raise ConfigError(
            ["adapt.field: expected updates with --classical, got none: nothing moves."]
        )
    return config


def _shape(
    image: StoredGrid,
    orientation: str | None,
    stated: Sides | None,
    voxel: Sides | None,
) -> Shape:
    """Return the shape of an image with its axes turned and voxels of another size."""
    shape, affine = image.grid.shape, image.grid.affine
    target = Target(shape, stated, orientation=orientation, voxel_mm=voxel)
    return plan_route(shape, affine, target).sampled


def _sides(
    image: StoredGrid, orientation: str | None, stated: Sides | None
) -> NDArray[np.float64]:
    """Return the voxel sides of an image with its axes turned, (3,)."""
    shape, affine = image.grid.shape, image.grid.affine
    turned = Target(turned_shape(image.grid, orientation), orientation=orientation)
    to_file = plan_route(shape, affine, turned).to_file
    own = image.grid.spacing_mm if stated is None else stated
    return spacing_of(np.diag([*own, 1.0]) @ to_file)


def _check_axes(images: Sequence[StoredGrid]) -> None:
    """Refuse an image of two axes beside a volume of several slices."""
    flat = [own for own in images if own.layout != "volume"]
    deep = [own for own in images if own.grid.shape[2] > 1]
    if flat and deep:
        found = "an image of two axes" if flat[0].layout == "plane" else "a picture"
        raise ValueError(
            f"{flat[0].path}: expected a volume, as {deep[0].path} is one of "
            f"{deep[0].grid.shape[2]} slices, got {found}."
        )
