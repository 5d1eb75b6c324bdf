"""
Make an unpaired TRUS data set of the fixed images of MR-TRUS pairs.

    python demos/meta_registration/demo_data.py --from DIR

DIR holds train/ and valid/ in DeepReg's paired layout. The gland labels are taken along
for scoring; training and adaptation do not look at them.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from deepreg_meta import command_line as cli

HERE = Path(__file__).resolve().parent
DATASET = HERE / "dataset"
SPLITS = {"train": "train", "valid": "valid", "test": "valid"}


def copy_split(source: Path, target: Path) -> int:
    """
    Copy the fixed images of a split and the first channel of their labels.

    :param source: with fixed_images and fixed_labels.
    :param target: gets images and labels.
    :return: number of images.
    :raises FileNotFoundError: when there are no images.
    """
    files = sorted((source / "fixed_images").glob("*.nii*"))
    if len(files) < 2:
        raise FileNotFoundError(
            f"--from: expected two or more images in {source / 'fixed_images'}, found "
            f"{len(files)}."
        )
    for kind in ("images", "labels"):
        (target / kind).mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, target / "images" / file.name)
        save_gland(source / "fixed_labels" / file.name, target / "labels" / file.name)
    return len(files)


def save_gland(source: Path, target: Path) -> None:
    """
    Write the first channel of a label file.

    :param source: (d1, d2, d3) or (d1, d2, d3, L), the gland first.
    :param target: (d1, d2, d3), uint8.
    """
    label = nib.load(source)
    gland = np.asarray(label.dataobj)
    gland = gland[..., 0] if gland.ndim == 4 else gland
    nib.save(nib.Nifti1Image(gland.astype(np.uint8), label.affine), target)


def make_dataset(source: Path) -> Path:
    """
    Make the data set anew and write the YAML file that names it.

    :param source: with train and valid.
    :return: the YAML file.
    """
    working = DATASET / ".trus"
    shutil.rmtree(working, ignore_errors=True)
    for split in set(SPLITS.values()):
        copy_split(source / split, working / split)
    target = DATASET / "trus"
    shutil.rmtree(target, ignore_errors=True)
    working.rename(target)
    folders = {mode: str(target / split) for mode, split in SPLITS.items()}
    path = DATASET / "real.yaml"
    path.write_text(yaml.safe_dump({"dataset": {"dir": folders}}))
    return path


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--from", dest="source", required=True, type=Path)
    parsed = parser.parse_args(args)
    return cli.run(
        lambda: make_dataset(parsed.source.expanduser()), "The folders are in {}"
    )


if __name__ == "__main__":
    sys.exit(main())
