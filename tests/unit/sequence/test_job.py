"""Tests of deepreg_meta/sequence/job.py: everything is checked before any long work."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.sequence.job import TrackOptions, prepare
from deepreg_meta.sequence.write_simulated import write_sequence
from tests.unit.sequence.examples import HEART, OPTIONS

FEW = replace(OPTIONS, num_frames=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """:return: folder of a simulated sequence of three frames."""
    return write_sequence(tmp_path_factory.mktemp("job") / "echo", 5, FEW, HEART)


def options(folder, **more):
    return TrackOptions([str(folder / "sequence.nii.gz")], **more)


def test_everything_is_read(folder):
    job = prepare(
        options(
            folder,
            mask=[folder / "myocardium.nii.gz"],  # paths will do as well
            intensity_range=(0.1, 1.0),
            dilate="1.4mm",
            label=folder / "labels" / "label_000.nii.gz",
            points=folder / "points" / "points_000.csv",
            label_at=[(2, str(folder / "labels" / "label_002.nii.gz"))],
            points_at=[(1, str(folder / "points" / "points_001.csv"))],
            truth=str(folder / "truth"),
            frame_rate=50,
        )
    )
    assert len(job.sequence) == 3 and job.sequence.time_step_s == 0.02
    assert job.region.shape == (3, 48, 44, 1) and 0.1 < job.region.mean() < 0.5
    assert job.given.values == [1, 2] and list(job.given.points_at) == [1]
    assert list(job.truth_files) == ["001_to_000", "002_to_001"]
    assert job.truth("002_to_001").shape == (48, 44, 1, 3)
    assert job.film is not None and job.film.region is job.region
    stated = json.loads(json.dumps(job.settings()))
    assert stated["speed_unit"] == "mm/s" and stated["num_frames"] == 3
    assert stated["region"]["dilate"] == "1.4mm"
    assert stated["region"]["mean_share"] == pytest.approx(job.region.mean(), abs=1e-6)


def test_little_is_needed(folder):
    job = prepare(options(folder, animation=False))
    assert job.region is None and job.film is None and job.truth_files == {}
    assert job.truth("001_to_000") is None and job.given.label is None
    assert job.settings()["region"]["mean_share"] == 1.0


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (dict(window_radius=0), "--window-radius: expected an integer >= 1, got 0"),
        (dict(dilate="wide"), "--dilate: expected a radius"),
        (dict(dilate="2"), "--dilate: expected a region to widen"),
        (dict(direction="up"), "direction: expected one of backward, forward"),
        (dict(intensity_range=(0.5, 0.1)), "--intensity-range: expected 0 <= LOW"),
        (dict(plane=(3, 0)), "--plane: expected an axis from 0 to 2"),
        (dict(animation_style="dots"), "--animation-style: expected one of"),
        (dict(axes="xyt"), "--axes xyt: expected a file of shape"),
        (dict(frame_rate=-1), "--frame-rate: expected a number > 0"),
    ],
)
def test_wrong_options_are_told_by_their_flags(folder, more, rule):
    with pytest.raises(ValueError, match=rule):
        prepare(options(folder, **more))


@pytest.mark.parametrize("kind", ["mask", "label", "points", "truth"])
def test_missing_files_are_told(folder, kind):
    path = str(folder / "none.nii.gz")
    with pytest.raises(FileNotFoundError, match="none.nii.gz"):
        prepare(options(folder, **{kind: [path] if kind == "mask" else path}))


def test_a_truth_of_other_frames_is_told_before(folder, tmp_path):
    other = replace(FEW, shape=(44, 48))
    truth = write_sequence(tmp_path / "other", 5, other, HEART) / "truth"
    with pytest.raises(ValueError, match="--truth: .*on the grid of the frames"):
        prepare(options(folder, truth=str(truth)))
    np.testing.assert_equal(len(list(truth.iterdir())), 4)


def test_a_later_truth_that_cannot_be_used_is_told_before_too(folder, tmp_path):
    shutil.copytree(folder / "truth", tmp_path / "truth")
    last = sorted((tmp_path / "truth").iterdir())[-1]
    field = nib.load(last)
    nib.save(field.slicer[:-2], last)
    with pytest.raises(ValueError, match=f"--truth: .*{last.name}.*expected"):
        prepare(options(folder, truth=str(tmp_path / "truth")))
