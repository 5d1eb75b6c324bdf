"""Pairs on disk that are small and whose scores are known, and ways to spoil them."""

from pathlib import Path

import nibabel as nib
import numpy as np

from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.volume_file import save_volume
from tests.helpers import ball

FIXED, MOVING = (12, 10, 8), (13, 11, 9)
SPACING = np.array([1.0, 2.0, 1.5])
SHIFT = np.array([1.0, 0.0, 1.0])  # voxels that the moving structures lie further on
SFORM = 280  # where the rows of a NIfTI header's affine begin, in bytes


def affine(shape, spacing=SPACING, centre=(10.0, -20.0, 30.0), turn=None):
    """:return: of a grid with its middle at `centre`."""
    columns = (np.eye(3) if turn is None else np.asarray(turn)) @ np.diag(spacing)
    return from_parts(columns, centre - columns @ (np.array(shape) - 1) / 2)


def volumes(seed, shape, shift=(0, 0, 0)):
    """:return: an image, and a gland with a landmark in it, channels last."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) - 1) / 2 + shift
    labels = [ball(shape, centre, 2.6), ball(shape, centre + (1, -1, 0), 0.9)]
    image = 20 * rng.random(shape) + 100 * labels[0]
    return image.astype(np.float32), np.stack(labels, -1).round().astype(np.uint8)


def write_split(folder: Path, seeds) -> None:
    """Write a case for each seed in DeepReg's layout."""
    for number, seed in enumerate(seeds):
        for role, shape, shift in (
            ("fixed", FIXED, np.zeros(3)),
            ("moving", MOVING, SHIFT),
        ):
            case = f"case{number}.nii.gz"
            image, labels = volumes(seed + 100 * (role == "moving"), shape, shift)
            for kind, volume in ((f"{role}_images", image), (f"{role}_labels", labels)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                save_volume(folder / kind / case, volume, affine(shape))


def change(path: Path, edit=None, **header) -> None:
    """
    Write a file again with other voxels, or another affine, unit or name.

    :param path: of the file.
    :param edit: takes the voxels and gives others.
    :param header: `affine`, `unit`.
    """
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    voxels = voxels if edit is None else np.asarray(edit(voxels.copy()))
    new = nib.Nifti1Image(voxels, header.get("affine", image.affine))
    new.header.set_xyzt_units(header.get("unit", "mm"))
    nib.save(new, path)


def spoil_affine(path: Path, matrix) -> Path:
    """
    Write a matrix into a header that nibabel would refuse to write.

    :return: the file, which is not compressed any more.
    """
    image = nib.load(path)
    plain = path.with_suffix("")  # .nii
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), plain)
    path.unlink()
    content = bytearray(plain.read_bytes())
    rows = np.asarray(matrix, "<f4")[:3].tobytes()
    content[SFORM : SFORM + len(rows)] = rows
    plain.write_bytes(bytes(content))
    return plain


def titles(findings, level=None):
    """:return: the titles of findings, of a level."""
    return {f.title for f in findings if level in (None, f.level)}


def texts(findings, title):
    """:return: the texts below a title."""
    return [finding.text for finding in findings if finding.title == title]
