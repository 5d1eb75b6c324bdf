"""
Test pairs whose true deformation is known, made from single images.

The moving image is the image itself, the fixed one the image warped by a drawn field u:
fixed(x) = image(x + u(x)). So u is the displacement that a registration of the two has
to find, and the endpoint error of what it finds is known at every voxel.
"""

import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.gaussian_field import (
    FieldOptions,
    Shape,
    deformation_energy,
    draw_field,
)
from deepreg_meta.dataset.image_folder import SingleImage, find_images, read_image
from deepreg_meta.evaluate.metric.jacobian import fold_statistics
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import write_field
from deepreg_meta.geometry.resample import Interpolation, resample
from deepreg_meta.geometry.transform import Field, Transform
from deepreg_meta.geometry.volume_file import save_volume

logger = logging.getLogger(__name__)

STAMP_NAME = "known_truth.json"


@dataclass(frozen=True, eq=False)
class KnownPair:
    """
    A pair with its truth, on one grid.

    :param moving_image: (d1, d2, d3), the image.
    :param fixed_image: (d1, d2, d3) float32, the image warped.
    :param moving_labels: (d1, d2, d3) or (d1, d2, d3, L), or None.
    :param fixed_labels: likewise.
    :param truth: fixed to moving image, mm.
    """

    moving_image: NDArray
    fixed_image: NDArray
    moving_labels: NDArray | None
    fixed_labels: NDArray | None
    truth: Field


def make_pair(
    image: NDArray,
    ddf: NDArray,
    affine: NDArray,
    labels: NDArray | None = None,
    label_interpolation: Interpolation = "nearest",
) -> KnownPair:
    """
    Warp an image and its labels by a field, which is the pair's truth.

    :param image: (d1, d2, d3).
    :param ddf: u, (d1, d2, d3, 3), in voxels.
    :param affine: (4, 4), voxel to world.
    :param labels: (d1, d2, d3), an index map or one structure, or (d1, d2, d3, L).
    :param label_interpolation: nearest, or linear for soft labels.
    :return: the pair; beyond the image there are zeros. Its truth is rounded to the
        float32 of a file first, so that warping by what is read back gives the fixed
        image again.
    :raises GeometryError: when the field is not on the image's grid.
    """
    grid = Grid((image.shape[0], image.shape[1], image.shape[2]), affine)
    vectors = (ddf @ grid.affine[:3, :3].T).astype(np.float32)
    truth = Field(grid, vectors)

    def warped(volumes: NDArray, interpolation: Interpolation) -> NDArray:
        return resample(volumes, grid, grid, Transform((truth,)), interpolation)

    fixed_labels = None
    if labels is not None and labels.ndim == 4:
        channels = np.moveaxis(labels, 3, 0)
        fixed_labels = np.moveaxis(warped(channels, label_interpolation), 0, 3)
    elif labels is not None:
        fixed_labels = warped(labels, label_interpolation)
    return KnownPair(image, warped(image, "linear"), labels, fixed_labels, truth)


