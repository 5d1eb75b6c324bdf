"""
Follow the motion in a sequence of images with a trained network, adapted to each pair,
or with --classical without one:

    deepreg_track --ckpt_path logs/<run> --sequence echo.nii.gz --mask wall.nii.gz \\
        --adapt-steps 20 --output DIR

TensorFlow is imported only after the command line and the files have been read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

_EPILOG = """\
example: deepreg_track --ckpt_path logs/first --sequence echo.nii.gz \\
             --mask wall.nii.gz --dilate 3 --adapt-steps 20 --output motion

A sequence is one NIfTI file with time as its last axis, (X, Y, Z, T) or (X, Y, 1, T); a
folder of PNG or NIfTI frames, in natural order; or files in the order given. Frames
count from 0.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_track",
        "Register neighbouring frames of a sequence: motion, velocity, and what is "
        "known of the first frame carried along.",
        _EPILOG,
    )
    parser.add_argument(
        "--sequence", required=True, nargs="+", metavar="PATH",
        help="File, folder of frames, or files of a frame each.",
    )  # fmt: skip
    arguments.add_network_arguments(parser, "each pair of frames")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="Folder of the results."
    )
    _add_reading(parser)
    _add_region(parser)
    _add_known(parser)
    arguments.add_adapt_arguments(parser)
    arguments.add_registrar_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--carry",
        action="store_true",
        help="Start each pair from the adapted weights of the one before.",
    )
    which.add_argument(
        "--together",
        action="store_true",
        help="Adapt once to all pairs of the sequence, which updates see in turn.",
    )
    _add_film(parser)
    arguments.add_device_arguments(parser)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--axes",
        choices=("xyt",),
        help="xyt: the third axis of the file is time, (X, Y, T).",
    )
    parser.add_argument(
        "--frame-rate",
        type=float,
        metavar="F",
        help="Frames in a second. Default: what a NIfTI header says in a unit of time; "
        "without it velocities are per frame.",
    )
    parser.add_argument(
        "--direction",
        choices=("backward", "forward"),
        default="backward",
        help="backward: the current frame is fixed, the last one moves; forward: the "
        "other way round. Default: backward.",
    )


def _add_region(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mask",
        nargs="+",
        default=[],
        metavar="PATH",
        help="Region of interest: a mask for all frames, or one for each (file with "
        "time, folder, files). Measures and loss look there.",
    )
    parser.add_argument(
        "--intensity-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="Region of interest: voxels with intensities, scaled to [0, 1], within. "
        "Example: 0.005 0.995",
    )
    parser.add_argument(
        "--dilate",
        default="0",
        metavar="R",
        help="Widen the region by a ball of this radius in voxels, or in mm: 16, "
        "4.5mm. Default: 0.",
    )
    parser.add_argument(
        "--window-radius",
        type=int,
        default=10,
        metavar="R",
        help="Of the windows of NLCC, in voxels. Default: 10.",
    )


def _add_known(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", metavar="FILE", help="Label of the first frame, carried along."
    )
    parser.add_argument(
        "--points",
        metavar="FILE",
        help="Points or contour of the first frame (.csv, .mrk.json, .fcsv), followed.",
    )
    for name in ("label", "points"):
        parser.add_argument(
            f"--{name}-at",
            nargs=2,
            action="append",
            default=[],
            metavar=("FRAME", "FILE"),
            help=f"The {name} of a later frame, for comparison alone. May be repeated.",
        )
    parser.add_argument(
        "--truth",
        metavar="DIR",
        help="True displacements, such as 004_to_003.nii.gz, for endpoint errors.",
    )


def _add_film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--animation",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Write motion.gif.",
    )
    parser.add_argument(
        "--animation-style",
        choices=("arrows", "speed"),
        help="Arrows, or the speed in colours. Default: arrows.",
    )
    parser.add_argument(
        "--plane",
        nargs=2,
        type=int,
        metavar=("AXIS", "INDEX"),
        help="Plane of volumes that it shows. Default: axial, through the middle of "
        "the region.",
    )


