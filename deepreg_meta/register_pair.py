"""
Register one pair of files with a trained network, adapted to that pair:

    deepreg_register --fixed F.nii.gz --moving M.nii.gz --ckpt_path logs/<run> \\
        --adapt-steps 5 --output DIR

TensorFlow is imported only after the command line has been read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deepreg_meta import arguments
from deepreg_meta import command_line as cli


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_register",
        "Register one pair of image files with a trained network, adapted to the pair.",
        "example: deepreg_register --fixed us.nii.gz --moving mr.nii.gz --ckpt_path "
        "logs/first --adapt-steps 8 --output result",
    )
    for side in ("fixed", "moving"):
        _add_side(parser, side)
    arguments.add_network_arguments(parser, "the pair")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="Folder of the results."
    )
    arguments.add_adapt_arguments(parser)
    arguments.add_registrar_arguments(parser)
    arguments.add_initial_argument(parser)
    _add_limits(parser)
    arguments.add_output_arguments(parser)
    arguments.add_device_arguments(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what is reported of a field."""
    parser.add_argument(
        "--max-folds",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="Report a field of which a larger share of voxels folds. Default: 0.01.",
    )
    parser.add_argument(
        "--max-displacement",
        type=float,
        default=None,
        metavar="MM",
        help="Report a field that moves a voxel further than this. Default: a quarter "
        "of the fixed image's longest side.",
    )


def _add_side(parser: argparse.ArgumentParser, side: str) -> None:
    """Add the files of one image."""
    parser.add_argument(
        f"--{side}",
        required=True,
        metavar="FILE",
        help=f"The {side} image (.nii.gz, .nrrd, .png, ...).",
    )
    parser.add_argument(
        f"--{side}-label",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"Labels of the {side} image: one file with channels, an index map, or a "
        "file for each; in the same order on both sides.",
    )
    parser.add_argument(
        f"--{side}-landmarks",
        metavar="FILE",
        help=f"Landmarks of the {side} image for scoring: points (.mrk.json, .fcsv, "
        ".csv), or a label (.nii.gz), of which each value gives its centroid.",
    )
    parser.add_argument(
        f"--{side}-mask",
        metavar="FILE",
        help=f"Where the loss looks in the {side} image.",
    )


def register(parsed: argparse.Namespace) -> Path:
    """
    Register a pair.

    :param parsed: command line.
    :return: folder of the results.
    :raises ValueError: for files or options that cannot be used.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.checkpoint_path import newest_checkpoint
    from deepreg_meta.results.folder import check_replaceable

    folder = cli.new_run_folder(parsed.output, ".", flags="--output")
    check_replaceable(folder, "--output")
    arguments.check_classical(parsed)
    if not parsed.classical:
        newest_checkpoint(parsed.ckpt_path)
    files = {
        f"--{side}{kind}": getattr(parsed, f"{side}{kind}".replace("-", "_"))
        for side in ("fixed", "moving")
        for kind in ("", "-label", "-landmarks", "-mask")
    }
    files["--initial"] = parsed.initial
    cli.check_files(files, {"--initial": arguments.INITIAL})
    cli.check_inputs_stay(folder, _inputs(parsed))
    cli.prepare_tensorflow(parsed.gpu, parsed.gpu_allow_growth)
    from deepreg_meta.classical import classical_config
    from deepreg_meta.dataset.pair import PairFiles
    from deepreg_meta.registration import Registrar
    from deepreg_meta.results.limits import Limits

    sides = [
        PairFiles(
            image=getattr(parsed, side),
            labels=tuple(getattr(parsed, f"{side}_label")),
            landmarks=getattr(parsed, f"{side}_landmarks"),
            mask=getattr(parsed, f"{side}_mask"),
        )
        for side in ("fixed", "moving")
    ]
    outputs = arguments.read_outputs(parsed)
    limits = Limits(parsed.max_folds, parsed.max_displacement)
    if parsed.classical:
        config = classical_config(parsed.fixed, parsed.moving, parsed.config_path)
        registrar = Registrar(None, config=config)
    else:
        registrar = Registrar(parsed.ckpt_path, parsed.config_path)
    pair = registrar.register(
        *sides,
        adapt_steps=parsed.adapt_steps,
        adapt_seconds=parsed.adapt_seconds,
        keep=parsed.keep,
        initial=parsed.initial,
        limits=limits,
    )
    text = pair.save(folder, outputs)
    sys.stdout.write(f"{text}\n")
    return folder


def _inputs(parsed: argparse.Namespace) -> list[str]:
    """Return the paths of all inputs."""
    names = [f"{s}{k}" for s in ("fixed", "moving")
             for k in ("", "_label", "_landmarks", "_mask")]  # fmt: skip
    given = [getattr(parsed, name) for name in names]
    given += [] if parsed.initial in arguments.INITIAL else [parsed.initial]
    return [
        path for one in given for path in ([one] if isinstance(one, str) else one or ())
    ]


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_register`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    return cli.run(lambda: register(parsed), "The results are in {}")


if __name__ == "__main__":
    sys.exit(main())
