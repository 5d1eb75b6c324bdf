"""Tests of deepreg_meta/results/pair.py."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.geometry.affine import apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks, read_landmarks
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.results.limits import Limits
from deepreg_meta.results.outputs import Outputs
from deepreg_meta.results.pair import RegisteredPair
from tests.unit.results.examples import (
    FIXED,
    HISTORY,
    MOVING,
    OFFSET,
    PLACES,
    SHIFT,
    TURNS,
    flat_case,
    flat_result,
    make_case,
    make_result,
)

TURN = TURNS["turned, coarser"]
START = TURN.first(MOVING) - TURN.first(FIXED)
VOXELS = np.array([[5.0, 7, 4], [3.2, 8.1, 5.6]])  # of the fixed file
PLAIN = Outputs(volumes=False, formats=(), figure=False)


class Config:
    """The little of a run's configuration that is needed."""

    def dump(self, path, header):
        path.write_text(f"# {header}\ntrain: {{}}\n")


def make_pair(place="oblique", limits=None, spacing_mm=None, **options):
    """:return: a registered pair with two landmarks in each image."""
    fixed, moving = PLACES[place]
    ends = apply(moving, VOXELS + START + OFFSET + SHIFT)
    landmarks = (
        Landmarks(("one", "two"), apply(fixed, VOXELS)),
        Landmarks(("two", "three"), ends[::-1]),
    )
    case = make_case(place, TURN, spacing_mm)
    return RegisteredPair(
        result=make_result(case, TURN, landmarks=landmarks, **options),
        history_names=HISTORY,
        config=Config(),
        checkpoint="run/save/ckpt-3",
        fixed_landmarks=landmarks[0],
        moving_landmarks=landmarks[1],
        limits=limits or Limits(),
    )


def test_a_pair_gives_transform_image_and_scores():
    """The gland's centre is led where it belongs; scores are a copy."""
    pair = make_pair()
    fixed, moving = PLACES["oblique"]
    found = pair.transform.map_points(apply(fixed, VOXELS[0]))
    end = apply(moving, VOXELS[0] + START + OFFSET + SHIFT)
    np.testing.assert_allclose(found, end, atol=1e-4)
    assert pair.warped_image.shape == FIXED
    assert pair.scores["dsc_adapted"] == 1 and pair.scores["num_landmarks"] == 3
    pair.scores.clear()
    assert pair.scores["tre_adapted_mm"] == pytest.approx(0, abs=1e-4)


def test_what_is_suspect_is_told_and_kept_with_the_scores():
    """
    SHIFT is sqrt(0.8^2 + 1.3^2 + 5^2) = 5.2 mm long; a quarter of the fixed image's
    longest side, 10 voxels of 2.5 mm, is 6.25 mm.
    """
    pair = make_pair()
    assert pair.warnings == [] and pair.scores["warning"] == ""
    pair = make_pair(limits=Limits(displacement_mm=5.1))
    [warning] = pair.warnings
    assert "moves by 5.2 mm, further than 5.1 mm" in warning
    assert pair.scores["warning"] == warning
    ddf = 1.2 * make_pair().result.ddf("adapted")
    [warning] = make_pair(ddf=ddf).warnings
    assert "moves by 6.3 mm, further than 6.2 mm" in warning


def test_under_a_nominal_spacing_the_warnings_count_voxels():
    """|(1, -1, 2)| = 2.45 against 2."""
    pair = make_pair(limits=Limits(displacement_mm=2), spacing_mm=(1, 1, 1))
    [warning] = pair.warnings
    assert "moves by 2.4 voxels, further than 2.0 voxels" in warning


def test_saving_writes_tables_files_and_the_configuration(tmp_path):
    """In one folder, without one for the case; the terminal's table names the pair."""
    folder = tmp_path / "a" / "result"
    text = make_pair().save(folder)
    assert "case7" in text and "Dice" in text
    written = {path.name for path in folder.iterdir()}
    tables = {"metrics.csv", "labels.csv", "landmarks.csv", "adaptation.csv"}
    points = {
        "fixed_landmarks_on_moving.mrk.json",
        "moving_landmarks_on_fixed.mrk.json",
    }
    assert written == tables | points | {
        "summary.csv", "columns.md", "config.yaml", "adaptation.png", "figure.png",
        "transform.h5", "fixed_image.nii.gz", "warped_image.nii.gz",
        "warped_label_gland.nii.gz", "warped_label_cyst.nii.gz",
        "warped_label_apex.nii.gz",
    }  # fmt: skip
    head = (folder / "config.yaml").read_text().splitlines()[0]
    assert head == "# checkpoint run/save/ckpt-3"
    row = pd.read_csv(folder / "metrics.csv", comment="#").iloc[0]
    assert row["case"] == "case7" and np.isnan(row["warning"])
    transform = load_transform(folder / "transform.h5")
    end = apply(PLACES["oblique"][1], VOXELS[0] + START + OFFSET + SHIFT)
    found = transform.map_points(apply(PLACES["oblique"][0], VOXELS[0]))
    np.testing.assert_allclose(found, end, atol=1e-3)


def test_residuals_of_the_inverse_reach_the_table(tmp_path):
    make_pair().save(tmp_path, Outputs(False, ("h5",), inverse=True, figure=False))
    row = pd.read_csv(tmp_path / "metrics.csv", comment="#").iloc[0]
    assert row["inverse_residual_max_mm"] < 0.01
    assert (tmp_path / "transform_inverse.h5").is_file()