def write_known_truth(
    image_dir: str | Path,
    out_dir: str | Path,
    options: FieldOptions,
    seed: int = 0,
    label_dir: str | Path | None = None,
    names: Sequence[str] | None = None,
    fields_per_image: int = 1,
    shape: Sequence[int] | None = None,
) -> Path:
    """
    Write pairs with known truth in DeepReg's paired NIfTI layout, or reuse those there.

    The folder holds moving_images, fixed_images, moving_labels and fixed_labels with
    files <image>_<number>.nii.gz, truth with the fields (intent 1007, mm, as
    `deepreg_warp` and `compare_fields` read them), and `known_truth.json` with the
    parameters and, for each case, its energy, the share of folds and the least Jacobian
    determinant. A case depends on the seed, the name of its image and its number alone,
    not on which other images are there.

    Of images that state no mm, such as PNG files, each pixel counts as 1 mm: NIfTI has
    no other way to say it, and whoever reads the pairs takes it for mm. With
    `dataset.spacing_mm: 1` a run counts voxels again, and says so.

    Intensities are those of the image. A run scales each image by its own range, and
    what was warped has often lost its extremes: to keep both alike, let it end
    `dataset.intensity` with `{name: clip, range: [low, high]}`.

    The field of a 2-D image is one of a single slice, which ITK's reader does not take
    for a transform: see `write_field`.

    :param image_dir: with .nii, .nii.gz or grey .png files.
    :param out_dir: a new or empty folder, or one this call has filled before.
    :param options: which fields are drawn.
    :param seed: integer >= 0.
    :param label_dir: with a file of the same stem for each image: an index map, a
        structure or channels, interpolated linearly where they are soft; None writes no
        labels.
    :param names: stems of the images to take; None takes all.
    :param fields_per_image: pairs made of each image, >= 1.
    :param shape: (d1, d2, d3), or (d1, d2) of images, to which images and labels are
        brought first, their outer faces staying in place; None keeps the shape of each.
    :return: `out_dir` as a path. It is written whole or not at all.
    :raises ValueError: when a file is missing or cannot be used, or the folder holds
        anything else.
    """
    if seed < 0 or fields_per_image < 1:
        raise ValueError(
            "known_truth: expected seed >= 0 and fields_per_image >= 1, got "
            f"{seed} and {fields_per_image}."
        )
    sources = find_images(image_dir, label_dir, names)
    size = None if shape is None else _three_sides(shape)
    parameters = {
        "image_dir": str(image_dir),
        "label_dir": None if label_dir is None else str(label_dir),
        "seed": int(seed),
        "images": [source.name for source in sources],
        "fields_per_image": int(fields_per_image),
        "shape": None if size is None else list(size),
        "field": asdict(options) | {"width": [float(w) for w in options.width]},
    }
    out_dir = Path(out_dir).expanduser()
    if _is_complete(out_dir, parameters):
        logger.info("Reusing the pairs with known truth in %s.", out_dir)
        return out_dir
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(
            f"known_truth out_dir: expected a new or empty folder, or one with these "
            f"very pairs, got {out_dir} with other content. Choose another folder, or "
            "remove it."
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        cases = {}
        for source in sources:
            single = read_image(source, size)
            for number in range(fields_per_image):
                rng = _generator(seed, source.name, number)
                name = f"{source.name}_{number}"
                cases[name] = _write_case(part, name, single, options, rng)
        stamp = {"parameters": parameters, "cases": cases}
        (part / STAMP_NAME).write_text(json.dumps(stamp, indent=2) + "\n")
        part.rename(out_dir)
    except BaseException:  # an interrupt too must leave nothing half-written
        shutil.rmtree(part, ignore_errors=True)
        raise
    return out_dir


def _three_sides(shape: Sequence[int]) -> Shape:
    """:raises ValueError: for other than two or three sides of 1 and more."""
    sides = [int(side) for side in shape]
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise ValueError(f"shape: expected two or three integers >= 1, got {shape}.")
    d1, d2, d3 = (*sides, 1)[:3]
    return d1, d2, d3


def _is_complete(out_dir: Path, parameters: dict[str, Any]) -> bool:
    """Say whether a folder holds these very pairs; every file must still be there."""
    stamp = out_dir / STAMP_NAME
    if not stamp.is_file():
        return False
    kinds = 3 if parameters["label_dir"] is None else 5
    number = len(parameters["images"]) * parameters["fields_per_image"]
    found = json.loads(stamp.read_text()).get("parameters")
    return found == parameters and len(list(out_dir.glob("*/*.nii.gz"))) == (
        kinds * number
    )


def _generator(seed: int, name: str, number: int) -> np.random.Generator:
    """Return the source of a case's randomness, the same whatever else is written."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


def _write_case(
    folder: Path,
    name: str,
    single: SingleImage,
    options: FieldOptions,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Draw and write a case; return what is worth knowing of it."""
    kind: Interpolation = "linear" if single.is_soft else "nearest"
    ddf = draw_field(rng, single.grid.shape, options)
    pair = make_pair(single.image, ddf, single.grid.affine, single.labels, kind)
    _save_pair(folder, f"{name}.nii.gz", pair)
    return _describe(ddf, options)


def _describe(ddf: NDArray, options: FieldOptions) -> dict[str, float]:
    """Return the figures of a truth."""
    folds = fold_statistics(ddf)
    return {
        "sigma": deformation_energy(ddf, options.reference),
        "longest_vox": float(np.linalg.norm(ddf, axis=-1).max()),
        "share_nonpositive": folds["share_nonpositive"],
        "min_determinant": folds["min"],
    }


def _save_pair(folder: Path, filename: str, pair: KnownPair) -> None:
    """Write the files of a case."""
    affine = pair.truth.grid.affine
    volumes = {
        "moving_images": pair.moving_image,
        "fixed_images": pair.fixed_image,
        "moving_labels": pair.moving_labels,
        "fixed_labels": pair.fixed_labels,
    }
    for kind, volume in volumes.items():
        if volume is not None:
            save_volume(folder / kind / filename, volume, affine)
    write_field(folder / "truth" / filename, pair.truth)
