"""
Get the data of the MR-TRUS demo: generated phantom cases, or real pairs.

    python demos/meta_trus/demo_data.py
    python demos/meta_trus/demo_data.py --source real --from DIR
    python demos/meta_trus/demo_data.py --source real

Each way ends with dataset/<source>.yaml, which names the folders and which training
merges last. Files at hand (--from) are checked and used where they are; without --from
DeepReg's public example pairs are downloaded.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from public_pairs import count_pairs, fetch_public_pairs

from deepreg_meta import command_line as cli
from deepreg_meta.config import check_paths, load_config
from deepreg_meta.config.dataset_schema import MODES
from deepreg_meta.dataset import phantom

logger = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent
DATASET = HERE / "dataset"
BASE = HERE.parents[1] / "config" / "meta_trus.yaml"
REAL = HERE / "meta_trus_real.yaml"
SOURCES = ("phantom", "real")
STAMP = "phantom.json"  # what `write_dataset` leaves in a folder of its own
Splits = dict[str, str | None]


def config_files(source: str) -> list[str]:
    """
    List the YAML files of a training run, to be merged left to right.

    :param source: phantom or real.
    :raises FileNotFoundError: when the data have not been prepared.
    """
    folders = DATASET / f"{source}.yaml"
    if not folders.is_file():
        raise FileNotFoundError(
            f"{folders}: expected the list of data folders, found none. Run "
            f"`python {HERE / 'demo_data.py'} --source {source}` first."
        )
    own = [REAL] if source == "real" else []
    return [str(path) for path in (BASE, *own, folders)]


def make_phantom(folder: Path) -> Splits:
    """
    Generate the phantom that config/meta_trus.yaml describes, unless it is there.

    :param folder: new, empty, or filled by an earlier call; another phantom in it is
        replaced.
    :return: the folder of each split.
    """
    dataset = load_config(BASE).dataset
    options = dataset.phantom
    counts = (options.num_train, options.num_valid, options.num_test)
    arguments = dict(
        seed=options.seed,
        moving_shape=dataset.moving_shape,
        fixed_shape=dataset.fixed_shape,
    )
    logger.info("%d phantom pairs; each new one takes a second or so.", sum(counts))
    try:
        phantom.write_dataset(folder, *counts, **arguments)
    except ValueError:
        if not (folder / STAMP).is_file():
            raise
        shutil.rmtree(folder)  # made by an earlier configuration
        phantom.write_dataset(folder, *counts, **arguments)
    pairs = zip(MODES, counts, strict=True)
    return {split: str(folder / split) if count else None for split, count in pairs}


def find_splits(folder: Path) -> Splits:
    """
    Check a folder of real pairs in DeepReg's layout.

    :param folder: holds train and test, or train and valid, whose cases are then both
        validated and tested on; each with moving_images, fixed_images, moving_labels
        and fixed_labels.
    :return: the folder of each split, absolute.
    :raises FileNotFoundError: for a missing folder.
    :raises ValueError: for a missing sub-folder, or files without partners.
    """
    folder = folder.expanduser().resolve()
    found = {mode: folder / mode for mode in MODES if (folder / mode).is_dir()}
    if "train" not in found or len(found) < 2:
        raise FileNotFoundError(
            f"{folder}: expected a folder with train and with valid or test, found "
            f"{', '.join(found) or 'none of them'}."
        )
    splits: Splits = {mode: str(found[mode]) for mode in found}
    splits.setdefault("valid", None)
    splits.setdefault("test", splits["valid"])
    config = load_config([BASE, REAL], {"dataset": {"dir": splits}}, f"from {folder}")
    for mode, path in found.items():
        check_paths(config, mode)
        logger.info("%s: %d pairs.", path, count_pairs(path))
    return splits


def prepare(source: str, origin: str | None = None, sha256: str = "") -> Path:
    """
    Get the data and write down where they are.

    :param source: phantom or real.
    :param origin: folder of real pairs at hand; None downloads the public ones.
    :param sha256: of the public archive, "" for any.
    :return: the YAML file that names the folders.
    :raises ValueError: for data that cannot be used.
    :raises FileNotFoundError: for data that cannot be had.
    """
    if source == "phantom" and origin is not None:
        raise ValueError("--from: expected --source real with it, got phantom.")
    if source == "phantom":
        splits = make_phantom(DATASET / "phantom")
    elif origin is not None:
        splits = find_splits(Path(origin))
    else:
        splits = find_splits(fetch_public_pairs(DATASET / "mr_trus", sha256=sha256))
    path = DATASET / f"{source}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"dataset": {"dir": splits}}, sort_keys=False)
    path.write_text(f"# Written by demo_data.py.\n{text}")
    return path


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parser = argparse.ArgumentParser(description="Get the data of the MR-TRUS demo.")
    parser.add_argument(
        "--source", choices=SOURCES, default="phantom", help="Default: phantom."
    )
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="DIR",
        help="With --source real: folder of pairs at hand, with train and with valid "
        "or test. Default: download DeepReg's public pairs.",
    )
    parser.add_argument(
        "--sha256", default="", help="Expected SHA-256 of the archive. Default: any."
    )
    parsed = parser.parse_args(args)
    return cli.run(
        lambda: prepare(parsed.source, parsed.origin, parsed.sha256),
        "The data folders are named in {}",
    )


if __name__ == "__main__":
    sys.exit(main())