def track(parsed: argparse.Namespace) -> Path:
    """
    Track a sequence.

    :param parsed: command line.
    :return: folder of the results.
    :raises ValueError: for files or options that cannot be used.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.checkpoint_path import newest_checkpoint
    from deepreg_meta.results.folder import check_replaceable
    from deepreg_meta.sequence.job import TrackOptions, prepare
    from deepreg_meta.sequence.table import TABLE
    from deepreg_meta.sequence.write import PATTERNS

    folder = cli.new_run_folder(parsed.output, ".", flags="--output")
    check_replaceable(folder, "--output", TABLE, PATTERNS)
    arguments.check_classical(parsed)
    if not parsed.classical:
        newest_checkpoint(parsed.ckpt_path)
    words = _options(parsed)
    cli.check_inputs_stay(folder, _inputs(words))
    job = prepare(TrackOptions(**words))
    cli.prepare_tensorflow(parsed.gpu, parsed.gpu_allow_growth)
    from deepreg_meta.classical import StoredGrid, common_config
    from deepreg_meta.sequence.network import NetworkRegistrar
    from deepreg_meta.sequence.run import run_job

    settings = dict(
        adapt_steps=parsed.adapt_steps,
        adapt_seconds=parsed.adapt_seconds,
        keep=parsed.keep,
    )
    config = None
    if parsed.classical:
        own = job.sequence
        frames = StoredGrid(own.paths[0], own.grid, own.has_orientation)
        config = common_config([frames], parsed.config_path)
    network = NetworkRegistrar(
        parsed.ckpt_path,
        parsed.config_path,
        **settings,
        carry=parsed.carry,
        config=config,
    )
    if (parsed.carry or parsed.together) and not network.changes_weights:
        flag = "--carry" if parsed.carry else "--together"
        raise ValueError(
            f"{flag}: expected updates of the network with it (--adapt-steps, "
            "--adapt-seconds or adapt.steps), got 0."
        )
    network.check(job.sequence)
    if parsed.together:
        network.fit_together(job.frame_pairs())
    text = run_job(
        job,
        network,
        folder,
        {
            **settings,
            "adapt_steps": network.steps,
            "together": parsed.together,
            "checkpoint": network.checkpoint or None,
        },
        carry=parsed.carry,
        dump=network.dump_config,
    )
    sys.stdout.write(f"{text}\n")
    return folder


def _options(parsed: argparse.Namespace) -> dict[str, Any]:
    """
    Return the options of `TrackOptions`.

    :raises ValueError: for flags that do not go together.
    """
    names = ("sequence", "axes", "frame_rate", "direction", "mask", "dilate", "plane",
             "window_radius", "label", "points", "truth", "animation",
             "animation_style", "intensity_range")  # fmt: skip
    words = {name: getattr(parsed, name) for name in names}
    for name in ("animation_style", "plane"):
        if words[name] is not None and not parsed.animation:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag}: expected none with --no-animation, got one.")
    words["animation_style"] = words["animation_style"] or "arrows"
    for name in ("plane", "intensity_range"):
        words[name] = None if words[name] is None else tuple(words[name])
    for name in ("label_at", "points_at"):
        words[name] = [_at(name, *pair) for pair in getattr(parsed, name)]
    return words


def _at(name: str, frame: str, path: str) -> tuple[int, str]:
    """:raises ValueError: for a frame that is no number."""
    if not frame.isdigit():
        flag = name.replace("_", "-")
        raise ValueError(
            f"--{flag}: expected the index of a frame and a file, got {frame} {path}."
        )
    return int(frame), path


def _inputs(words: dict[str, Any]) -> list[str]:
    """Return the paths of all inputs."""
    later = [path for name in ("label_at", "points_at") for _, path in words[name]]
    given = [words[name] for name in ("label", "points", "truth") if words[name]]
    return [*words["sequence"], *words["mask"], *later, *given]


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_track`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    return cli.run(lambda: track(parsed), "The results are in {}")


if __name__ == "__main__":
    sys.exit(main())
