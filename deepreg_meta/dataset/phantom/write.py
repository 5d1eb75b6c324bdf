"""Phantom data sets on disk: written whole or not at all, and reused."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from deepreg_meta.dataset.phantom.case import (
    GENERATOR_VERSION,
    PhantomCase,
    check_seed,
    make_case,
)
from deepreg_meta.dataset.phantom.grid import FIXED_SHAPE, MOVING_SHAPE, check_shape
from deepreg_meta.dataset.phantom.nifti import save_pair, save_single

logger = logging.getLogger(__name__)

STAMP_NAME = "phantom.json"
SPLITS = ("train", "valid", "test")
_SEEDS_PER_SPLIT = 100_000


def default_phantom_dir(parameters: dict) -> Path:
    """
    Give the cache folder of a phantom data set; nothing is created.

    It lies in the folder named by the environment variable DEEPREG_META_CACHE, else
    in ~/.cache/deepreg_meta.

    :param parameters: what the set depends on, of JSON types; any key order.
    :return: a path whose name holds a hash of parameters and generator version.
    """
    root = os.environ.get("DEEPREG_META_CACHE") or "~/.cache/deepreg_meta"
    text = json.dumps([GENERATOR_VERSION, parameters], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Path(root).expanduser() / f"phantom_{key}"


def write_dataset(
    out_dir: str | Path,
    num_train: int,
    num_valid: int,
    num_test: int,
    seed: int = 0,
    moving_shape: tuple[int, int, int] = MOVING_SHAPE,
    fixed_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> Path:
    """
    Write phantom pairs in DeepReg's paired NIfTI layout, or reuse those there.

    train, valid and test each hold moving_images, fixed_images, moving_labels and
    fixed_labels with files case000000.nii.gz and so on; label files are
    (d1, d2, d3, L) uint8 with the gland first.

    :param out_dir: a new or empty folder, or one this call has filled before.
    :param num_train: number of training pairs; likewise num_valid and num_test.
    :param seed: integer >= 0; a split's first cases do not depend on the counts.
    :return: `out_dir` as a path.
    :raises ValueError: when a number or shape is out of range, or the folder holds
        anything else.
    """
    counts = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    parameters = _parameters(
        "paired", seed, counts, moving_shape=moving_shape, fixed_shape=fixed_shape
    )

    def make(case_seed: int) -> PhantomCase:
        return make_case(case_seed, moving_shape, fixed_shape)

    return _write(out_dir, parameters, make, save_pair)


def write_unpaired_dataset(
    out_dir: str | Path,
    num_train: int,
    num_valid: int,
    num_test: int,
    seed: int = 0,
    image_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> Path:
    """
    Write TRUS phantoms of different subjects in DeepReg's unpaired NIfTI layout.

    train, valid and test each hold images and labels; a label file is the gland,
    (d1, d2, d3) uint8. Parameters, reuse and errors are those of `write_dataset`.

    :param image_shape: sides of the one grid that all volumes share.
    :return: `out_dir` as a path.
    """
    counts = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    parameters = _parameters("unpaired", seed, counts, image_shape=image_shape)

    def make(case_seed: int) -> PhantomCase:
        return make_case(case_seed, image_shape, image_shape)

    return _write(out_dir, parameters, make, save_single)


def _parameters(kind: str, seed: int, counts: dict[str, int], **shapes: tuple) -> dict:
    """Collect and check what determines a data set; the stamp and the cache key."""
    check_seed(seed)
    for split, num in counts.items():
        if not 0 <= num < _SEEDS_PER_SPLIT:
            raise ValueError(
                f"phantom num_{split}: expected an integer from 0 to "
                f"{_SEEDS_PER_SPLIT - 1}, got {num}."
            )
    return {
        "kind": kind,
        "generator_version": GENERATOR_VERSION,
        "seed": int(seed),
        **{f"num_{split}": int(num) for split, num in counts.items()},
        **{name: list(check_shape(name, shape)) for name, shape in shapes.items()},
    }


def _is_complete(out_dir: Path, parameters: dict) -> bool:
    """Say whether a folder holds this very set; every file must still be there."""
    stamp = out_dir / STAMP_NAME
    if not stamp.is_file():
        return False
    kinds = 4 if parameters["kind"] == "paired" else 2
    found = json.loads(stamp.read_text())
    num = [len(list((out_dir / s).glob("*/*.nii.gz"))) for s in SPLITS]
    return found == parameters and num == [
        kinds * parameters[f"num_{split}"] for split in SPLITS
    ]


def _readme(parameters: dict) -> str:
    return (
        "SYNTHETIC phantom data made by deepreg_meta; no patient is shown.\n"
        f"Parameters: {json.dumps(parameters)}\n"
        "Axes: 0 anterior to posterior (rectum and probe at its high end), 1 left to\n"
        "right, 2 inferior to superior; affines say the same (PRS) in mm. Both grids\n"
        "are centred at the world's origin, so the affines alone align grid centres.\n"
        "Label files: values 0 and 1. Paired sets have one structure per entry of the\n"
        "last axis, the gland first, then landmarks; unpaired sets the gland only.\n"
    )


def _fill(
    folder: Path,
    parameters: dict,
    make: Callable[[int], PhantomCase],
    save: Callable[[Path, str, PhantomCase], None],
) -> None:
    """Write the cases of all splits, and the stamp last."""
    for index, split in enumerate(SPLITS):
        (folder / split).mkdir()
        first = parameters["seed"] * len(SPLITS) * _SEEDS_PER_SPLIT
        first += index * _SEEDS_PER_SPLIT  # one case never shows in two splits
        for i in range(parameters[f"num_{split}"]):
            save(folder / split, f"case{i:06d}.nii.gz", make(first + i))
    (folder / "README.txt").write_text(_readme(parameters))
    (folder / STAMP_NAME).write_text(json.dumps(parameters, indent=2) + "\n")


def _write(
    out_dir: str | Path,
    parameters: dict,
    make: Callable[[int], PhantomCase],
    save: Callable[[Path, str, PhantomCase], None],
) -> Path:
    """Write all splits into a temporary folder beside `out_dir`, then rename it."""
    out_dir = Path(out_dir)
    if _is_complete(out_dir, parameters):
        logger.info("Reusing the phantom data set in %s.", out_dir)
        return out_dir
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(
            f"phantom out_dir: expected a new or empty folder, or one that holds this "
            f"very phantom data set, got {out_dir} with other content. Choose another "
            f"folder, or remove it."
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        _fill(part, parameters, make, save)
        part.rename(out_dir)
    except BaseException as err:  # an interrupt too must leave nothing half-written
        shutil.rmtree(part, ignore_errors=True)
        # another process may have finished the same set in the meantime
        if isinstance(err, OSError) and _is_complete(out_dir, parameters):
            return out_dir
        raise
    return out_dir
