"""Tests of deepreg_meta/sequence/write_simulated.py."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.geometry.landmarks import read_landmarks
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.sequence.read import read_sequence
from deepreg_meta.sequence.region import read_masks
from deepreg_meta.sequence.simulated import simulate
from deepreg_meta.sequence.truth import find_truth, read_truth
from deepreg_meta.sequence.write_simulated import write_sequence
from tests.unit.sequence.examples import HEART, OPTIONS

FEW = replace(OPTIONS, num_frames=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """:return: folders of both forms, and what they were made of."""
    root = tmp_path_factory.mktemp("simulated")
    folders = {
        form: write_sequence(root / form, 5, FEW, HEART, form)
        for form in ("nifti", "png")
    }
    return folders, simulate(5, FEW, HEART)


def test_both_forms_hold_the_same_frames(written):
    """Of 8 bits, with their spacing; the time step is that of a NIfTI file."""
    folders, echo = written
    whole = read_sequence(folders["nifti"] / "sequence.nii.gz")
    pictures = read_sequence(folders["png"] / "frames")
    np.testing.assert_array_equal(whole.images, pictures.images)
    np.testing.assert_allclose(whole.images / 255, echo.images, atol=0.5 / 255 + 1e-6)
    assert whole.time_step_s == pytest.approx(0.4 / 3) and whole.unit == "mm"
    assert pictures.time_step_s is None and pictures.unit == "mm"
    assert whole.grid.is_same(echo.grid) and pictures.grid.is_same(echo.grid)


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_the_truth_is_that_of_the_formula(written, direction):
    folders, echo = written
    for folder in folders.values():
        files = find_truth(folder / "truth", echo.sequence, direction)
        for name, path in files.items():
            fixed, moving = (int(part) for part in name.split("_to_"))
            found = read_truth(path, echo.sequence)
            np.testing.assert_allclose(found, echo.ddf(fixed, moving), atol=1e-5)


def test_labels_masks_and_points_lie_on_the_frames(written):
    folders, echo = written
    for form, suffix in (("nifti", ".nii.gz"), ("png", ".png")):
        walls = read_masks(folders[form] / "myocardium.nii.gz", echo.sequence)
        np.testing.assert_array_equal(walls, echo.labels == 2)
        for index in range(3):
            label = read_volume(folders[form] / "labels" / f"label_00{index}{suffix}")
            np.testing.assert_array_equal(label.voxels, echo.labels[index])
            points = read_landmarks(folders[form] / "points" / f"points_00{index}.csv")
            expected = echo.points(index)
            assert points.names == expected.names
            np.testing.assert_allclose(points.points, expected.points, atol=1e-6)


def test_the_heart_that_was_drawn_is_told(tmp_path):
    folder = write_sequence(tmp_path / "s", 7, FEW)
    stamp = json.loads((folder / "simulated.json").read_text())
    assert stamp["parameters"]["seed"] == 7 and stamp["parameters"]["heart"] is None
    assert stamp["heart"]["endo_mm"] == simulate(7, FEW).heart.endo_mm


def test_the_same_call_reuses_what_is_there_and_another_one_is_refused(written):
    folder = written[0]["png"]
    stamp = folder / "simulated.json"
    before = stamp.stat().st_mtime_ns
    assert write_sequence(folder, 5, FEW, HEART, "png") == folder
    assert stamp.stat().st_mtime_ns == before
    for other in (dict(seed=6), dict(form="nifti"), dict(heart=None)):
        with pytest.raises(ValueError, match="expected a new or empty folder"):
            write_sequence(
                folder, **(dict(seed=5, options=FEW, heart=HEART, form="png") | other)
            )
    with pytest.raises(ValueError, match="form: expected nifti or png, got 'gif'"):
        write_sequence(folder, form="gif")
