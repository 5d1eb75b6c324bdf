"""
Adapt the newest network of the demo to every test pair; run demo_train.py first.

    python demos/meta_trus/demo_predict.py
    python demos/meta_trus/demo_predict.py --source real

Same as `deepreg_predict --mode test` with the newest run in logs_train.
"""

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_data import HERE, SOURCES
from demo_train import LOGS

from deepreg_meta import command_line as cli
from deepreg_meta.predict import predict

logger = logging.getLogger(__name__)


def newest_run(source: str) -> Path:
    """
    Find the newest training run that has saved a network.

    :param source: phantom or real.
    :raises FileNotFoundError: when there is none.
    """
    saved = sorted(LOGS.glob(f"{source}-*/save/ckpt-*.index"))
    if not saved:
        raise FileNotFoundError(
            f"{LOGS}: expected a run named {source}-<time> that has saved a network, "
            f"found none. Run `python {HERE / 'demo_train.py'} --source {source}` "
            "first."
        )
    return max(path.parent.parent for path in saved)  # the name ends with the time


def typical_figure(folder: Path) -> Path:
    """
    Choose the figure to look at: that of the case with the median Dice.

    :param folder: of the results.
    """
    with (folder / "metrics.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["dsc_adapted"]))
    return folder / rows[len(rows) // 2]["case"] / "figure.png"


def register(source: str, adapt_steps: int | None) -> Path:
    """
    Register the test pairs with the newest network.

    :param source: phantom or real.
    :param adapt_steps: updates for each pair; None follows the configuration.
    :return: the figure of a typical pair.
    """
    run = newest_run(source)
    folder = predict(
        str(run),
        mode="test",
        adapt_steps=adapt_steps,
        log_root=str(HERE / "logs_predict"),
        log_dir=run.name,
    )
    logger.info("Tables, images, fields and figures are in %s", folder)
    return typical_figure(folder)


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parser = argparse.ArgumentParser(description="Adapt to every test pair.")
    parser.add_argument(
        "--source", choices=SOURCES, default="phantom", help="Default: phantom."
    )
    parser.add_argument(
        "--adapt-steps",
        type=int,
        metavar="N",
        help="Updates for each pair; 0 is plain prediction. Default: adapt.steps.",
    )
    parsed = parser.parse_args(args)
    return cli.run(
        lambda: register(parsed.source, parsed.adapt_steps),
        "Figure of the case with the median Dice: {}",
    )


if __name__ == "__main__":
    sys.exit(main())
