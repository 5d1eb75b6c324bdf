"""Tests of deepreg_meta/results.py."""

import dataclasses

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from deepreg_meta.dataset.tasks import Case
from deepreg_meta.results import CaseResult, score, write_case, write_summary
from tests.helpers import ball

MOVING, FIXED = (16, 15, 14), (13, 12, 11)
SPACING = np.array([1.0, 2.0, 0.5])
AFFINE = np.array(
    [[0, -2.0, 0, 9], [1.0, 0, 0, -4], [0, 0, 0.5, 2], [0, 0, 0, 1]], float
)
SHIFT = np.array([1.0, -1.0, 2.0])  # voxels, from fixed to aligned moving
OFFSET = np.array([2.0, 2.0, 1.0])  # of the alignment


@pytest.fixture
def case():
    """:return: a pair whose moving structures lie OFFSET + SHIFT further on."""
    centres = np.array([[6, 6, 5], [5, 7, 5], [7, 5, 6]], float)
    radii = (2.6, 0.9, 0.9)
    rng = np.random.default_rng(0)
    return Case(
        name="case7",
        indices=(7,),
        moving_image=rng.random(MOVING).astype(np.float32),
        fixed_image=rng.random(FIXED).astype(np.float32),
        moving_labels=np.stack(
            [
                ball(MOVING, c + OFFSET + SHIFT, r)
                for c, r in zip(centres, radii, strict=True)
            ]
        ),
        fixed_labels=np.stack(
            [ball(FIXED, c, r) for c, r in zip(centres, radii, strict=True)]
        ),
        label_names=("gland", "cyst", "apex"),
        moving_affine=AFFINE,
        fixed_affine=AFFINE,
        moving_spacing_mm=SPACING,
        fixed_spacing_mm=SPACING,
        spacing_is_nominal=False,
    )


def make_result(case: Case, **options: object) -> CaseResult:
    """:return: half of the shift unadapted, all of it after two updates."""
    field = np.broadcast_to(SHIFT, (*FIXED, 3)).astype(np.float32)
    slices = np.zeros(FIXED[1], np.float32)
    slices[[5, 6, 8]] = 1
    outputs = dict(
        ddf=field,
        ddf_unadapted=field / 2,
        matrix=np.eye(3, dtype=np.float32),
        offset=OFFSET.astype(np.float32),
        slices=slices,
        history=np.array([[-0.2, -0.1, 2, 0.5, 3.0], [-0.6, -0.4, 3, 0.7, 2.0]]),
    )
    settings = dict(seconds=4.0, steps=2, frame_axis=1, is_sparse=True)
    return CaseResult(case=case, outputs=outputs, **{**settings, **options})


HISTORY = ["label", "total", "num_frames", "dsc", "tre_mm"]


def test_the_landmark_error_is_what_is_left_of_the_shift_in_mm(case):
    """Before: |SHIFT * spacing|, then half of it, then nothing."""
    result = make_result(case)
    score(result)
    length = np.linalg.norm(SHIFT * SPACING)  # |(1, -2, 1)| = 2.449 mm
    assert length == pytest.approx(np.sqrt(6))
    row = result.case_row
    assert row["tre_before_mm"] == pytest.approx(length, rel=1e-4)
    assert row["tre_unadapted_mm"] == pytest.approx(length / 2, rel=1e-4)
    assert row["tre_adapted_mm"] == pytest.approx(0, abs=1e-4)
    assert row["num_landmarks"] == 2
    names = [landmark["landmark"] for landmark in result.landmark_rows]
    assert names == ["cyst", "apex"]
    for landmark in result.landmark_rows:
        assert landmark["case"] == "case7"
        assert landmark["tre_before_mm"] == pytest.approx(length, rel=1e-4)


