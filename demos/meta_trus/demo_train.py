"""
Meta-train on the data of the demo; run demo_data.py first.

    python demos/meta_trus/demo_train.py
    python demos/meta_trus/demo_train.py --source real

Same as `deepreg_train` with the files that `config_files` lists.
"""

import argparse
import sys
from collections.abc import Sequence

from demo_data import HERE, SOURCES, config_files

from deepreg_meta import command_line as cli
from deepreg_meta.train import train

LOGS = HERE / "logs_train"


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parser = argparse.ArgumentParser(description="Meta-train on the data of the demo.")
    parser.add_argument(
        "--source", choices=SOURCES, default="phantom", help="Default: phantom."
    )
    parser.add_argument(
        "--config", nargs="*", default=[], metavar="YAML", help="Files merged last."
    )
    parser.add_argument(
        "--max_epochs", type=int, default=-1, help="Epochs instead of train.epochs."
    )
    parsed = parser.parse_args(args)
    return cli.run(
        lambda: train(
            [*config_files(parsed.source), *parsed.config],
            log_root=str(LOGS),
            log_dir=f"{parsed.source}-{cli.time_stamp()}",
            max_epochs=parsed.max_epochs,
        ),
        "The trained network is in {}",
    )


if __name__ == "__main__":
    sys.exit(main())
