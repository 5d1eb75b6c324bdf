"""
How demons are set, on validation pairs: the smoothing, and whether histograms match.

    python demos/test_time_training/demons.py --from DIR

DIR is that of demo_data.py and sequence_data.py; of the folders hippocampus and
camus_echo one or both are there. The simulated hearts need none.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import demo_data
import pandas as pd
import sequence_data
from classical import Source, classical_rows, demons
from sequences import image_size, source_of
from study import LABELS

from deepreg_meta.study.table import markdown

SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0)
SCORES = ["dice", "dice_nearest", "epe_label", "positive", "cpu_seconds"]


def validation_pairs(source: Path | None, output: Path) -> dict[str, tuple]:
    """
    Get the pairs on which settings are chosen.

    :param source: folder with hippocampus or camus_echo, or None.
    :param output: folder of the prepared data.
    :return: by name, the folder of the pairs and how they are read.
    """
    found: dict[str, tuple] = {}
    if source is not None and (source / "hippocampus").is_dir():
        folder = output / "hippocampus"
        demo_data.prepare(source / "hippocampus", folder)
        scaled = Source(demo_data.read_scaled, demo_data.read_label, LABELS,
                        restore=demo_data.undo_pad_or_cut)  # fmt: skip
        found["hippocampus"] = folder / "valid", scaled
    has_echo = source is not None and (source / "camus_echo").is_dir()
    folder = output / "study_sequences"
    for name in sequence_data.prepare(
        source if has_echo else None, folder, image_size("sequences")
    ):
        found[name] = folder / name / "valid", source_of(name)
    return found


def main(args: Sequence[str] | None = None) -> int:
    """Register the pairs with every setting, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--data-dir", type=Path, default=demo_data.HERE / "dataset")
    parsed = parser.parse_args(args)
    rows = []
    for data, (folder, source) in validation_pairs(
        parsed.source, parsed.data_dir
    ).items():
        for matched in (True, False):
            for sigma in SIGMAS:
                run = partial(demons, sigma_vox=sigma, matched=matched)
                every = classical_rows("demons", folder, source, run)
                mean = every.reindex(columns=SCORES).mean()
                setting = {"data": data, "matched": str(matched), "sigma": sigma}
                rows.append(setting | mean.to_dict())
    print(markdown(pd.DataFrame(rows), 4))
    return 0


if __name__ == "__main__":
    sys.exit(main())
