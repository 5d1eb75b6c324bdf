"""
Which checkpoint a path names, and what its run says of itself.

Without TensorFlow, so that errors come at once.
"""

import json
import re
from pathlib import Path

CHECKPOINT_NAME = "ckpt"
DATA_FILE = "data.json"  # what the training images looked like, in a run's folder


def name_checkpoint(checkpoint: str) -> str:
    """
    Say what registered, for the head of a configuration.

    :param checkpoint: its path; "" without a network.
    """
    return f"checkpoint {checkpoint or 'none: no network took part'}"


def newest_checkpoint(path: str | Path) -> str:
    """
    Find the checkpoint that --ckpt_path names.

    :param path: a checkpoint, `.../save/ckpt-10`, or a folder: of a run, whose newest
        checkpoint in `save` is taken, or of checkpoints.
    :return: the checkpoint's path without `.index`.
    :raises FileNotFoundError: when there is none.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        text = str(path).removesuffix(".index")
        if not Path(text + ".index").is_file():
            raise FileNotFoundError(
                "--ckpt_path: expected a checkpoint such as logs/<run>/save/ckpt-10 or "
                f"the folder of a run, got {path}, which does not exist."
            )
        return text
    folder = path / "save" if (path / "save").is_dir() else path
    numbers = [
        int(match.group(1))
        for file in folder.glob(f"{CHECKPOINT_NAME}-*.index")
        if (match := re.fullmatch(rf"{CHECKPOINT_NAME}-(\d+)\.index", file.name))
    ]
    if not numbers:
        raise FileNotFoundError(
            "--ckpt_path: expected a folder with checkpoints ckpt-<epoch>, "
            f"got {path}, which has none. Was the training interrupted before its "
            "first save?"
        )
    return str(folder / f"{CHECKPOINT_NAME}-{max(numbers)}")


def epoch_of(checkpoint: str) -> int:
    """
    Return the number of epochs that led to a checkpoint.

    :param checkpoint: ends in -<epoch>.
    :raises ValueError: when it does not.
    """
    number = checkpoint.rsplit("-", 1)[-1]
    if not number.isdigit():
        raise ValueError(
            f"--ckpt_path: expected a name that ends in ckpt-<epoch>, got {checkpoint}."
        )
    return int(number)


def run_of(checkpoint: str) -> Path:
    """Return the folder of the run that wrote a checkpoint, as an absolute path."""
    # of `ckpt-1` alone, in the folder `save`, the parent's parent is above that folder
    return Path(checkpoint).absolute().parent.parent


def training_data(checkpoint: str) -> dict | None:
    """
    Read what the training images of a checkpoint's run looked like.

    :param checkpoint: path of the checkpoint; "" for none.
    :return: as `dataset.describe` has it; None without a checkpoint, and for runs of
        older versions, which say nothing of it.
    """
    if not checkpoint:
        return None
    path = run_of(checkpoint) / DATA_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
