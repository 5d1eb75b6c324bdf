"""
Segment the hippocampus by one atlas whose labels go through unlabelled images too.

    python demos/test_time_training/templates.py --from DIR              # for choices
    python demos/test_time_training/templates.py --from DIR --test       # the 40 tests

DIR is that of demo_data.py. Templates are the images of the training set that correlate
most with the target, their labels unread. Without --ckpt_path no network takes part.
Targets that are done are kept.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from demo_data import HERE, prepare, rank_atlases
from study import LABELS, peer_rows
from tqdm import tqdm

import deepreg_meta
from deepreg_meta import command_line as cli
from deepreg_meta.atlas.files import single
from deepreg_meta.atlas.fuse import METHODS, Fusion
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.segmenter import Segmenter
from deepreg_meta.config import RunConfig, load_config
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.registration import Registrar
from deepreg_meta.results.pair import RegisteredPair
from deepreg_meta.study.folder import write_whole
from deepreg_meta.study.stamp import STAMP
from deepreg_meta.study.table import compare_couples, markdown, method_table

SHAPE = [48, 64, 48]
COLUMNS = {
    "Dice (%)": ("dice_nearest", 2, 100.0),
    **{f"{name} (%)": (f"dice_{name}", 2, 100.0) for name in LABELS},
    "CPU s of a target": ("cpu_seconds", 2, 1.0),
    "CPU s from atlas to templates": ("cpu_seconds_onward", 2, 1.0),
}


class Kept:
    """
    A registrar that registers two images once and knows how long that took.

    :param registrar: does the work.
    :ivar seconds: CPU seconds of adaptation and prediction, by fixed and moving image.
    :ivar busy: CPU seconds of all calls, with reading and scores.
    """

    def __init__(self, registrar: Registrar) -> None:
        self.config, self.checkpoint = registrar.config, registrar.checkpoint
        self.description = registrar.description
        self._registrar = registrar
        self._found: dict[tuple[Path, Path], RegisteredPair] = {}
        self.seconds: dict[tuple[Path, Path], float] = {}
        self.busy = 0.0

    def register(self, fixed: Path, moving: Path, **options: Any) -> RegisteredPair:
        """Register as the registrar does, or say what was found before."""
        start = time.process_time()
        key = Path(fixed), Path(moving)
        if key not in self._found:
            self._found[key] = self._registrar.register(*key, **options)
            self.seconds[key] = self._found[key].result.cpu_seconds
        self.busy += time.process_time() - start
        return self._found[key]


def configure(ckpt_path: str | None, steps: Sequence[int]) -> RunConfig:
    """
    Return how two images are registered.

    :param ckpt_path: folder of a run of hippocampus.yaml; None for no network.
    :param steps: of the field at a quarter, half and full size.
    """
    dataset = {
        "type": "paired",
        "dir": None,
        "image_shape": None,
        "moving_image_shape": SHAPE,
        "fixed_image_shape": SHAPE,
    }
    field = {
        "scales": ["1/4", "1/2", "1"],
        "steps": list(steps),
        "sigma_vox": 2.0,
        "loss": {"regularization": {"weight": 0.6}},
    }
    changes: dict[str, Any] = {"dataset": dataset, "adapt": {"field": field}}
    if ckpt_path is None:
        none = {"name": "identity", "num_channel_initial": None}
        changes["train"] = {"backbone": none}
        return load_config([str(HERE / "hippocampus.yaml")], changes)
    return load_config([str(Path(ckpt_path) / "config.yaml")], changes)


def segment_target(
    registrar: Kept,
    target: ImageFiles,
    atlas: ImageFiles,
    templates: Sequence[ImageFiles],
    numbers: Sequence[int],
    fusions: Sequence[Fusion],
) -> list[dict[str, Any]]:
    """
    Segment one image with several numbers of templates and ways of fusion.

    :param registrar: of all images.
    :param target: with its true label, for the scores.
    :param atlas: with its label.
    :param templates: the best first; their labels are not read.
    :param numbers: of templates; 0 is the atlas alone.
    :param fusions: of labels.
    :return: a row for each of both. `cpu_seconds` are those of the registrations to
        the target and of all that follows, `cpu_seconds_onward` those of registrations
        of the atlas to the templates.
    """
    rows = []
    for number in numbers:
        for fusion in fusions if number else fusions[:1]:
            # as others were scored whom the rows are held against
            options = Options(1, fusion=fusion, interpolation="nearest")
            own = templates[:number]
            if number:
                options = replace(options, num_templates=number)
            start = time.process_time() - registrar.busy
            found = Segmenter(registrar, [atlas], options, own).segment(target)
            others = time.process_time() - registrar.busy - start
            known = registrar.seconds
            images = [one.image for one in own]
            name = f"{number} templates, {fusion.method}" if number else "atlas"
            rows.append(
                {
                    "method": name,
                    "case": target.name,
                    "dice_nearest": sum(found.dsc.values()) / len(LABELS),
                    **{f"dice_{n}": found.dsc[str(v)] for n, v in LABELS.items()},
                    "cpu_seconds": others
                    + sum(known[target.image, one] for one in (atlas.image, *images)),
                    "cpu_seconds_onward": sum(
                        known[one, atlas.image] for one in images
                    ),
                }
            )
    return rows


def segment_all(parsed: argparse.Namespace, data: Path) -> pd.DataFrame:
    """
    Segment all targets of a split that are not done yet.

    :param parsed: command line.
    :param data: folder of demo_data.py.
    :return: the rows of all.
    """
    splits = json.loads((data / "splits.json").read_text(encoding="utf-8"))
    split = "test" if parsed.test else "valid"
    jobs = list(splits[split].items())[: parsed.limit]
    path = parsed.output / f"{split}.csv"
    config = configure(parsed.ckpt_path, parsed.steps)
    registrar = Kept(Registrar(parsed.ckpt_path, config=config))
    settings = check_settings(parsed, path.with_suffix(".json"))
    table = pd.read_csv(path, dtype={"case": str}) if path.is_file() else pd.DataFrame()
    fusions = [
        Fusion(name, search_radius=parsed.search_radius if name == "joint" else 0)
        for name in parsed.fusion
    ]
    done = set(table["case"]) if len(table) else set()
    missing = [job for job in jobs if job[0] not in done]
    images = parsed.source / "hippocampus" / "images"
    ranked = rank_atlases(images, [name for name, _ in missing], splits["train"])
    for name, atlas in tqdm(missing, unit="target", desc=split):
        others = [one for one in ranked[name] if one != atlas]
        rows = segment_target(
            registrar,
            _labelled(data / split, "fixed", name),
            _labelled(data / split, "moving", name),
            [
                single(data / "train" / "images" / f"{one}.nii.gz")
                for one in others[: max(parsed.num_templates)]
            ],
            parsed.num_templates,
            fusions,
        )
        table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
        write_whole(path.with_suffix(".json"), json.dumps(settings) + "\n")
        write_whole(path, table.to_csv(index=False))
    return table


def check_settings(parsed: argparse.Namespace, path: Path) -> dict[str, Any]:
    """
    Keep rows of other settings out of a table.

    :param parsed: command line.
    :param path: of the settings of the rows that are there, JSON.
    :return: the settings.
    :raises ValueError: when the rows there have others.
    """
    names = ("ckpt_path", "steps", "num_templates", "fusion", "search_radius")
    settings = {name: getattr(parsed, name) for name in names}
    stamp = parsed.data_dir / "hippocampus" / STAMP
    settings["data"] = json.loads(stamp.read_text(encoding="utf-8"))["digest"]
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    if saved != settings:
        raise ValueError(
            f"--output: expected the settings of the rows that are there, {saved}, got "
            f"{settings}. Choose another folder."
        )
    return settings


def _labelled(folder: Path, side: str, name: str) -> ImageFiles:
    kinds = (f"{side}_images", f"{side}_labels")
    return single(*(folder / kind / f"{name}.nii.gz" for kind in kinds))


def write_report(rows: pd.DataFrame, peers: pd.DataFrame, path: Path) -> str:
    """
    Hold numbers of templates against the atlas alone, and against others.

    :param rows: of `segment_all`.
    :param peers: what other methods reached on the same targets; may be empty.
    :param path: Markdown.
    :return: the text.
    """
    head = {"test": "", "data": "", "adaptation": "", "setting": "", "sweep": ""}
    rows = pd.concat([rows.assign(seed=0, **head), peers.assign(**head)])
    ours = [name for name in dict.fromkeys(rows["method"]) if "templates" in name]
    others = [name for name in dict.fromkeys(rows["method"]) if name not in ours]
    couples = [(own, other) for other in others for own in ours]
    tests = compare_couples(rows, couples, "dice_nearest").drop(columns="p_unpaired")
    parts = ["# Labels through templates", markdown(method_table(rows, COLUMNS))]
    if len(tests):
        parts.append(markdown(tests, digits=4))
    text = "\n\n".join(parts) + "\n"
    write_whole(path, text)
    return text


def main(args: Sequence[str] | None = None) -> int:
    """Segment what is missing and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=HERE / "dataset")
    parser.add_argument("--output", type=Path, default=HERE / "logs_templates")
    parser.add_argument("--ckpt_path", help="folder of a run; default: no network")
    parser.add_argument("--steps", type=int, nargs=3, default=[20, 40, 8])
    parser.add_argument("--num-templates", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--fusion", nargs="+", choices=METHODS, default=["joint"])
    parser.add_argument("--search-radius", type=int, default=1, help="of joint fusion")
    parser.add_argument("--test", action="store_true", help="the 40 of the list")
    parser.add_argument("--limit", type=int, help="the first targets alone")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if min(parsed.num_templates) < 0:
        parser.error(
            f"--num-templates: expected >= 0, got {min(parsed.num_templates)}."
        )
    if parsed.limit is not None and parsed.limit < 1:
        parser.error(f"--limit: expected >= 1, got {parsed.limit}.")
    if parsed.ckpt_path and not (Path(parsed.ckpt_path) / "config.yaml").is_file():
        parser.error(
            f"--ckpt_path: expected the folder of a run, with config.yaml, got "
            f"{parsed.ckpt_path}."
        )
    data = parsed.data_dir / "hippocampus"
    cli.prepare_tensorflow("", False)
    deepreg_meta.register()
    try:
        prepare(parsed.source / "hippocampus", data)
        parsed.output.mkdir(parents=True, exist_ok=True)
        rows = segment_all(parsed, data)
    except ValueError as err:
        parser.error(str(err))
    peers = peer_rows(parsed.source / "hippocampus") if parsed.test else pd.DataFrame()
    print(write_report(rows, peers, parsed.output / "report.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
