"""What registers two images without a network: a configuration made for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepreg_meta.config import ConfigError, RunConfig, load_config
from deepreg_meta.config.adapt_schema import AlignConfig
from deepreg_meta.config.files import PathLike, read_files
from deepreg_meta.config.findings import Findings, parse_section
from deepreg_meta.config.preprocessing import GridConfig, SpacingConfig
from deepreg_meta.dataset.route import plan_route
from deepreg_meta.dataset.stored import read_place
from deepreg_meta.dataset.target import Target, three_sides
from deepreg_meta.geometry.picture_file import is_picture
from deepreg_meta.geometry.volume_file import VolumeFile, read_volume

DEFAULT = Path(__file__).parent / "config" / "classical.yaml"


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
    given = [config_path] if isinstance(config_path, PathLike) else config_path
    paths = [DEFAULT, *given]
    images = {Path(path): read_volume(Path(path)) for path in (fixed, moving)}
    _check_axes(images)
    own = _own_dataset(read_files(paths).raw, images[Path(fixed)], images[Path(moving)])
    config = load_config(paths, {"dataset": own}, "of the image files")
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


def _check_axes(images: Mapping[Path, VolumeFile]) -> None:
    """Refuse a picture beside a volume of several slices."""
    flat = [path for path in images if is_picture(path)]
    deep = [path for path, own in images.items() if own.grid.shape[2] > 1]
    if flat and deep:
        raise ValueError(
            f"{flat[0]}: expected a volume, as {deep[0]} is one of "
            f"{images[deep[0]].grid.shape[2]} slices, got a picture."
        )


def _own_dataset(
    raw: Mapping[str, Any], fixed: VolumeFile, moving: VolumeFile
) -> dict[str, Any]:
    """Return the keys of `dataset` that the files decide; wrong ones are left alone."""
    own: dict[str, Any] = {}
    given = raw.get("dataset")
    given = given if isinstance(given, dict) else {}
    unheard = Findings({}, "")  # whoever loads the configuration tells what is wrong
    grid = parse_section(GridConfig, given.get("grid") or {}, (), unheard)
    align = parse_section(AlignConfig, raw.get("align") or {}, (), unheard)
    orientation = grid.orientation if grid else None
    if grid and align and orientation is None and align.mode != "corner":
        orientation = _common_orientation(fixed, moving)
        if orientation is not None:
            own["grid"] = {"orientation": orientation}
    stated = parse_section(SpacingConfig, given.get("spacing_mm") or {}, (), unheard)
    wanted = (grid and grid.spacing_mm) or SpacingConfig()
    for role, volume in (("moving", moving), ("fixed", fixed)):
        key, shape = f"{role}_image_shape", volume.grid.shape
        if not given.get(key):
            target = Target(
                shape,
                spacing_mm=three_sides(getattr(stated, role, None)),
                orientation=orientation,
                voxel_mm=three_sides(getattr(wanted, role)),
            )
            own[key] = list(plan_route(shape, volume.grid.affine, target).sampled)
    return own


def _common_orientation(fixed: VolumeFile, moving: VolumeFile) -> str | None:
    """Return where the fixed image's axes point, where the moving one's differ."""
    if not all(read_place(image.path).has_orientation for image in (fixed, moving)):
        return None
    codes = fixed.grid.orientation
    return None if moving.grid.orientation == codes else codes
