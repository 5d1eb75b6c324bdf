"""The files of one registered pair, in the fixed image's space."""

import logging
from pathlib import Path

import numpy as np

from deepreg_meta.evaluate.figure import case_figure
from deepreg_meta.evaluate.learn2reg import (
    export_learn2reg,
    image_numbers,
    is_short_pair,
    plain_name,
)
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.inverse import Residual, invert
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.transform_file import save_deepreg_ddf, save_transform
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.geometry.whole_file import suffix_of
from deepreg_meta.results.case import STAGES, CaseResult
from deepreg_meta.results.outputs import Outputs
from deepreg_meta.results.scene import Scene
from deepreg_meta.results.score import score

logger = logging.getLogger(__name__)


def write_case(folder: Path, result: CaseResult, outputs: Outputs) -> CaseResult:
    """
    Score a pair and write its files below `folder/<case>/`.

    :param folder: of all results.
    :param result: of the pair; its rows are filled in.
    :param outputs: which files.
    :return: the result.
    """
    scene = Scene(result)
    score(scene)
    write_files(folder / result.case.name, scene, outputs, folder)
    return result


def write_files(own: Path, scene: Scene, outputs: Outputs, folder: Path) -> None:
    """
    Write the files of a scored pair.

    :param own: folder of the pair; made where a file is wanted.
    :param scene: of the pair.
    :param outputs: which files.
    :param folder: of all results; fields for Learn2Reg lie in one folder below it.
    """
    if not outputs.is_none:
        own.mkdir(parents=True, exist_ok=True)
    if outputs.volumes:
        _write_volumes(own, scene)
    if outputs.formats:
        try:
            _write_transforms(own, scene, outputs)
            if "learn2reg" in outputs.formats:
                _export_learn2reg(folder / "learn2reg", scene)
        except GeometryError as err:  # a network that diverged; its scores say so too
            logger.warning("No transform is written: %s", err)
    if outputs.figure:
        _draw(own / "figure.png", scene)


def _write_volumes(own: Path, scene: Scene) -> None:
    case, warped = scene.result.case, scene.warped("adapted")
    volumes = {"fixed_image": scene.fixed_image, "warped_image": warped.image}
    labels = [] if warped.labels is None else list(warped.labels)
    for name, label in zip(case.label_names, labels, strict=True):
        volumes[f"warped_label_{name}"] = label >= 0.5
    for name, volume in volumes.items():
        path = own / f"{name}.nii.gz"
        save_volume(path, volume, scene.fixed_grid.affine, scene.is_planar)
    sources = case.fixed_source, case.moving_source
    # of a fixed image with a place of its own, a picture would lie elsewhere
    if scene.is_planar and all(own.layout == "picture" for own in sources):
        sides = scene.fixed_grid.spacing_mm[:2]
        save_picture(own / "warped_image.png", warped.image, spacing=sides)


def _write_transforms(own: Path, scene: Scene, outputs: Outputs) -> None:
    """Write the transform in the formats asked for; a bad field raises."""
    fixed, moving = scene.fixed_grid, scene.moving_grid
    transform = scene.transform("adapted")
    scene.result.field("adapted").check_finite(scene.result.case.name)
    flat = scene.is_planar
    if "h5" in outputs.formats:
        save_transform(own / "transform.h5", transform, fixed, flat)
    if "nifti" in outputs.formats:
        save_transform(own / "ddf.nii.gz", transform, fixed, flat)
    if "deepreg" in outputs.formats:
        save_deepreg_ddf(own / "ddf_deepreg.nii.gz", transform, fixed, moving)
    if outputs.inverse:
        inverse, residual = invert(transform, fixed)
        if set(outputs.formats) != {"nifti"}:
            save_transform(own / "transform_inverse.h5", inverse, moving, flat)
        if "nifti" in outputs.formats:
            save_transform(own / "ddf_inverse.nii.gz", inverse, moving, flat)
        scene.result.case_row |= _residual_columns(scene, residual)


def _export_learn2reg(folder: Path, scene: Scene) -> None:
    """Write the challenge's field, where the images are of one shape as all of its."""
    transform = scene.transform("adapted")
    fixed, moving = scene.fixed_grid, scene.moving_grid
    if fixed.shape != moving.shape:
        logger.warning(
            "%s: no field for Learn2Reg is written, whose images are of one shape, not "
            "of %s (fixed) and %s (moving).",
            scene.result.case.name,
            fixed.shape,
            moving.shape,
        )
        return
    case = scene.result.case
    ids = learn2reg_ids(case.fixed_source.path, case.moving_source.path)
    if (folder / f"disp_{'_'.join(ids)}.nii.gz").exists():  # of files of equal names
        ids = plain_name(case.name), "_".join(ids)
        logger.warning(
            "%s: the images of another pair have the same names; the field for "
            "Learn2Reg is disp_%s.nii.gz.",
            case.name,
            "_".join(ids),
        )
    export_learn2reg(folder, *ids, transform, fixed, moving)


def learn2reg_ids(fixed: str, moving: str) -> tuple[str, str]:
    """
    Name both images as `deepreg_evaluate` looks for the field of their pair.

    :param fixed: path of the fixed image.
    :param moving: path of the moving image.
    :return: of fixed and moving image: subject numbers, with the modality where the
        challenge wants it; of files with other names their stems.
    """
    of_fixed, of_moving = image_numbers(fixed), image_numbers(moving)
    if of_fixed is None or of_moving is None:
        # of HDF5 the key counts
        names = (Path(path.split(", key ")[-1]).name for path in (fixed, moving))
        stems = [name.removesuffix(suffix_of(name)) for name in names]
        return plain_name(stems[0]), plain_name(stems[1])
    if is_short_pair(of_fixed[1], of_moving[1]):
        return of_fixed[0], of_moving[0]
    return "_".join(of_fixed), "_".join(of_moving)


def _residual_columns(scene: Scene, residual: Residual) -> dict[str, float]:
    """Return how exact an inverse is, as columns of a case's row."""
    # where the configuration overrides the spacing, lengths are counted in its units
    scale = float(np.mean(scene.fixed_spacing_mm / scene.fixed_grid.spacing_mm))
    return {
        "inverse_residual_mean_mm": scale * residual.mean_mm,
        "inverse_residual_max_mm": scale * residual.max_mm,
    }


def _draw(path: Path, scene: Scene) -> None:
    result = scene.result
    case, row = result.case, result.case_row
    title = case.name
    if "dsc_adapted" in row:
        title += "   Dice " + " / ".join(f"{row[f'dsc_{s}']:.3f}" for s in STAGES)
        title += " (before / unadapted / adapted)"
    labels = {}
    if scene.fixed_labels is not None:
        before, adapted = (scene.warped(s).labels for s in ("before", "adapted"))
        labels = dict(
            fixed_label=scene.fixed_labels[0],
            moving_label_aligned=None if before is None else before[0],
            warped_label=None if adapted is None else adapted[0],
        )
    case_figure(
        path,
        fixed_image=scene.fixed_image,
        moving_image_aligned=scene.warped("before").image,
        warped_image=scene.warped("adapted").image,
        ddf=scene.ddf("adapted"),
        spacing_mm=scene.fixed_spacing_mm,
        frames=scene.frames if result.is_sparse else None,
        frame_axis=scene.frame_axis if result.is_sparse else None,
        frames_alone=result.is_open,
        title=title,
        unit=result.unit,
        orientation=case.display,
        **labels,
    )
