"""Tests of deepreg_meta/sequence/run.py, with registrars that know the answer."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepreg_meta.geometry.nifti_field import read_field
from deepreg_meta.sequence.job import TrackOptions, prepare
from deepreg_meta.sequence.run import run_job
from deepreg_meta.sequence.simulated import simulate
from deepreg_meta.sequence.write_simulated import write_sequence
from tests.unit.sequence.examples import HEART, OPTIONS, Carrying, Known

FEW = replace(OPTIONS, num_frames=4)


@pytest.fixture(scope="module")
def echo():
    return simulate(5, FEW, HEART)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """:return: folder of a simulated sequence."""
    return write_sequence(tmp_path_factory.mktemp("run") / "echo", 5, FEW, HEART)


def job_of(folder, **more):
    return prepare(
        TrackOptions(
            [str(folder / "sequence.nii.gz")],
            mask=[str(folder / "myocardium.nii.gz")],
            label=str(folder / "labels" / "label_000.nii.gz"),
            points=str(folder / "points" / "points_000.csv"),
            label_at=[(3, str(folder / "labels" / "label_003.nii.gz"))],
            points_at=[(3, str(folder / "points" / "points_003.csv"))],
            truth=str(folder / "truth"),
            window_radius=3,
            **more,
        )
    )


@pytest.fixture(scope="module", params=["backward", "forward"])
def tracked(request, folder, echo, tmp_path_factory):
    """:return: results of the perfect registrar in either direction."""
    out = tmp_path_factory.mktemp("out") / request.param
    job = job_of(folder, direction=request.param)
    run_job(job, Known(echo.ddf), out, {"adapt_steps": 3})
    return request.param, out


def test_all_files_are_there(tracked):
    """Each of a kind that a later run may replace."""
    direction, out = tracked
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    pairs = [(1, 0), (2, 1), (3, 2)]
    if direction == "forward":
        pairs = [(0, 1), (1, 2), (2, 3)]
    assert names == {
        "tracking.csv", "tracking.png", "tracking.json", "drift.csv", "summary.csv",
        "summary.md", "columns.md", "label.nii.gz", "points.csv", "motion.gif",
        *(f"fields/00{f}_to_00{m}.nii.gz" for f, m in pairs),
        *(f"velocity/00{f}.nii.gz" for f, _ in pairs),
    }  # fmt: skip


def test_the_perfect_registrar_has_no_error(tracked):
    """Endpoint error, drift of the points and of the label, in either direction."""
    _, out = tracked
    rows = pd.read_csv(out / "tracking.csv")
    assert (rows["epe_tracked_mm"] < 1e-5).all() and (rows["epe_still_mm"] > 0.2).all()
    assert (rows["nlcc_tracked"] > rows["nlcc_still"] + 0.05).all()
    assert (rows["speed_mean"] * 0.1 - rows["motion_mean_mm"]).abs().max() < 1e-4
    drift = pd.read_csv(out / "drift.csv")
    assert drift["frame"].unique().tolist() == [3]
    points = drift.dropna(subset="landmark")
    assert len(points) == 12 and (points["error_tracked_mm"] < 0.05).all()
    assert (points["error_still_mm"] > 0.5).all()
    labels = drift.dropna(subset="label")
    assert (labels["dsc_tracked"] > 0.94).all() and (labels["dsc_still"] < 0.8).all()


def test_the_fields_are_those_of_the_registrar(tracked, echo):
    """And the velocities the motion by the second, forward in time."""
    direction, out = tracked
    sign = -1 if direction == "backward" else 1
    for path in sorted((out / "fields").iterdir()):
        fixed, moving = (int(x) for x in path.name.split(".")[0].split("_to_"))
        ddf = echo.ddf(fixed, moving)
        [field] = read_field(path).parts
        expected = ddf @ echo.grid.affine[:3, :3].T
        np.testing.assert_allclose(field.vectors, expected, atol=1e-5)
        velocity = nib.load(out / "velocity" / f"{fixed:03d}.nii.gz").get_fdata()
        lps = sign * expected[..., :2] * [-1, -1] / 0.1
        np.testing.assert_allclose(velocity[:, :, :, 0, :2], lps, atol=1e-4)


def test_labels_points_and_film_have_every_frame(tracked, echo):
    _, out = tracked
    labels = nib.load(out / "label.nii.gz").get_fdata()
    assert labels.shape == (48, 44, 1, 4)
    np.testing.assert_array_equal(labels[..., 0], echo.labels[0])
    points = pd.read_csv(out / "points.csv")
    for index in range(4):
        found = points[points["frame"] == index][["i", "j", "k"]].to_numpy()
        expected = echo.grid.to_voxel(echo.points(index).points)
        np.testing.assert_allclose(found, expected, atol=0.05)
    with Image.open(out / "motion.gif") as film:
        assert film.n_frames == 4


def test_settings_are_told(tracked):
    direction, out = tracked
    stated = json.loads((out / "tracking.json").read_text())
    assert stated["direction"] == direction and stated["adapt_steps"] == 3
    assert stated["carry"] is False and stated["num_frames"] == 4


def test_earlier_results_are_replaced_and_other_files_are_not(folder, echo, tmp_path):
    job = job_of(folder, animation=False)
    out = tmp_path / "out"
    for _ in range(2):
        text = run_job(job, Known(echo.ddf), out)
        assert "| NLCC |" in text and not (out / "motion.gif").exists()
    (out / "velocity" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="files that are none: velocity/notes.txt"):
        run_job(job, Known(echo.ddf), out)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="exists and holds something else"):
        run_job(job, Known(echo.ddf), tmp_path)


def test_nothing_half_written_is_left_when_a_pair_fails(folder, echo, tmp_path):
    """Not a single file, although the first pair went well."""

    def fail(fixed, moving):
        if fixed == 2:
            raise ValueError("no more")
        return echo.ddf(fixed, moving)

    with pytest.raises(ValueError, match="no more"):
        run_job(job_of(folder), Known(fail), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_carry_and_further_files_are_handed_on(folder, echo, tmp_path):
    registrar = Carrying(echo.ddf)
    out = tmp_path / "out"
    job = job_of(folder, animation=False)

    def dump(working):
        (working / "config.yaml").write_text("a: 1\n")

    run_job(job, registrar, out, carry=True, dump=dump)
    assert registrar.carried == [False, True, True]
    assert (out / "config.yaml").read_text() == "a: 1\n"
    assert json.loads((out / "tracking.json").read_text())["carry"] is True
    run_job(job, registrar, out)  # the file is one of results


def test_pairs_that_fold_are_told(folder, echo, tmp_path, caplog):
    def folding(fixed, moving):
        ddf = echo.ddf(fixed, moving)
        if fixed == 2:
            ddf[10:30:2, :, :, 0] += 5
        return ddf

    run_job(job_of(folder, animation=False), Known(folding), tmp_path / "out")
    assert "In 1 of 3 pairs more than 1 % of the voxels fold, such as 002_to" in (
        caplog.text
    )
