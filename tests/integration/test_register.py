"""
One pair of files from the command line to files that other programs open.

TensorFlow has no name of its own here, see tests/unit/test_registration.py.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from scipy.spatial.transform import Rotation

from deepreg_meta import register_pair
from deepreg_meta.geometry.affine import FLIP
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import read_landmarks
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.geometry.volume_file import read_volume, save_volume
from deepreg_meta.registration import Registrar
from deepreg_meta.results.outputs import Outputs
from tests.helpers import without_xla
from tests.pairs import NAMES, grid_at, run_of, turn, write_run, write_side

# fixed and moving grids, of unequal shape and spacing, neither upright nor isotropic
PLACES = {
    "oblique": (
        grid_at((13, 15, 11), (1.2, 1.0, 1.5), (20, -25, 30)),
        grid_at((16, 14, 12), (1.0, 1.1, 1.6), (-18, 12, 25), centre=(1, -2, 0.5)),
    ),
    "left-handed": (
        grid_at((15, 12, 13), (1.1, 1.3, 0.9), (12, -9, 20), flip=(-1, 1, 1)),
        grid_at((12, 16, 14), (1.4, 0.9, 1.2), (10, 25, 3), flip=(1, 1, -1)),
    ),
    "permuted axes": (
        grid_at((14, 11, 15), (0.9, 1.6, 1.1), (95, 4, 16), flip=(1, -1, 1)),
        grid_at((11, 15, 13), (1.5, 0.8, 1.3), (7, -73, 12)),
    ),
    "thick slices": (
        grid_at((18, 16, 6), (0.8, 0.9, 3.1), (5, -13, 28)),
        grid_at((20, 7, 17), (0.7, 2.5, 0.8), (9, -14, 12), flip=(-1, -1, -1)),
    ),
}
FIXED_GRID = grid_at((13, 15, 11), (1.2, 1.0, 1.5), (8, -5, 10))
MOVING_GRID = grid_at((16, 14, 12), (1.0, 1.1, 1.6), (-8, 5, 6))
POSE = turn((5, 8, -4), (2, -1, 1.5))  # of the anatomy in the moving image
OBLIQUE = Rotation.from_rotvec(np.radians(25) * np.array([1, 2, 3]) / np.sqrt(14))
# cut off and filled up to other voxels: the network's grid is none of a file's, and
# ends within the fixed image
GRID = dict(grid=dict(spacing_mm=[1.5, 1.2, 1.4], fit="pad"))


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with without_xla():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """:return: folder of a run of random weights on images with axes RAS."""
    folder = tmp_path_factory.mktemp("run") / "random"
    config = run_of(dataset=GRID)
    # with two levels random weights lead further than with one
    config["train"]["backbone"]["extract_levels"] = [0, 1]
    return write_run(folder, config)


@pytest.fixture(scope="module")
def registrar(run):
    return Registrar(str(run))


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """:return: files of the fixed and of the moving side."""
    folder = tmp_path_factory.mktemp("pair")
    fixed = write_side(folder, "fixed", FIXED_GRID)
    return fixed, write_side(folder, "moving", MOVING_GRID, POSE)


# ---- other programs do the same ----


def warp_by_itk(sides, path):
    """:return: what SimpleITK makes of the original files, and the transform."""
    fixed, moving = (sitk.ReadImage(str(s.image), sitk.sitkFloat32) for s in sides)
    if str(path).endswith(".nii.gz"):
        vectors = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
        itk = sitk.DisplacementFieldTransform(vectors)
    else:
        itk = sitk.ReadTransform(str(path))
    warped = sitk.Resample(moving, fixed, itk, sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(warped).transpose(2, 1, 0), itk


@pytest.mark.parametrize("initial", ["config", "header"])
@pytest.mark.parametrize("place", PLACES)
def test_simpleitk_makes_our_warped_image_of_the_original_files(
    registrar, place, initial, tmp_path
):
    """
    Over the whole grid of the fixed image: on average to 1e-4 of the range of
    intensities, nowhere more than 1e-2 apart. Points too.
    """
    sides = (
        write_side(tmp_path, "fixed", PLACES[place][0]),
        write_side(tmp_path, "moving", PLACES[place][1], POSE),
    )
    pair = registrar.register(*sides, adapt_steps=1, initial=initial)
    assert pair.scores["displacement_max_adapted_mm"] > 1
    out = tmp_path / "out"
    pair.save(out, Outputs(formats=("h5", "nifti"), figure=False))
    ours = nib.load(out / "warped_image.nii.gz")
    np.testing.assert_allclose(ours.affine, PLACES[place][0].affine, atol=1e-4)
    ours = ours.get_fdata()
    border = np.ones(ours.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert np.mean(ours[border] > 0) > 0.2 and np.mean(ours > 0) > 0.5
    before, _ = warp_by_itk(sides, write_identity(tmp_path / "identity.tfm"))
    for name in ("transform.h5", "ddf.nii.gz"):
        itk, transform = warp_by_itk(sides, out / name)
        apart = np.abs(ours - itk) / np.ptp(itk)
        assert apart.mean() < 1e-4 and apart.max() < 1e-2, name
        assert np.abs(before - itk).mean() / np.ptp(itk) > 0.02
        points = read_landmarks(sides[0].landmarks).points
        ends = read_landmarks(out / "fixed_landmarks_on_moving.mrk.json").points
        found = [transform.TransformPoint((FLIP * p).tolist()) for p in points]
        # between the voxels of the network's field and those of the file's
        np.testing.assert_allclose(np.array(found) * FLIP, ends, atol=0.3)


def write_identity(path):
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    return path


# ---- physical space ----


def landmark_errors(pair, stage="adapted"):
    """:return: errors in mm of the landmarks and of the second label."""
    return [row[f"tre_{stage}_mm"] for row in pair.result.landmark_rows]


def turned(grid, matrix):
    return Grid(grid.shape, matrix @ grid.affine)


@pytest.mark.parametrize("initial", ["config", "header"])
def test_a_turned_and_shifted_header_changes_no_error(
    registrar, sides, initial, tmp_path
):
    """Both headers, 25 degrees about (1, 2, 3) and far away; the voxels stay."""
    matrix = turn(OBLIQUE.as_euler("xyz", degrees=True), (120, -90, 60))
    moved = (
        write_side(tmp_path, "fixed", turned(FIXED_GRID, matrix), matrix),
        write_side(tmp_path, "moving", turned(MOVING_GRID, matrix), matrix @ POSE),
    )
    for a, b in zip(sides, moved, strict=True):
        voxels = [read_volume(side.image).voxels for side in (a, b)]
        np.testing.assert_allclose(*voxels, atol=0.01)
    expected = registrar.register(*sides, adapt_steps=2, initial=initial)
    found = registrar.register(*moved, adapt_steps=2, initial=initial)
    for stage in ("before", "adapted"):
        errors = landmark_errors(expected, stage)
        assert len(errors) == 1 + len(NAMES) and min(errors) > 0.5
        np.testing.assert_allclose(landmark_errors(found, stage), errors, atol=1e-3)
    name = "tre_adapted_mm"
    assert found.scores[name] == pytest.approx(expected.scores[name], abs=1e-3)
    # the images went along: points of the turned space are led as those of the old one
    points = read_landmarks(sides[0].landmarks).points
    ends = expected.transform.map_points(points) @ matrix[:3, :3].T + matrix[:3, 3]
    moved_points = read_landmarks(moved[0].landmarks).points
    np.testing.assert_allclose(
        found.transform.map_points(moved_points), ends, atol=2e-3
    )


def test_a_copy_of_the_moving_image_on_a_turned_grid_has_the_same_error(
    registrar, sides, tmp_path
):
    """
    The same anatomy in the same place, sampled on voxels turned by 25 degrees: through
    the headers the network sees the same but for the interpolation. To half a voxel.
    """
    matrix = turn(OBLIQUE.as_euler("xyz", degrees=True))
    grid = turned(grid_at((18, 18, 14), (1.0, 1.1, 1.6), (-8, 5, 6)), matrix)
    copy = write_side(tmp_path, "moving", grid, POSE)
    expected = registrar.register(*sides, adapt_steps=2, initial="header")
    found = registrar.register(sides[0], copy, adapt_steps=2, initial="header")
    errors = landmark_errors(found), landmark_errors(expected)
    np.testing.assert_allclose(*errors, atol=0.5)
    moved = np.subtract(landmark_errors(expected, "before"), errors[1])
    assert np.abs(moved).min() > 0.5  # the network leads them somewhere else


def test_an_anatomy_that_is_turned_itself_has_the_same_error(
    registrar, sides, tmp_path
):
    """
    Both images of an anatomy turned by 25 degrees, sampled on the grids as they were:
    the network sees other voxels. It knows nothing; what it finds, it finds by forty
    updates on image and label, either way: the root mean square agrees to half a voxel.
    """
    matrix = turn(OBLIQUE.as_euler("xyz", degrees=True))
    copies = (
        write_side(tmp_path, "fixed", FIXED_GRID, matrix),
        write_side(tmp_path, "moving", MOVING_GRID, matrix @ POSE),
    )
    errors = []
    for each in (sides, copies):
        pair = registrar.register(*each, adapt_steps=40, initial="header")
        assert pair.scores["tre_before_mm"] > 2.5
        errors.append(pair.scores["tre_adapted_mm"])
    assert max(errors) < 1.3
    assert errors[0] == pytest.approx(errors[1], abs=0.5)


# ---- the command ----


def words_of(sides, run, output, *more):
    """:return: a command line with all files of a pair."""
    words = ["--ckpt_path", str(run), "--output", str(output), "--gpu", ""]
    for kind, side in zip(("fixed", "moving"), sides, strict=True):
        words += [f"--{kind}", str(side.image), f"--{kind}-label", str(side.labels[0])]
        words += [f"--{kind}-landmarks", str(side.landmarks)]
        if side.mask is not None:
            words += [f"--{kind}-mask", str(side.mask)]
    return [*words, *more]


def with_mask(side, path):
    """:return: the side with a mask of the middle of its image."""
    grid = read_volume(side.image).grid
    mask = np.zeros(grid.shape, np.uint8)
    mask[2:-2, 2:-2, 2:-2] = 1
    save_volume(path, mask, grid.affine)
    return replace(side, mask=path)


def test_the_command_writes_what_it_found(
    run, sides, tmp_path, capsys, caplog, untraced
):
    """All files of a pair; a suspect transform is told and no failure."""
    sides = [with_mask(s, tmp_path / f"mask{i}.nii.gz") for i, s in enumerate(sides)]
    out = tmp_path / "a" / "result"
    more = ["--adapt-steps", "2", "--initial", "header", "--inverse", "--max-folds"]
    more += ["0", "--max-displacement", "0.1", "--transform-format", "h5", "nifti"]
    with caplog.at_level(logging.INFO):
        assert register_pair.main(words_of(sides, run, out, *more)) == 0
    assert caplog.messages[-1] == f"The results are in {out}"
    suspect = [m for m in caplog.messages if m.startswith("Suspect transform: ")]
    assert suspect and "further than 0.1 mm" in suspect[-1]
    table = capsys.readouterr().out
    assert "moving_to_fixed" in table and "Dice" in table
    assert {path.name for path in out.iterdir()} == {
        "metrics.csv", "labels.csv", "landmarks.csv", "adaptation.csv", "summary.csv",
        "columns.md", "config.yaml", "adaptation.png", "figure.png",
        "fixed_image.nii.gz", "warped_image.nii.gz", "warped_label_label_0.nii.gz",
        "warped_label_label_1.nii.gz", "transform.h5", "transform_inverse.h5",
        "ddf.nii.gz", "ddf_inverse.nii.gz", "fixed_landmarks_on_moving.mrk.json",
        "moving_landmarks_on_fixed.mrk.json",
    }  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["result"]
    row = pd.read_csv(out / "metrics.csv", comment="#").iloc[0]
    assert row["num_updates"] == 2 and row["loss_adapted"] <= row["loss_unadapted"]
    assert ("of the voxels fold" in row["warning"]) == (row["folds_adapted"] > 0)
    assert "further than 0.1 mm" in row["warning"]
    assert 0 < row["inverse_residual_mean_mm"] < 1
    config = (out / "config.yaml").read_text()
    assert f"# checkpoint {run}/save/ckpt-1" in config and "mode: affine" in config
    # what was done; the run itself has no updates, and keeps the last
    adapt = yaml.safe_load(config)["adapt"]
    assert (adapt["steps"], adapt["keep"]) == (2, "best")
    landmarks = pd.read_csv(out / "landmarks.csv", comment="#").set_index("landmark")
    transform = load_transform(out / "transform.h5")
    points = [read_landmarks(side.landmarks).points for side in sides]
    errors = np.linalg.norm(transform.map_points(points[0]) - points[1], axis=1)
    found = landmarks.loc[list(NAMES), "tre_adapted_mm"]
    # the file's field is linear between the voxels of the fixed image
    np.testing.assert_allclose(errors, found, atol=0.3)
    steps = pd.read_csv(out / "adaptation.csv", comment="#")
    assert len(steps) == 2 and steps["tre_mm"].notna().all()


# ---- what users get wrong ----


@pytest.fixture
def own(sides, tmp_path):
    """:return: copies of the pair's files, to be spoilt."""
    copies = []
    for side in sides:
        paths = [
            Path(shutil.copy(path, tmp_path))
            for path in (side.image, side.labels[0], side.landmarks)
        ]
        copies.append(
            replace(side, image=paths[0], labels=paths[1:2], landmarks=paths[2])
        )
    return copies