def test_landmarks_are_written_where_the_other_image_shows_them(tmp_path):
    """Under their own names: of the fixed image forwards, of the moving one back."""
    make_pair("left-handed").save(tmp_path, PLAIN)
    fixed, moving = PLACES["left-handed"]
    ends = apply(moving, VOXELS + START + OFFSET + SHIFT)
    forwards = read_landmarks(tmp_path / "fixed_landmarks_on_moving.mrk.json")
    assert forwards.names == ("one", "two")
    np.testing.assert_allclose(forwards.points, ends, atol=1e-3)
    back = read_landmarks(tmp_path / "moving_landmarks_on_fixed.mrk.json")
    assert back.names == ("two", "three")
    np.testing.assert_allclose(back.points, apply(fixed, VOXELS[::-1]), atol=1e-2)


def test_landmarks_that_a_folding_field_cannot_lead_back_are_told(
    tmp_path, caplog, rng
):
    make_pair().save(tmp_path / "smooth", PLAIN)
    assert "misses" not in caplog.text
    ddf = make_pair().result.ddf("adapted")
    ddf = ddf + rng.normal(scale=4, size=ddf.shape).astype(np.float32)
    pair = make_pair(ddf=ddf)
    pair.save(tmp_path / "rough", PLAIN)
    back = read_landmarks(tmp_path / "rough" / "moving_landmarks_on_fixed.mrk.json")
    returned = pair.transform.map_points(back.points)
    missed = np.linalg.norm(returned - pair.moving_landmarks.points, axis=1)
    assert missed.max() > 2
    assert f"misses by more than a voxel, up to {missed.max():.1f} mm: " in caplog.text


def test_landmarks_beyond_the_images_are_not_said_to_fold(tmp_path, caplog):
    """The inverse is none there, although the field does not fold."""
    ddf = make_pair().result.ddf("adapted")
    bend = np.sin(np.linspace(0, 3, len(ddf), dtype=np.float32))
    pair = make_pair(ddf=ddf + bend[:, None, None, None])
    far = replace(pair.moving_landmarks, points=pair.moving_landmarks.points + 60)
    pair = replace(pair, moving_landmarks=far, result=replace(pair.result))
    assert pair.scores["folds_adapted"] == 0
    pair.save(tmp_path, PLAIN)
    assert "where the field folds, or beyond the images" in caplog.text


def test_of_a_slice_the_thickness_hides_no_landmark_that_is_missed(
    tmp_path, caplog, rng
):
    case = flat_case()
    own = case.moving_source
    thick = Grid(own.grid.shape, np.diag([-1.0, -1.0, 500.0, 1.0]))
    result = flat_result(replace(case, moving_source=replace(own, grid=thick)))
    result.outputs["ddf"][..., :2] += rng.normal(scale=4, size=(20, 16, 1, 2))
    points = -np.array([[x, y, 0] for x in range(5, 15) for y in range(4, 12)])
    marks = Landmarks(tuple(map(str, range(len(points)))), points)
    pair = RegisteredPair(result, HISTORY, Config(), "", None, marks, Limits())
    pair.save(tmp_path, PLAIN)
    assert "misses by more than a voxel" in caplog.text


def test_landmarks_of_one_image_are_led_to_the_other_and_not_scored(tmp_path):
    pair = make_pair()
    alone = replace(pair, moving_landmarks=None, result=replace(pair.result))
    alone.result.landmarks = None
    alone = replace(alone)  # scored anew
    assert alone.scores["num_landmarks"] == 2  # the labels cyst and apex
    alone.save(tmp_path, PLAIN)
    written = [path.name for path in tmp_path.iterdir() if "_on_" in path.name]
    assert written == ["fixed_landmarks_on_moving.mrk.json"]


def test_results_are_replaced_and_other_folders_refused(tmp_path):
    pair, other = make_pair(), tmp_path / "other"
    for _ in range(2):
        pair.save(tmp_path / "result", PLAIN)
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(
        ValueError, match="--output: .*other exists and holds something else"
    ):
        pair.save(other)
    assert {path.name for path in tmp_path.iterdir()} == {"result", "other"}
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_network_that_diverged_is_suspect_but_no_crash(tmp_path, caplog):
    """Scores are written; neither transform nor landmarks."""
    ddf = np.full_like(make_pair().result.ddf("adapted"), np.nan)
    pair = make_pair(ddf=ddf)
    assert len(pair.warnings) == 2
    pair.save(tmp_path)
    assert "No transform is written" in caplog.text
    assert "No landmarks are written" in caplog.text
    written = {path.name for path in tmp_path.iterdir()}
    assert {"metrics.csv", "landmarks.csv", "figure.png"} <= written
    assert not [n for n in written if n.startswith("transform") or "_on_" in n]
    row = pd.read_csv(tmp_path / "metrics.csv", comment="#").iloc[0]
    assert np.isnan(row["tre_adapted_mm"]) and "fold" in row["warning"]
    assert row["dsc_unadapted"] > row["dsc_before"]


def test_the_thickness_of_a_slice_is_no_side_of_the_image():
    """A quarter of 20 pixels, not of 500; the network moves by 2, or by 6."""
    case = replace(flat_case(), fixed_spacing_mm=np.array([1.0, 1.0, 500.0]))
    for factor, warned in ((1, False), (3, True)):
        result = flat_result(case)
        result.outputs["ddf"] = factor * result.outputs["ddf"]
        pair = RegisteredPair(
            result, HISTORY, Config(), "run/save/ckpt-3", None, None, Limits()
        )
        assert any("further than 5.0 voxels" in w for w in pair.warnings) is warned
