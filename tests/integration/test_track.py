"""
A simulated sequence, from files to the motion in it, by the commands.

TensorFlow has no name of its own here, see tests/unit/test_registration.py.
"""

import json
import logging

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepreg_meta import track, train, warp
from deepreg_meta.geometry.volume_file import read_volume, save_volume
from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.heart import Heart
from deepreg_meta.sequence.read import read_sequence
from deepreg_meta.sequence.speckle import Probe
from deepreg_meta.sequence.training_pairs import write_training_pairs
from deepreg_meta.sequence.write_simulated import write_sequence
from tests.helpers import without_xla, write_yaml

COLUMNS, ROWS, FRAMES = 40, 36, 4
HEART = Heart(
    centre_mm=(0.4, 15.0), endo_mm=6.0, epi_mm=10.0, reach_mm=5.0, area_ratio=0.4,
    twist_deg=8.0, twist_reach_mm=9.0, drift_mm=(0.3, 0.2),
)  # fmt: skip
OPTIONS = EchoOptions(
    shape=(COLUMNS, ROWS), spacing_mm=0.8, num_frames=FRAMES, cycles=0.3,
    probe=Probe(frequency_mhz=1.0, axial_mm=1.0, lateral_mm=1.4),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with pytest.MonkeyPatch.context() as patch, without_xla():
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """:return: folder of a sequence to track, and of pairs of others to train on."""
    root = tmp_path_factory.mktemp("sequences")
    for seed in range(3):
        write_sequence(root / str(seed), seed, OPTIONS, HEART)
    others = {f"s{i}": read_sequence(root / str(i) / "sequence.nii.gz") for i in (1, 2)}
    write_training_pairs(root / "train", others)
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """:return: folder of a run of two epochs on neighbouring frames."""
    content = dict(
        dataset=dict(
            type="paired",
            format="nifti",
            dir=dict(train=str(data / "train"), valid=None, test=None),
            labeled=False,
            intensity=[dict(name="clip", range=[0, 255])],
            moving_image_shape=[COLUMNS, ROWS],
            fixed_image_shape=[COLUMNS, ROWS],
        ),
        train=dict(
            method="reptile",
            meta=dict(inner_steps=4, episodes_per_epoch=4),
            backbone=dict(
                name="local_norm",
                num_channel_initial=4,
                extract_levels=[0, 1],
                initial_kernel_size=3,
            ),
            loss=dict(
                image=dict(name="ssd"),
                regularization=dict(name="bending_energy", weight=0.1),
            ),
            optimizer=dict(name="Adam", learning_rate=0.01),
            epochs=2,
        ),
    )
    folder = tmp_path_factory.mktemp("run")
    config = write_yaml(folder / "tracking.yaml", content)
    words = ["--config", config, "--log_root", str(folder), "--log_dir", "tracker"]
    assert train.main(words) == 0
    return folder / "tracker"


@pytest.fixture(scope="module")
def results(data, run, tmp_path_factory):
    """:return: what the command makes of the first sequence with all that it takes."""
    own, out = data / "0", tmp_path_factory.mktemp("out") / "motion"
    last = f"{FRAMES - 1:03d}"
    words = [
        *("--ckpt_path", str(run), "--sequence", str(own / "sequence.nii.gz")),
        *("--mask", str(own / "myocardium.nii.gz"), "--dilate", "1.6mm"),
        *("--label", str(own / "labels" / "label_000.nii.gz")),
        *("--label-at", last, str(own / "labels" / f"label_{last}.nii.gz")),
        *("--points", str(own / "points" / "points_000.csv")),
        *("--points-at", last, str(own / "points" / f"points_{last}.csv")),
        *("--truth", str(own / "truth"), "--window-radius", "4"),
        *("--adapt-steps", "25", "--gpu", "", "--output", str(out)),
    ]
    assert track.main(words) == 0
    return out


def test_all_results_are_there(results):
    names = {path.relative_to(results).as_posix() for path in results.rglob("*.*")}
    pairs = range(1, FRAMES)
    assert names == {
        "tracking.csv", "tracking.png", "tracking.json", "drift.csv", "summary.csv",
        "summary.md", "columns.md", "config.yaml", "label.nii.gz", "points.csv",
        "motion.gif", *(f"fields/00{i}_to_00{i - 1}.nii.gz" for i in pairs),
        *(f"velocity/00{i}.nii.gz" for i in pairs),
    }  # fmt: skip
    with Image.open(results / "motion.gif") as film:
        assert film.n_frames == FRAMES


def test_adapted_to_each_pair_the_network_explains_the_motion(results):
    """In the region, over the sequence: similarity rises, the true error falls."""
    rows = pd.read_csv(results / "tracking.csv")
    mean = rows.mean(numeric_only=True)
    assert mean["mse_tracked"] < 0.7 * mean["mse_still"]
    assert mean["nlcc_tracked"] > mean["nlcc_still"] + 0.1
    assert mean["epe_tracked_mm"] < 0.8 * mean["epe_still_mm"]
    assert (rows["folds"] < 0.05).all()
    stated = json.loads((results / "tracking.json").read_text())
    assert stated["adapt_steps"] == 25 and stated["direction"] == "backward"
    assert stated["checkpoint"].endswith("tracker/save/ckpt-2")
    assert 0 < stated["region"]["mean_share"] < 1


def test_labels_and_points_are_followed(results, data):
    drift = pd.read_csv(results / "drift.csv")
    assert set(drift["frame"]) == {FRAMES - 1}
    mean = drift.mean(numeric_only=True)
    assert mean["dsc_tracked"] > mean["dsc_still"]
    assert mean["error_tracked_mm"] < mean["error_still_mm"]
    labels = nib.load(results / "label.nii.gz").get_fdata()
    first = read_volume(data / "0" / "labels" / "label_000.nii.gz").voxels
    np.testing.assert_array_equal(labels[..., 0], first)


def test_deepreg_warp_brings_a_frame_onto_the_next(results, data, tmp_path):
    """By the field that was written, to the MSE of the table (over the whole frame)."""
    sequence = read_sequence(data / "0" / "sequence.nii.gz")
    paths = [tmp_path / f"{index}.nii.gz" for index in range(FRAMES)]
    for path, image in zip(paths, sequence.images, strict=True):
        save_volume(path, image, sequence.grid.affine)
    field = results / "fields" / "002_to_001.nii.gz"
    words = ["-i", str(paths[1]), "-t", str(field), "--reference", str(paths[2])]
    assert warp.main([*words, "-o", str(tmp_path / "warped.nii.gz")]) == 0
    warped = read_volume(tmp_path / "warped.nii.gz").voxels / 255
    fixed, moving = sequence.scaled(2), sequence.scaled(1)
    assert np.mean((warped - fixed) ** 2) < 0.8 * np.mean((moving - fixed) ** 2)


def test_what_users_get_wrong_is_told_before_any_work(data, run, tmp_path, caplog):
    """Labels of other frames; nothing is written."""
    wrong = tmp_path / "label.nii.gz"
    save_volume(wrong, np.ones((ROWS, COLUMNS, 1), np.uint8), np.eye(4))
    words = ["--ckpt_path", str(run), "--label", str(wrong), "--gpu", ""]
    words += ["--sequence", str(data / "0" / "sequence.nii.gz")]
    with caplog.at_level(logging.ERROR):
        assert track.main([*words, "--output", str(tmp_path / "out")]) == 2
    assert f"{wrong}: expected the grid of the frames" in caplog.text
    assert not (tmp_path / "out").exists()