@pytest.fixture
def message(run, tmp_path, caplog):
    """:return: runs a command that must fail; gives its one message."""

    def fail(sides, *more, ckpt=None):
        out = tmp_path / "b" / "result"
        words = words_of(sides, ckpt or run, out, "--adapt-steps", "1", *more)
        assert register_pair.main(words) == 2
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(errors) == 1 and errors[0].exc_info is None
        assert not out.parent.exists()
        return errors[0].getMessage()

    return fail


def put_affine(path, columns):
    """Write an affine that nibabel would not, the voxels as they are."""
    voxels = np.asanyarray(nib.load(path).dataobj)
    image = nib.Nifti1Image(voxels, np.eye(4))
    affine = np.eye(4)
    affine[:3, :3] = columns
    image.set_sform(affine, code=1)
    nib.save(image, path)


def test_missing_files_are_all_named(own, message):
    for path in (own[0].image, own[1].labels[0]):
        path.unlink()
    text = message(own)
    assert f"--fixed: expected a file, found none: {own[0].image}" in text
    assert f"--moving-label: expected a file, found none: {own[1].labels[0]}" in text


def test_a_checkpoint_that_is_not_there(own, message, tmp_path):
    text = message(own, ckpt=tmp_path / "none")
    assert "--ckpt_path: expected a checkpoint" in text


