"""
Train a registration network: `deepreg_train --config config/meta_trus.yaml`.

Configurations with `train.method: reptile` are meta-trained here; all others are handed
to DeepReg. TensorFlow is imported only after the command line has been read.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

if TYPE_CHECKING:
    from deepreg_meta.config import RunConfig

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: DeepReg's flags, --fine-tune and --version."""
    parser = arguments.new_parser(
        "deepreg_train",
        "Train a registration network from one or more YAML files.",
        "example: deepreg_train --config config/meta_trus.yaml --log_dir first",
    )
    arguments.add_common_arguments(parser, config_required=True)
    parser.add_argument(
        "--ckpt_path",
        "-k",
        default="",
        help="Checkpoint to continue from, or the folder of a run: its newest one.",
    )
    parser.add_argument(
        "--fine-tune",
        action="store_true",
        help="Take the weights of --ckpt_path alone and train them anew, from epoch 0 "
        "with new optimisers, such as on data of another domain.",
    )
    parser.add_argument(
        "--max_epochs",
        type=int,
        default=-1,
        help="Number of epochs instead of train.epochs; -1 follows the configuration.",
    )
    return parser


def train(
    config_path: str | Sequence[str],
    gpu: str | None = None,
    gpu_allow_growth: bool = False,
    ckpt_path: str = "",
    log_dir: str = "",
    log_root: str = "logs",
    max_epochs: int = -1,
    fine_tune: bool = False,
) -> Path:
    """
    Train a network.

    :param config_path: YAML files, merged left to right.
    :param gpu: GPU indices, such as "0,1"; "" the CPU; None all visible GPUs.
    :param gpu_allow_growth: take GPU memory as needed.
    :param ckpt_path: checkpoint or folder of a run to continue from.
    :param log_dir: name of the run's folder; "" is the time.
    :param log_root: folder of all runs.
    :param max_epochs: epochs instead of `train.epochs`, if positive.
    :param fine_tune: take the weights of `ckpt_path` alone, and train them anew.
    :return: folder of the run.
    :raises ValueError: for a configuration or data that cannot be used, all problems
        together, before training starts.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.config import load_config

    overrides = {"train": {"epochs": max_epochs}} if max_epochs > 0 else None
    config = load_config(config_path, overrides)
    cli.prepare_tensorflow(gpu, gpu_allow_growth)
    if not config.is_reptile:
        if fine_tune:
            raise ValueError(
                "--fine-tune: expected train.method reptile, got "
                f"{config.method}, which DeepReg trains. With meta.inner_steps 1 and "
                "meta_step_size 1, Reptile is ordinary training."
            )
        return _train_with_deepreg(
            config, gpu, gpu_allow_growth, ckpt_path, log_dir, log_root, max_epochs
        )
    from deepreg_meta.training import meta_train

    return meta_train(config, ckpt_path, log_dir, log_root, fine_tune)


def _train_with_deepreg(
    config: "RunConfig",
    gpu: str | None,
    gpu_allow_growth: bool,
    ckpt_path: str,
    log_dir: str,
    log_root: str,
    max_epochs: int,
) -> Path:
    """Let DeepReg train one of its own methods, on the files as they are."""
    import deepreg.train

    from deepreg_meta.checkpoint_path import newest_checkpoint
    from deepreg_meta.config import ConfigError, check_paths

    if not config.dataset.folders("train"):
        key = "dataset.dir.train"
        raise ConfigError(
            [
                f"{key} {config.locate(key)}: expected a folder with train.method "
                f"{config.method}, which DeepReg trains, got none."
            ]
        )
    for mode in ("train", "valid"):
        check_paths(config, mode)
    name = log_dir or cli.time_stamp()
    with cli.deepreg_config_file(config) as path:
        deepreg.train.train(
            gpu=cli.visible_gpus(gpu),
            config_path=[path],
            gpu_allow_growth=gpu_allow_growth,
            ckpt_path=newest_checkpoint(ckpt_path) if ckpt_path else "",
            log_dir=name,
            log_root=log_root,
            max_epochs=max_epochs,
        )
    return Path(log_root).expanduser() / name


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_train`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    return cli.run(
        lambda: train(
            config_path=parsed.config_path,
            gpu=parsed.gpu,
            gpu_allow_growth=parsed.gpu_allow_growth,
            ckpt_path=parsed.ckpt_path,
            log_dir=parsed.log_dir,
            log_root=parsed.log_root,
            max_epochs=parsed.max_epochs,
            fine_tune=parsed.fine_tune,
        ),
        "The run is in {}",
        "A run that has a checkpoint in its folder `save` goes on with --ckpt_path and "
        "that folder.",
    )


if __name__ == "__main__":
    sys.exit(main())
