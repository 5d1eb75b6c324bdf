"""
How demons and SyN are set, on validation pairs.

    python demos/test_time_training/rivals.py --from DIR --data camus,simulated

DIR is that of demo_data.py and sequence_data.py; of the folders hippocampus and
camus_echo one or both are there. The simulated hearts need none. With --syn, and the
package antspyx, SyN is tried too.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import demo_data
import pandas as pd
import sequence_data
from classical import Method, Source, classical_rows, demons, syn
from sequences import plan_of, source_of
from study import LABELS

from deepreg_meta.study.plan import image_side
from deepreg_meta.study.table import markdown

SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0)  # of demons
RADII, FLOW_SIGMAS = (2, 4), (1.5, 3.0, 5.0)  # of SyN
SCORES = ["dice", "dice_nearest", "epe_label", "positive", "cpu_seconds"]


def validation_pairs(source: Path | None, output: Path) -> dict[str, tuple]:
    """
    Get the pairs on which settings are chosen.

    :param source: folder with hippocampus or camus_echo, or None.
    :param output: folder of the prepared data.
    :return: by name, the folder of the pairs and how they are read.
    :raises ValueError: for a source with neither.
    """
    found: dict[str, tuple] = {}
    if source and not any((source / n).is_dir() for n in ("hippocampus", "camus_echo")):
        raise ValueError(
            f"--from: expected a folder with hippocampus or camus_echo, got {source}."
        )
    if source is not None and (source / "hippocampus").is_dir():
        folder = output / "hippocampus"
        demo_data.prepare(source / "hippocampus", folder)
        scaled = Source(demo_data.read_scaled, demo_data.read_label, LABELS,
                        restore=demo_data.undo_pad_or_cut)  # fmt: skip
        found["hippocampus"] = folder / "valid", scaled
    has_echo = source is not None and (source / "camus_echo").is_dir()
    folder = output / "study_sequences"
    for name in sequence_data.prepare(
        source if has_echo else None, folder, image_side(plan_of("sequences"))
    ):
        found[name] = folder / name / "valid", source_of(name)
    return found


def settings(with_syn: bool) -> dict[str, Method]:
    """Return the methods to compare, by what is said of them."""
    found: dict[str, Method] = {
        f"demons, sigma {sigma:g}{'' if matched else ', not matched'}": partial(
            demons, sigma_vox=sigma, matched=matched
        )
        for matched in (True, False)
        for sigma in SIGMAS
    }
    if with_syn:
        found |= {
            f"SyN, radius {radius}, flow sigma {sigma:g}": partial(
                syn, radius=radius, flow_sigma=sigma
            )
            for radius in RADII
            for sigma in FLOW_SIGMAS
        }
    return found


def main(args: Sequence[str] | None = None) -> int:
    """Register the pairs with every setting, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--data-dir", type=Path, default=demo_data.HERE / "dataset")
    parser.add_argument("--data", help="names separated by commas; default: all")
    parser.add_argument("--syn", action="store_true", help="try ANTs SyN too")
    parsed = parser.parse_args(args)
    if parsed.syn and importlib.util.find_spec("ants") is None:
        parser.error("--syn: expected the package antspyx, which is not installed.")
    try:
        pairs = validation_pairs(parsed.source, parsed.data_dir)
    except ValueError as err:
        parser.error(str(err))
    names = parsed.data.split(",") if parsed.data else [*pairs]
    if unknown := [name for name in names if name not in pairs]:
        parser.error(
            f"--data: expected some of {', '.join(pairs)}, got {', '.join(unknown)}."
        )
    rows = []
    for name in names:
        for setting, run in settings(parsed.syn).items():
            every = classical_rows(setting, *pairs[name], run)
            mean = every.reindex(columns=SCORES).mean()
            rows.append({"data": name, "method": setting} | mean.to_dict())
    print(markdown(pd.DataFrame(rows), 4))
    return 0


if __name__ == "__main__":
    sys.exit(main())