def test_a_checkpoint_of_another_architecture(own, message, run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    config = (other / "config.yaml").read_text()
    changed = config.replace("num_channel_initial: 1", "num_channel_initial: 2")
    assert changed != config
    (other / "config.yaml").write_text(changed)
    text = message(own, ckpt=other)
    assert "--ckpt_path" in text and "another architecture" in text


def test_images_without_overlap(own, message):
    """By their headers; the distance is told."""
    volume = read_volume(own[1].image)
    volume.grid.affine[:3, 3] += [0, 300, 0]
    for path in (own[1].image, own[1].labels[0]):
        save_volume(path, read_volume(path).voxels, volume.grid.affine)
    text = message(own, "--initial", "header")
    assert "moving.nii.gz" in text and "fixed.nii.gz" in text
    assert "do not overlap" in text and "300." in text and "mass" in text


def test_a_singular_affine(own, message):
    put_affine(own[0].image, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    text = message(own)
    assert str(own[0].image) in text and "an invertible affine, got a singular" in text


def test_a_voxel_side_of_zero(own, message):
    put_affine(own[1].image, np.diag([1, 1, 0]))
    text = message(own)
    assert str(own[1].image) in text and "expected voxel sides > 0" in text


def test_lengths_in_micrometres(own, message):
    image = nib.load(own[0].image)
    image.header.set_xyzt_units("micron")
    nib.save(image, own[0].image)
    text = message(own)
    assert str(own[0].image) in text and "expected lengths in mm" in text
    assert "micron" in text


def test_voxels_that_are_not_finite(own, message):
    """Those of both images at once."""
    for side in own:
        volume = read_volume(side.image)
        voxels = np.array(volume.voxels)
        voxels[3, 4, 5] = np.nan
        save_volume(side.image, voxels, volume.grid.affine)
    text = message(own)
    for side in own:
        assert f"{side.image}: expected finite intensities, got 1 voxels" in text


def test_an_initial_field_and_other_files(own, message, sides, tmp_path):
    """A volume is no transform."""
    text = message(own, "--initial", str(sides[0].image))
    assert str(sides[0].image) in text and "expected a displacement field" in text


def test_limits_out_of_range(own, message):
    assert "--max-folds: expected a share" in message(own, "--max-folds", "3")


def test_a_folder_of_other_files_stays_as_it_is(own, run, tmp_path, caplog):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "text.tex").write_text("mine")
    assert register_pair.main(words_of(own, run, out)) == 2
    assert f"--output: {out} exists and holds something else" in caplog.text
    assert [path.name for path in out.iterdir()] == ["text.tex"]


def test_steps_and_seconds_are_not_both(own, run, tmp_path, capsys):
    more = ["--adapt-steps", "1", "--adapt-seconds", "1"]
    with pytest.raises(SystemExit) as end:
        register_pair.main(words_of(own, run, tmp_path / "out", *more))
    assert end.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
