"""
Play a sweep: frames reach the newest network of the demo one by one, and it adapts.

    python demos/meta_trus/demo_session.py
    python demos/meta_trus/demo_session.py --source real --frames 5

Run demo_train.py first. Every test pair is registered in a session, as
`Registrar.session` opens it: its frames lie evenly over the gland, and after each of
them one update is taken on the contours seen so far.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from demo_data import HERE, SOURCES
from demo_predict import newest_run
from tqdm import tqdm

from deepreg_meta import command_line as cli

logger = logging.getLogger(__name__)
COLUMNS = {
    "dsc_gland": "Dice of the gland",
    "dsc_frames": "Dice on the frames seen",
    "seconds": "seconds an update",
}


def sweep_positions(label: np.ndarray, axis: int, number: int) -> list[int]:
    """
    Return the frames of a sweep, evenly over a structure.

    :param label: (d1, d2, d3); voxels >= 0.5 count.
    :param axis: across the frames.
    :param number: of frames; a structure of fewer slices is widened.
    :raises ValueError: for less than one, or more than there are slices.
    """
    from deepreg_meta.dataset.frame_mask import label_extent, sweep_frame_mask

    count = label.shape[axis]
    if not 1 <= number <= count:
        raise ValueError(f"--frames: expected 1 to {count}, the slices, got {number}.")
    extent = label_extent(label[None], axis)
    return np.flatnonzero(sweep_frame_mask(number, number, extent, count)).tolist()


def play(case: Any, registrar: Any, number: int) -> Iterator[tuple[dict, Any]]:
    """
    Register a case frame by frame.

    :param case: with labels; the first is the gland.
    :param registrar: of the trained network.
    :param number: of frames.
    :return: after each frame a row of figures, and the state of the session.
    """
    from deepreg_meta.dataset.files import PairFiles
    from deepreg_meta.evaluate import metric

    image, labels = case.fixed_source.read()
    moving = PairFiles(case.moving_source.path, case.moving_source.label_paths)
    # the device's scale of grey values is known before the sweep
    limits = float(image.min()), float(image.max())
    session = registrar.session(case.fixed_source.path, moving, intensity_range=limits)
    axis = session.frame_axis
    for position in sweep_positions(labels[0], axis, number):
        contour = labels[0].take(position, axis)
        session.add_frame(image.take(position, axis), position, contour)
        state = session.register(steps=1)
        row = {
            "case": case.name,
            "frames": len(state.positions),
            "dsc_gland": metric.dsc(labels[0], state.warped_labels[0]),
            "dsc_frames": next(iter(state.frame_dsc.values())),
            "seconds": state.seconds,
        }
        yield row, state


def register(source: str, number: int) -> Path:
    """
    Play the sweeps of all test pairs.

    :param source: phantom or real.
    :param number: of frames.
    :return: the folder of the results.
    """
    cli.prepare_tensorflow(None, True)
    from deepreg_meta.evaluate.plot import curves
    from deepreg_meta.registration import Registrar
    from deepreg_meta.results.folder import whole_folder
    from deepreg_meta.run_data import open_cases
    from deepreg_meta.study.table import markdown

    run = newest_run(source)
    registrar = Registrar(str(run))
    cases = open_cases(registrar.config, ("test",))["test"]
    if cases is None:
        raise ValueError("dataset.dir.test: expected a folder, got none.")
    folder = HERE / "logs_session" / run.name
    rows: list[dict] = []
    with closing(cases), whole_folder(folder) as working:
        for case in tqdm(cases, unit="pair", desc="sweeps"):
            played = list(play(case, registrar, number))
            rows += [row for row, _ in played]
            played[-1][1].save(working / case.name)
        table = pd.DataFrame(rows)
        table.to_csv(working / "frames.csv", index=False)
        groups = [own for _, own in table.groupby("case", sort=False)]
        curves(
            working / "frames.png",
            {text: [own[name] for own in groups] for name, text in COLUMNS.items()},
            "frames seen before the last",
        )
        means = table.groupby("frames")[list(COLUMNS)].mean().reset_index()
        tqdm.write(markdown(means.rename(columns=COLUMNS)))
    logger.info("Each pair's transform and figure, and frames.png, are in %s", folder)
    return folder


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parser = argparse.ArgumentParser(description="Adapt frame by frame.")
    parser.add_argument(
        "--source", choices=SOURCES, default="phantom", help="Default: phantom."
    )
    parser.add_argument(
        "--frames", type=int, default=10, metavar="N", help="Of a sweep. Default: 10."
    )
    parsed = parser.parse_args(args)
    return cli.run(
        lambda: register(parsed.source, parsed.frames), "The results are in {}"
    )


if __name__ == "__main__":
    sys.exit(main())