def test_dice_of_the_gland_rises_to_one(case):
    """Before registration it is that of balls SHIFT apart, counted by hand."""
    result = make_result(case)
    warped = score(result)
    row = result.case_row
    start = tuple(slice(int(o), int(o) + n) for o, n in zip(OFFSET, FIXED, strict=True))
    aligned = case.moving_labels[0][start] >= 0.5
    fixed = case.fixed_labels[0] >= 0.5
    by_hand = 2 * (aligned & fixed).sum() / (aligned.sum() + fixed.sum())
    assert 0 < by_hand < 0.9
    assert row["dsc_before"] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand < row["dsc_unadapted"] < row["dsc_adapted"]
    assert row["dsc_adapted"] == pytest.approx(1)
    np.testing.assert_allclose(warped["adapted"], case.fixed_labels[0], atol=1e-5)
    hidden = np.ones(FIXED[1], bool)
    hidden[[5, 6, 8]] = False
    a, b = aligned[:, hidden], fixed[:, hidden]
    off = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert row["dsc_off_frames_before"] == pytest.approx(off, abs=1e-6)
    assert off != pytest.approx(by_hand, abs=1e-3)


def test_the_row_counts_updates_seconds_frames_and_folds(case):
    """A constant field folds nowhere."""
    result = make_result(case)
    score(result)
    row = result.case_row
    assert (row["case"], row["num_updates"], row["seconds"]) == ("case7", 2, 4.0)
    assert (row["seconds_per_update"], row["num_frames"]) == (2.0, 3)
    assert list(result.frames) == [5, 6, 8]
    for stage in ("unadapted", "adapted"):
        assert row[f"folds_{stage}"] == 0
        assert row[f"jacobian_min_{stage}"] == pytest.approx(1, abs=1e-5)
    assert "folds_before" not in row


def test_full_volumes_and_unadapted_results_have_no_such_columns(case):
    """No frames, no seconds per update."""
    result = make_result(case, is_sparse=False, steps=0)
    score(result)
    absent = {"num_frames", "seconds_per_update", "dsc_off_frames_adapted"}
    assert not absent & set(result.case_row)


def test_unlabelled_pairs_are_scored_by_their_fields_alone(case):
    """No Dice and no landmark."""
    bare = dataclasses.replace(
        case, moving_labels=None, fixed_labels=None, label_names=()
    )
    result = make_result(bare)
    assert score(result) == {}
    assert not [n for n in result.case_row if n.startswith(("dsc", "tre", "lost"))]
    assert result.case_row["num_landmarks"] == 0 and not result.landmark_rows


def test_what_the_sweep_hides_is_scored_too(case):
    """The Dice off the frames looks nowhere else."""
    labels = case.fixed_labels.copy()
    labels[0][:, [5, 6, 8]] = 0
    spoilt = dataclasses.replace(case, fixed_labels=labels)
    found = []
    for each in (case, spoilt):
        result = make_result(each)
        score(result)
        found.append(result.case_row)
    name = "dsc_off_frames_adapted"
    assert found[0][name] == found[1][name] == pytest.approx(1)
    assert found[1]["dsc_adapted"] < 0.9


@pytest.fixture
def written(case, tmp_path):
    """:return: the result and the folder of its files."""
    result = write_case(tmp_path, make_result(case), save_nifti=True, save_png=True)
    return result, tmp_path / "case7"


