"""
Register the pairs of a split, with test-time adaptation:

    deepreg_predict --ckpt_path logs/<run> --mode test --adapt-steps 8

TensorFlow is imported only after the command line has been read.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepreg_meta import arguments
from deepreg_meta import command_line as cli
from deepreg_meta.results.outputs import Outputs

if TYPE_CHECKING:
    from deepreg_meta.config import RunConfig

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: DeepReg's flags, --adapt-steps and --version."""
    parser = arguments.new_parser(
        "deepreg_predict",
        "Register the pairs of a split with a trained network, adapted to each pair.",
        "example: deepreg_predict --ckpt_path logs/first --mode test --adapt-steps 8",
    )
    arguments.add_common_arguments(parser, config_required=False)
    parser.add_argument(
        "--ckpt_path",
        "-k",
        required=True,
        help="Checkpoint, such as logs/<run>/save/ckpt-10, or the folder of a run: its "
        "newest one. Checkpoints of DeepReg's own methods can be adapted too.",
    )
    parser.add_argument(
        "--mode",
        "-m",
        required=True,
        choices=("train", "valid", "test"),
        help="Split to register.",
    )
    arguments.add_adapt_arguments(parser)
    parser.add_argument(
        "--batch_size",
        "-b",
        type=int,
        default=1,
        help="Batch size of DeepReg's own prediction; adaptation takes one pair at a "
        "time. Default: 1.",
    )
    parser.add_argument(
        "--sample_label",
        "-s",
        default="all",
        help="As in DeepReg, which does not use it.",
    )
    arguments.add_output_arguments(parser)
    parser.set_defaults(save_png=None)  # DeepReg's own prediction draws on request
    return parser


def predict(
    ckpt_path: str,
    mode: str,
    adapt_steps: int | None = None,
    adapt_seconds: float | None = None,
    gpu: str | None = None,
    gpu_allow_growth: bool = False,
    batch_size: int = 1,
    log_dir: str = "",
    log_root: str = "logs",
    config_path: str | Sequence[str] = (),
    outputs: Outputs | None = None,
    save_png: bool | None = None,
) -> Path:
    """
    Register the pairs of a split.

    :param ckpt_path: checkpoint, or folder of a run.
    :param mode: train, valid or test.
    :param adapt_steps: updates for each pair; None follows the configuration.
    :param adapt_seconds: take as many updates as fit into this time instead.
    :param gpu: GPU indices, such as "0,1"; "" the CPU; None all visible GPUs.
    :param gpu_allow_growth: take GPU memory as needed.
    :param batch_size: of DeepReg's own prediction.
    :param log_dir: name of the folder of results; "" is the time.
    :param log_root: folder of all runs.
    :param config_path: YAML files instead of the one saved with the run.
    :param outputs: which files are written of a pair; None is the default.
    :param save_png: let DeepReg's own prediction draw figures.
    :return: folder of the results.
    :raises ValueError: for a configuration, data or checkpoint that cannot be used.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.checkpoint_path import newest_checkpoint, run_of
    from deepreg_meta.config import load_run_config

    checkpoint = newest_checkpoint(ckpt_path)
    saved = run_of(checkpoint) / "config.yaml"
    overrides: dict[str, Any] | None = None
    if adapt_steps is not None:
        overrides = {"adapt": {"steps": adapt_steps}}
        if adapt_steps == 0:  # a plain prediction
            overrides["adapt"]["field"] = None
    config = load_run_config(config_path, saved, overrides)
    cli.prepare_tensorflow(gpu, gpu_allow_growth)
    outputs = outputs or Outputs()
    is_plain = not config.adapt.adapts and adapt_seconds is None
    if not config.is_reptile and is_plain:
        return _predict_with_deepreg(
            config,
            checkpoint,
            mode,
            gpu=cli.visible_gpus(gpu),
            gpu_allow_growth=not gpu_allow_growth,  # DeepReg's predict inverts it
            batch_size=batch_size,
            log_dir=log_dir or cli.time_stamp(),
            log_root=log_root,
            save_nifti=outputs.volumes,
            save_png=bool(save_png),
        )
    from deepreg_meta.prediction import adapt_and_predict

    folder = cli.new_run_folder(log_root, log_dir, (mode,))
    return adapt_and_predict(config, checkpoint, mode, folder, outputs, adapt_seconds)


def predict_checkpoints(
    log_dirs: Mapping[str, str],
    mode: str,
    gpu: str | None = None,
    log_root: str = "logs",
    config_path: str | Sequence[str] = (),
    outputs: Outputs | None = None,
) -> Iterator[Path]:
    """
    Register the pairs of a split with several checkpoints of one run of Reptile.

    Data and network are read and compiled once, where `predict` would do so for each.

    :param log_dirs: names of the folders of results, by `ckpt_path` of `predict`.
    :param mode: as of `predict`, as are the others.
    :return: folders of the results, each when its checkpoint is done.
    :raises ValueError: for a configuration, data or checkpoint that cannot be used.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.checkpoint_path import newest_checkpoint, run_of
    from deepreg_meta.config import load_run_config

    checkpoints = {newest_checkpoint(path): name for path, name in log_dirs.items()}
    if not checkpoints:
        return
    saved = run_of(next(iter(checkpoints))) / "config.yaml"
    config = load_run_config(config_path, saved)
    cli.prepare_tensorflow(gpu, allow_growth=False)
    from deepreg_meta.prediction import adapt_and_predict_each

    folders = {
        checkpoint: cli.new_run_folder(log_root, log_dir, (mode,))
        for checkpoint, log_dir in checkpoints.items()
    }
    yield from adapt_and_predict_each(config, folders, mode, outputs)


def _predict_with_deepreg(
    config: "RunConfig", checkpoint: str, mode: str, **kwargs: Any
) -> Path:
    """Let DeepReg predict with one of its own methods, without adaptation."""
    import deepreg.predict

    from deepreg_meta.config import check_paths
    from deepreg_meta.results.folder import MARK

    check_paths(config, mode)
    if config.sparse_frames is not None:
        key = "train.preprocess.data_augmentation"
        logger.warning(
            "%s %s: DeepReg's own prediction shows its network the whole fixed image; "
            "sparse_frames is for its training alone. With updates (--adapt-steps) it "
            "is shown frames; without, a network of train.method reptile is, which "
            "with meta.inner_steps 1 and meta_step_size 1 is ordinary training.",
            key,
            config.locate(key),
        )
    folder = Path(kwargs["log_root"]).expanduser() / kwargs["log_dir"] / "test"
    # DeepReg deletes the folder, whatever is in it, and uses it for every split
    is_other = mode != "test" or (folder / MARK).is_file()
    if is_other and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"--log_dir: {folder} holds results, which DeepReg's prediction would "
            "delete. Choose another name."
        )
    with cli.deepreg_config_file(config) as path:
        deepreg.predict.predict(
            ckpt_path=checkpoint,
            mode=mode,
            sample_label="all",
            config_path=[path],
            **kwargs,
        )
    return folder


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_predict`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    outputs = arguments.read_outputs(parsed)
    taken = ("sample_label", "save_nifti", "transform_format", "inverse")
    options = {name: v for name, v in vars(parsed).items() if name not in taken}
    return cli.run(lambda: predict(**options, outputs=outputs), "The results are in {}")


if __name__ == "__main__":
    sys.exit(main())
