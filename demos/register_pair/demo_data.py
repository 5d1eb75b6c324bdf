"""
Sort the hippocampus volumes of the Medical Segmentation Decathlon into folders.

    python demos/register_pair/demo_data.py --from DIR

DIR holds images/ and labels/ (or imagesTr/ and labelsTr/, as the challenge calls them)
with files of the same names. Names that DIR/pairs_40.json lists as `test` are left out.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from deepreg_meta import command_line as cli

HERE = Path(__file__).parent
DATASET = HERE / "dataset"
NUM_VALID = 8  # every so many-th image is held out, see `split_names`


def split_names(names: Sequence[str], left_out: set[str]) -> dict[str, list[str]]:
    """
    Split the images into those for training and those held out.

    :param names: of all images.
    :param left_out: those of neither split.
    :return: train and valid; the latter are spread evenly over the sorted names.
    """
    usable = sorted(set(names) - left_out)
    step = len(usable) // NUM_VALID
    valid = usable[step // 2 :: step][:NUM_VALID]
    return {"train": sorted(set(usable) - set(valid)), "valid": valid}


def find_folder(source: Path, *names: str) -> Path:
    """
    Find a folder under one of its names.

    :param source: that holds it.
    :param names: it may have.
    :raises FileNotFoundError: when it has none of them.
    """
    found = [source / name for name in names if (source / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"--from: expected a folder {' or '.join(names)} in {source}, found none."
        )
    return found[0]


def read_left_out(path: Path) -> set[str]:
    """
    Read the names of the test images.

    :param path: JSON, a list of {test: name, ...}; need not exist.
    """
    if not path.is_file():
        return set()
    return {pair["test"] for pair in json.loads(path.read_text())}


def make_dataset(source: Path) -> Path:
    """
    Make the data set anew and write the YAML file that names it.

    :param source: with images and labels.
    :return: the YAML file.
    """
    folders = {
        "images": find_folder(source, "images", "imagesTr"),
        "labels": find_folder(source, "labels", "labelsTr"),
    }
    files = {p.name.split(".")[0]: p.name for p in folders["images"].glob("*.nii*")}
    splits = split_names(list(files), read_left_out(source / "pairs_40.json"))
    working = DATASET / ".hippocampus"
    shutil.rmtree(working, ignore_errors=True)
    for split, names in splits.items():
        for kind, folder in folders.items():
            (working / split / kind).mkdir(parents=True)
            for name in names:
                shutil.copy(folder / files[name], working / split / kind)
    target = DATASET / "hippocampus"
    shutil.rmtree(target, ignore_errors=True)
    working.rename(target)
    dirs = {split: str(target / split) for split in splits}
    path = DATASET / "folders.yaml"
    path.write_text(yaml.safe_dump({"dataset": {"dir": dirs | {"test": None}}}))
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