def test_the_files_lie_in_the_fixed_images_space(written, case):
    """Images and labels as scored; every landmark has a file."""
    _, folder = written
    names = {
        "fixed_image", "warped_image", "ddf", "warped_label_gland",
        "warped_label_cyst", "warped_label_apex",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == (
        {f"{name}.nii.gz" for name in names} | {"figure.png"}
    )
    for name in names:
        image = nib.load(folder / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
        assert image.shape[:3] == FIXED
    gland = nib.load(folder / "warped_label_gland.nii.gz").get_fdata()
    np.testing.assert_allclose(gland, case.fixed_labels[0], atol=1e-5)
    # voxel x shows the moving image at x + OFFSET + SHIFT = x + (3, 1, 3)
    warped = nib.load(folder / "warped_image.nii.gz").get_fdata()
    np.testing.assert_allclose(warped, case.moving_image[3:16, 1:13, 3:14], atol=1e-5)


def test_the_field_on_disk_holds_alignment_and_displacement_in_mm(written):
    """Voxels (3, 1, 3) under AFFINE are (-2, 3, 1.5) in RAS, (2, -3, 1.5) in LPS."""
    _, folder = written
    field = nib.load(folder / "ddf.nii.gz").get_fdata()
    assert field.shape == (*FIXED, 1, 3)
    np.testing.assert_allclose(field[4, 5, 6, 0], [2.0, -3.0, 1.5], atol=1e-4)


def test_files_may_be_declined(case, tmp_path):
    """No empty folder is left."""
    result = write_case(tmp_path, make_result(case), save_nifti=False, save_png=False)
    assert result.case_row["dsc_adapted"] == pytest.approx(1)
    assert not list(tmp_path.iterdir())


def test_the_tables_hold_cases_landmarks_and_updates(case, tmp_path):
    """The error of an update is turned into mm by the mean side, 7 / 6 mm."""
    result = make_result(case)
    score(result)
    text = write_summary(tmp_path, [result], HISTORY, title="test")
    assert "Dice" in text and "test" in text
    rows = pd.read_csv(tmp_path / "metrics.csv", comment="#")
    assert rows["tre_before_mm"][0] == pytest.approx(np.sqrt(6), rel=1e-4)
    assert len(pd.read_csv(tmp_path / "landmarks.csv", comment="#")) == 2
    steps = pd.read_csv(tmp_path / "adaptation.csv", comment="#")
    assert list(steps["step"]) == [0, 1]
    assert list(steps["loss"]) == [-0.1, -0.4]
    assert list(steps["loss_label"]) == [-0.2, -0.6]
    assert list(steps["num_frames"]) == [2, 3]
    np.testing.assert_allclose(steps["tre_mm"], np.array([3, 2]), rtol=1e-4)
    for name in ("summary.csv", "columns.md", "adaptation.png"):
        assert (tmp_path / name).is_file()


def test_nominal_spacings_are_reported_in_voxels(case, tmp_path):
    """No column calls them mm."""
    nominal = dataclasses.replace(case, spacing_is_nominal=True)
    result = make_result(nominal)
    score(result)
    write_summary(tmp_path, [result], HISTORY)
    for name in ("metrics.csv", "landmarks.csv", "adaptation.csv"):
        columns = pd.read_csv(tmp_path / name, comment="#").columns
        assert not [c for c in columns if c.endswith("_mm")]
        assert [c for c in columns if c.startswith("tre") and c.endswith("_vox")]


def test_the_baseline_lays_the_centroids_on_each_other(case):
    """Balls: the frames seen, 5, 6 and 8 of axis 1, pull the centroid along it only."""
    result = make_result(case)
    score(result)
    gland = case.fixed_labels[0] * result.seen
    where = np.argwhere(gland >= 0.5).mean(axis=0)
    matrix, offset = result.alignment("centroids")
    np.testing.assert_array_equal(matrix, np.eye(3))
    found = matrix @ where + offset
    np.testing.assert_allclose(found, [6 + 3, 6 + 1, 5 + 3], atol=1e-5)
    assert where[0] == pytest.approx(6) and where[2] == pytest.approx(5)
    assert abs(where[1] - 6) > 0.05
    # a shift along axis 1 alone remains, of the bias times its side of 2 mm
    error = 2 * abs(where[1] - 6)
    assert result.landmark_rows[0]["tre_centroids_mm"] == pytest.approx(error, abs=1e-4)
    assert result.case_row["dsc_centroids"] > result.case_row["dsc_before"]


def test_frames_that_miss_the_gland_leave_the_baseline_unaligned(case):
    result = make_result(case)
    result.outputs["slices"] = np.eye(FIXED[1], dtype=np.float32)[0]
    assert result.alignment("centroids")[1] is result.outputs["offset"]
