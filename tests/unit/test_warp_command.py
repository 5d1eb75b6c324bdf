"""Tests of `deepreg_warp`, through its command line."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.inverse import invert
from deepreg_meta.geometry.landmarks import Landmarks, read_landmarks, save_landmarks
from deepreg_meta.geometry.picture_file import read_picture, save_picture
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import (
    load_transform,
    save_deepreg_ddf,
    save_transform,
)
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.warp import main
from deepreg_meta.warping import warp_points
from tests.unit.geometry.places import (
    FIXED,
    MOVING,
    PAIRS,
    PLANES,
    affine,
    alignment,
    map_by_itk,
    rough_field,
    voxels,
)

ROOT = Path(__file__).parents[2]
FIXED_GRID, MOVING_GRID = PAIRS["oblique"]


class Files:
    """A pair of images, labels, points and a transform between them, in a folder."""

    def __init__(self, folder, rng):
        self.folder = folder
        self.image = rng.uniform(1, 2, MOVING).astype(np.float32)
        self.label = rng.integers(0, 4, MOVING).astype(np.int16)
        fixed = rng.uniform(1, 2, FIXED).astype(np.float32)
        self.fixed_image = fixed
        self.transform = Transform(
            (rough_field(FIXED_GRID, rng, 0.3), alignment(FIXED_GRID, MOVING_GRID, rng))
        )
        save_volume(self / "moving.nii.gz", self.image, MOVING_GRID.affine)
        save_volume(self / "label.nii.gz", self.label, MOVING_GRID.affine)
        save_volume(self / "fixed.nii.gz", fixed, FIXED_GRID.affine)
        save_transform(self / "t.h5", self.transform, FIXED_GRID)

    def __truediv__(self, name):
        return self.folder / name

    def run(self, *line):
        """:return: the exit status of a command line, given in parts."""
        return main(" ".join(line).split())

    def read(self, name):
        image = nib.load(self / name)
        return np.asanyarray(image.dataobj), image.affine


@pytest.fixture
def files(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path, rng)


def points_in(grid, rng, count=6):
    points = grid.to_world(rng.uniform(0.5, np.subtract(grid.shape, 1.5), (count, 3)))
    return Landmarks(tuple("abcdef"[:count]), points)


def test_a_moving_image_comes_onto_the_grid_of_the_field(files):
    arguments = "-i moving.nii.gz -t t.h5 -o out/warped.nii.gz --outside -3"
    assert files.run(arguments) == 0
    warped, place = files.read("out/warped.nii.gz")
    expected = resample(
        files.image, MOVING_GRID, FIXED_GRID, files.transform, outside=-3
    )
    assert (warped == -3).any() and (warped > 1).mean() > 0.3
    np.testing.assert_allclose(warped, expected, atol=1e-5)
    np.testing.assert_allclose(place, FIXED_GRID.affine, atol=1e-5)


def test_the_command_agrees_with_simpleitk_at_every_voxel(files):
    """The reference has another grid than the field."""
    reference = FIXED_GRID.padded((1, 2, 0)).resized((6, 9, 4))
    save_volume(files / "ref.nii.gz", np.zeros((6, 9, 4), np.uint8), reference.affine)
    arguments = "-i moving.nii.gz -t t.h5 -o w.nii.gz --reference ref.nii.gz"
    assert files.run(arguments) == 0
    read = [
        sitk.ReadImage(str(files / name)) for name in ("moving.nii.gz", "ref.nii.gz")
    ]
    itk = sitk.ReadTransform(str(files / "t.h5"))
    itk = sitk.Resample(*read, itk, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    expected = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    warped, place = files.read("w.nii.gz")
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(warped, expected, atol=1e-4)
    np.testing.assert_allclose(place, reference.affine, atol=1e-5)


def test_a_label_keeps_its_values_and_type(files):
    assert files.run("-i label.nii.gz -t t.h5 -o w.nii.gz --label") == 0
    warped, _ = files.read("w.nii.gz")
    expected = resample(
        files.label, MOVING_GRID, FIXED_GRID, files.transform, "nearest"
    )
    assert warped.dtype == np.int16 and set(np.unique(warped)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(warped, expected)


def test_a_soft_label_is_the_largest_share(files):
    arguments = "-i label.nii.gz -t t.h5 -o w.nii.gz --soft-label --outside 9"
    assert files.run(arguments) == 0
    warped, _ = files.read("w.nii.gz")
    expected = resample_soft(
        files.label, MOVING_GRID, FIXED_GRID, files.transform, outside=9
    )
    assert warped.dtype == np.int16 and (warped == 9).any()
    np.testing.assert_array_equal(warped, expected)
    nearest = resample(
        files.label, MOVING_GRID, FIXED_GRID, files.transform, "nearest", 9
    )
    assert (warped != nearest).mean() > 0.05


@pytest.mark.parametrize("option", ["", "--label", "--soft-label"])
def test_channels_are_warped_one_by_one(option, files, rng):
    channels = (rng.random((*MOVING, 2)) > 0.5).astype(np.uint8)
    save_volume(files / "two.nii.gz", channels, MOVING_GRID.affine)
    arguments = f"-i two.nii.gz -t t.h5 -o w.nii.gz {option}"
    assert files.run(arguments) == 0
    warped, _ = files.read("w.nii.gz")
    assert warped.shape == (*FIXED, 2)
    for index in range(2):
        save_volume(files / "one.nii.gz", channels[..., index], MOVING_GRID.affine)
        files.run(f"-i one.nii.gz -t t.h5 -o one_w.nii.gz {option}")
        np.testing.assert_array_equal(warped[..., index], files.read("one_w.nii.gz")[0])


def test_transforms_are_applied_to_fixed_points_in_the_order_given(files, rng):
    """Then the initial one; SimpleITK gets them in its own, reversed order."""
    turn = affine((5, -3, 8), (1.1, 1, 0.9), (1, 0.5, -1))
    save_transform(files / "turn.tfm", Transform((Affine(turn),)), None)
    shift = Transform((Affine(from_parts(np.eye(3), (0.4, -0.3, 0.2))),))
    save_transform(files / "shift.tfm", shift, None)
    field = Transform((rough_field(FIXED_GRID.padded((9, 9, 9)), rng, 0.3),))
    save_transform(files / "f.nii.gz", field, field.parts[0].grid)
    save_landmarks(files / "p.csv", points_in(FIXED_GRID, rng))
    arguments = "-i p.csv -t turn.tfm f.nii.gz t.h5 --initial shift.tfm --to moving"
    assert files.run(arguments, "-o q.csv") == 0
    image = sitk.ReadImage(str(files / "f.nii.gz"), sitk.sitkVectorFloat64)
    parts = [sitk.ReadTransform(str(files / name)) for name in ("turn.tfm", "t.h5")]
    shift = sitk.ReadTransform(str(files / "shift.tfm"))
    order = [parts[0], sitk.DisplacementFieldTransform(image), parts[1], shift]
    itk = sitk.CompositeTransform(order[::-1])
    points = read_landmarks(files / "p.csv").points
    expected = map_by_itk(itk, points)
    np.testing.assert_allclose(
        read_landmarks(files / "q.csv").points, expected, atol=1e-3
    )
    assert (
        np.abs(map_by_itk(sitk.CompositeTransform(order), points) - expected).max() > 1
    )


@pytest.mark.parametrize("suffix", ["csv", "mrk.json"])
def test_points_to_the_moving_image_follow_the_transform(suffix, files, rng):
    points = points_in(FIXED_GRID, rng)
    save_landmarks(files / f"p.{suffix}", points)
    arguments = f"-i p.{suffix} -t t.h5 --to moving -o q.mrk.json"
    assert files.run(arguments) == 0
    moved = read_landmarks(files / "q.mrk.json")
    assert moved.names == points.names
    expected = files.transform.map_points(points.points)
    np.testing.assert_allclose(moved.points, expected, atol=1e-4)
    assert json.loads((files / "q.mrk.json").read_text())["markups"]


def smooth(files):
    """Replace the transform by one without kinks, whose inverse is exact."""
    x, y, z = np.moveaxis(voxels(FIXED) / 3, -1, 0)
    vectors = 0.4 * np.stack([np.sin(y), np.cos(z), np.sin(x)], axis=-1)
    field = Field(FIXED_GRID, vectors.astype(np.float32))
    files.transform = Transform((field, *files.transform.parts[1:]))
    save_transform(files / "t.h5", files.transform, FIXED_GRID)


def test_points_to_the_fixed_image_take_the_inverse(files, rng, caplog):
    smooth(files)
    points = points_in(FIXED_GRID, rng)
    moving = Landmarks(points.names, files.transform.map_points(points.points))
    save_landmarks(files / "m.csv", moving)
    with caplog.at_level("INFO"):
        assert files.run("-i m.csv -t t.h5 -o back.csv") == 0
    back = read_landmarks(files / "back.csv").points
    assert np.abs(back - moving.points).max() > 5
    np.testing.assert_allclose(back, points.points, atol=0.1)
    assert "Inverse of the transform: residual mean" in caplog.text


def test_a_fixed_image_comes_onto_the_moving_grid_by_the_inverse(files, caplog):
    smooth(files)
    arguments = "-i fixed.nii.gz -t t.h5 --to moving --reference moving.nii.gz"
    with caplog.at_level("INFO"):
        status = files.run(arguments, "-o w.nii.gz --save-transform i.h5")
    assert status == 0 and "Inverse of the transform: residual mean" in caplog.text
    warped, place = files.read("w.nii.gz")
    inverse, _ = invert(files.transform)
    expected = resample(files.fixed_image, FIXED_GRID, MOVING_GRID, inverse)
    assert (expected > 0).mean() > 0.1
    np.testing.assert_allclose(warped, expected, atol=1e-3)
    np.testing.assert_allclose(place, MOVING_GRID.affine, atol=1e-5)
    centres = MOVING_GRID.to_world(voxels(MOVING)).reshape(-1, 3)
    itk = sitk.ReadTransform(str(files / "i.h5"))
    np.testing.assert_allclose(
        map_by_itk(itk, centres), inverse.map_points(centres), atol=1e-3
    )


def test_an_inverse_that_is_wrong_is_warned_of(files, rng, caplog):
    vectors = 3 * rough_field(FIXED_GRID, rng, 1.0).vectors
    save_transform(files / "t.h5", Transform((Field(FIXED_GRID, vectors),)), FIXED_GRID)
    arguments = "-i fixed.nii.gz -t t.h5 --to moving --reference fixed.nii.gz -o w.nii"
    assert files.run(arguments) == 0
    assert "The inverse is wrong by more than a voxel" in caplog.text


def test_the_whole_transform_is_written(files):
    arguments = "-i moving.nii.gz -t t.h5 --initial shift.tfm -o w.nii.gz"
    shift = Transform((Affine(from_parts(np.eye(3), (0.4, -0.3, 0.2))),))
    save_transform(files / "shift.tfm", shift, None)
    assert files.run(arguments, "--save-transform whole.h5") == 0
    points = FIXED_GRID.to_world(voxels(FIXED))
    whole = load_transform(files / "whole.h5")
    expected = files.transform.then(shift).map_points(points)
    np.testing.assert_allclose(whole.map_points(points), expected, atol=1e-4)
    again = "-i moving.nii.gz -t whole.h5 -o again.nii.gz"
    assert files.run(again) == 0
    np.testing.assert_allclose(
        files.read("again.nii.gz")[0], files.read("w.nii.gz")[0], atol=1e-4
    )


@pytest.mark.parametrize("to", ["fixed", "moving"])
def test_centres_of_mass_are_laid_over_each_other(to, files):
    moving, fixed = np.zeros(MOVING, np.uint8), np.zeros(FIXED, np.uint8)
    moving[6, 1, 2] = fixed[1, 2, 3] = 1
    save_volume(files / "m.nii.gz", moving, MOVING_GRID.affine)
    save_volume(files / "f.nii.gz", fixed, FIXED_GRID.affine)
    source, reference = ("m", "f") if to == "fixed" else ("f", "m")
    arguments = f"-i {source}.nii.gz --reference {reference}.nii.gz --initial mass"
    assert files.run(arguments, f"--to {to} -o w.nii.gz") == 0
    warped, _ = files.read("w.nii.gz")
    expected = (1, 2, 3) if to == "fixed" else (6, 1, 2)
    assert np.unravel_index(warped.argmax(), warped.shape) == expected
    peak = FIXED_GRID.to_world([[1, 2, 3]])
    goal = MOVING_GRID.to_world([[6, 1, 2]])
    start, goal = (goal, peak) if to == "fixed" else (peak, goal)
    save_landmarks(files / "p.csv", Landmarks(("peak",), start))
    arguments = f"-i p.csv --source {source}.nii.gz --reference {reference}.nii.gz"
    assert files.run(arguments, f"--initial mass --to {to} -o q.csv") == 0
    np.testing.assert_allclose(read_landmarks(files / "q.csv").points, goal, atol=1e-4)


def test_points_in_voxels_are_placed_by_their_image(files):
    (files / "p.csv").write_text("name,i,j,k\na,1,2,3\n")
    arguments = "-i p.csv --source fixed.nii.gz -t t.h5 --to moving -o q.csv"
    assert files.run(arguments) == 0
    expected = files.transform.map_points(FIXED_GRID.to_world([[1, 2, 3]]))
    np.testing.assert_allclose(
        read_landmarks(files / "q.csv").points, expected, atol=1e-4
    )


def test_points_beyond_the_field_are_named(files, caplog):
    far = Landmarks(("near", "far"), FIXED_GRID.to_world([[2, 2, 2], [2, 2, 9]]))
    save_landmarks(files / "p.csv", far)
    assert files.run("-i p.csv -t t.h5 --to moving -o q.csv") == 0
    assert "1 points lie beyond the displacement field" in caplog.text
    assert "known: far" in caplog.text


def test_beyond_the_field_are_points_where_they_reach_it(caplog):
    """The map before the field leads one point out of its grid and one into it."""
    shift = np.eye(4)
    shift[:3, 3] = 100.0
    here = FIXED_GRID.to_world(np.array([2, 2, 2]))
    still = Field(FIXED_GRID, np.zeros((*FIXED, 3), np.float32))
    landmarks = Landmarks(("out", "in"), [here, here - 100.0])
    moved = warp_points(landmarks, Transform((Affine(shift), still)))
    np.testing.assert_allclose(moved.points, [here + 100.0, here], atol=1e-9)
    assert "1 points lie beyond the displacement field" in caplog.text
    assert "known: out" in caplog.text


def deepreg_warped(files, ddf):
    """:return: what DeepReg's own command makes of the moving image."""
    from deepreg_meta.stack import require_stack

    require_stack()
    from deepreg.model.layer_util import warp_image_ddf

    return warp_image_ddf(files.image[None], ddf[None], None).numpy()[0]


def inner_ddf(rng):
    """:return: a field in DeepReg's layout that ends inside the moving image."""
    goals = rng.uniform(0.05, np.subtract(MOVING, 1.05), (*FIXED, 3))
    return (goals - voxels(FIXED)).astype(np.float32)


@pytest.mark.parametrize("header", ["identity", "fixed"])
def test_deepregs_flags_give_deepregs_image_in_its_place(header, files, rng):
    ddf = inner_ddf(rng)
    place = np.eye(4) if header == "identity" else FIXED_GRID.affine
    nib.save(nib.Nifti2Image(ddf, place), files / "ddf.nii.gz")
    more = "--reference fixed.nii.gz" if header == "identity" else ""
    assert files.run("-i moving.nii.gz -d ddf.nii.gz -o w.nii.gz", more) == 0
    warped, found = files.read("w.nii.gz")
    np.testing.assert_allclose(warped, deepreg_warped(files, ddf), atol=1e-4)
    np.testing.assert_allclose(found, FIXED_GRID.affine, atol=1e-5)


def test_a_field_without_a_place_takes_that_of_an_image_of_its_shape(files, rng):
    files.image = rng.uniform(1, 2, FIXED).astype(np.float32)
    save_volume(files / "moving.nii.gz", files.image, MOVING_GRID.affine)
    goals = rng.uniform(0.05, np.subtract(FIXED, 1.05), (*FIXED, 3))
    ddf = (goals - voxels(FIXED)).astype(np.float32)
    nib.save(nib.Nifti2Image(ddf, np.eye(4)), files / "ddf.nii.gz")
    assert files.run("-i moving.nii.gz -d ddf.nii.gz -o w.nii.gz") == 0
    warped, place = files.read("w.nii.gz")
    np.testing.assert_allclose(warped, deepreg_warped(files, ddf), atol=1e-4)
    np.testing.assert_allclose(place, MOVING_GRID.affine, atol=1e-5)


def test_a_field_without_any_place_is_warped_as_deepreg_does(files, rng, caplog):
    ddf = inner_ddf(rng)
    nib.save(nib.Nifti2Image(ddf, np.eye(4)), files / "ddf.nii.gz")
    assert files.run("-i moving.nii.gz -d ddf.nii.gz -o w.nii.gz") == 0
    warped, place = files.read("w.nii.gz")
    np.testing.assert_allclose(warped, deepreg_warped(files, ddf), atol=1e-4)
    np.testing.assert_array_equal(place, np.eye(4))
    assert "does not say where the field lies" in caplog.text


def test_points_go_through_a_field_in_voxels_too(files, rng):
    save_deepreg_ddf(files / "ddf.nii.gz", files.transform, FIXED_GRID, MOVING_GRID)
    save_landmarks(files / "p.csv", points_in(FIXED_GRID, rng))
    arguments = "-i p.csv -d ddf.nii.gz --reference moving.nii.gz --to moving -o q.csv"
    assert files.run(arguments) == 0
    expected = files.transform.map_points(read_landmarks(files / "p.csv").points)
    np.testing.assert_allclose(
        read_landmarks(files / "q.csv").points, expected, atol=1e-3
    )


def test_results_are_named_as_in_deepreg(files, caplog):
    assert main(["-i", "moving.nii.gz", "-t", "t.h5"]) == 0
    assert (files / "warped.nii.gz").is_file()
    assert "--out is not given, so the result goes to warped.nii.gz" in caplog.text
    assert main(["-i", "moving.nii.gz", "-t", "t.h5", "-o", "new/image"]) == 0
    assert (files / "new" / "warped.nii.gz").is_file()
    save_landmarks(files / "p.csv", Landmarks(("a",), FIXED_GRID.centre[None]))
    assert main(["-i", "p.csv", "-t", "t.h5", "--to", "moving"]) == 0
    assert (files / "warped.mrk.json").is_file()


def test_frames_keep_their_time_step(files, rng):
    image = nib.Nifti1Image(rng.random((*MOVING, 2)), MOVING_GRID.affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.5))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, files / "frames.nii.gz")
    assert files.run("-i frames.nii.gz -t t.h5 -o w.nii.gz") == 0
    header = nib.load(files / "w.nii.gz").header
    assert header.get_zooms()[3] == 0.5 and header.get_xyzt_units() == ("mm", "sec")


def test_an_image_that_names_two_places_is_told(files, caplog):
    image = nib.load(files / "moving.nii.gz")
    moved = MOVING_GRID.affine.copy()
    moved[:3, 3] += 6
    image.set_sform(MOVING_GRID.affine, 2)
    image.set_qform(moved, 1)
    nib.save(image, files / "two.nii.gz")
    assert files.run("-i two.nii.gz -t t.h5 -o w.nii.gz") == 0
    assert "two.nii.gz: sform and qform name different places" in caplog.text


def test_a_16_bit_image_of_the_other_byte_order_is_read(files):
    swapped = files.label.astype(">i2")
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(swapped, MOVING_GRID.affine, header), files / "big.nii")
    for option in ("--label", "--soft-label"):
        assert files.run(f"-i big.nii -t t.h5 -o w.nii.gz {option}") == 0
        files.run(f"-i label.nii.gz -t t.h5 -o expected.nii.gz {option}")
        np.testing.assert_array_equal(
            files.read("w.nii.gz")[0], files.read("expected.nii.gz")[0]
        )


def spoil(files):
    """Write files that cannot be used."""
    save_transform(
        files / "far.tfm",
        Transform((Affine(from_parts(np.eye(3), (900, 0, 0))),)),
        None,
    )
    save_volume(files / "five.nii.gz", np.ones((*MOVING, 1, 3)), MOVING_GRID.affine)
    complex_image = nib.Nifti1Image(np.ones(MOVING, np.complex64), MOVING_GRID.affine)
    nib.save(complex_image, files / "complex.nii.gz")
    metres = nib.Nifti1Image(files.image, MOVING_GRID.affine)
    metres.header.set_xyzt_units("meter")
    nib.save(metres, files / "metres.nii.gz")
    flat = np.diag([1.0, 2.0, 3.0, 1.0])
    flat[:3, 1] = flat[:3, 0]
    nib.save(nib.Nifti1Image(files.image, flat), files / "flat.nii.gz")
    save_volume(files / "same.nii.gz", np.ones(MOVING), MOVING_GRID.affine)
    save_landmarks(files / "p.csv", points_in(FIXED_GRID, np.random.default_rng(1)))
    (files / "bare.csv").write_text("name,x,y,z\na,1,2,3\n")
    save_deepreg_ddf(files / "ddf.nii.gz", files.transform, FIXED_GRID, MOVING_GRID)
    sitk.WriteTransform(sitk.BSplineTransform(3), str(files / "spline.tfm"))
    ddf = np.zeros((2, 3, 4, 3), np.float32)
    nib.save(nib.Nifti1Image(ddf, np.eye(4)), files / "small_ddf.nii.gz")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("-i moving.nii.gz", "expected --transform, --ddf or --initial, got none"),
        ("-i none.nii.gz -t t.h5", "none.nii.gz: expected a file, found none"),
        ("-i moving.nii.gz -t none.h5", "none.h5: expected a transform file"),
        ("-i moving.nii.gz -t far.tfm", "--reference: expected the fixed image"),
        (
            "-i fixed.nii.gz -t t.h5 --to moving",
            "--reference: expected the moving image",
        ),
        (
            "-i moving.nii.gz -t far.tfm --reference fixed.nii.gz",
            "do not overlap: the centre of the grid wanted",
        ),
        ("-i metres.nii.gz -t t.h5", "metres.nii.gz: expected lengths in mm, got"),
        ("-i flat.nii.gz -t t.h5", "expected an invertible affine, got a singular"),
        ("-i five.nii.gz -t t.h5", "five.nii.gz: expected a volume (d1, d2, d3)"),
        (
            "-i complex.nii.gz -t t.h5",
            "expected one real number per voxel, got complex64",
        ),
        ("-i label.nii.gz -t t.h5 --label --outside 0.5", "that int16 can hold"),
        ("-i label.nii.gz -t t.h5 --label --outside 40000", "that int16 can hold"),
        ("-i moving.nii.gz -t t.h5 --soft-label", "expected an index map of whole"),
        (
            "-i label.nii.gz -t t.h5 --label --interpolation linear",
            "--interpolation linear: a label is sampled by the nearest voxel",
        ),
        (
            "-i moving.nii.gz -t t.h5 spline.tfm --reference fixed.nii.gz",
            "got a BSplineTransform or a composite of it",
        ),
        ("-i moving.nii.gz -t ddf.nii.gz", "ddf.nii.gz: a field of shape (d1, d2, d3"),
        (
            "-i moving.nii.gz -d small_ddf.nii.gz --reference fixed.nii.gz",
            "field on the fixed image's grid, (5, 6, 7), got (2, 3, 4)",
        ),
        ("-i p.csv -d ddf.nii.gz --to moving", "name it by --reference"),
        ("-i p.csv -d ddf.nii.gz", "name it by --source"),
        ("-i p.csv --initial mass", "--initial mass: expected both images"),
        (
            "-i same.nii.gz --reference fixed.nii.gz --initial mass",
            "same.nii.gz: expected an image with contrast",
        ),
        ("-i moving.nii.gz --initial t.h5", "--initial: expected an affine transform"),
        ("-i bare.csv -t t.h5", "bare.csv: expected columns that state one"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_message(arguments, message, files, caplog):
    spoil(files)
    out = "out.csv" if ".csv" in arguments else "out.nii.gz"
    assert files.run(arguments, "-o", out) == 2
    assert message in caplog.text
    assert not (files / out).exists()


@pytest.mark.parametrize("name", ["w.nrrd", "w.MHA"])
def test_formats_that_are_read_alone_are_not_replaced_by_another(name, files, caplog):
    assert files.run("-i moving.nii.gz -t t.h5 -o", name) == 2
    assert "--out: images are written to .nii.gz or .nii, got" in caplog.text
    assert not (files / "warped.nii.gz").exists()


def test_points_are_not_written_as_an_image(files, caplog):
    spoil(files)
    assert files.run("-i p.csv -t t.h5 --to moving -o q.nii.gz") == 2
    assert "--out: points are written to .mrk.json or .csv, got" in caplog.text


@pytest.mark.parametrize("option", ["-o", "--save-transform"])
def test_no_result_replaces_a_file_that_it_is_made_of(option, files, caplog):
    before = (files / "t.h5").read_bytes(), (files / "moving.nii.gz").read_bytes()
    result = "moving.nii.gz" if option == "-o" else "t.h5"
    arguments = ["-i", "moving.nii.gz", "-t", "t.h5", option, result]
    arguments += [] if option == "-o" else ["-o", "w.nii.gz"]
    assert files.run(*arguments) == 2
    assert "would replace a file it is made of" in caplog.text
    after = (files / "t.h5").read_bytes(), (files / "moving.nii.gz").read_bytes()
    assert before == after and not (files / "w.nii.gz").exists()


def test_two_meanings_at_once_are_refused(capsys):
    for both in ("-d a.nii -t b.h5", "-t b.h5 --label --soft-label"):
        with pytest.raises(SystemExit) as exit_status:
            main(["-i", "m.nii", *both.split()])
        assert exit_status.value.code == 2
        assert "not allowed with argument" in capsys.readouterr().err


def test_tensorflow_is_not_imported(files):
    code = (
        "import sys; from deepreg_meta.warp import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 'tensorflow' in sys.modules)"
    )
    paths = ["-i", files / "moving.nii.gz", "-t", files / "t.h5", "-o", files / "w.nii"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1].endswith(
        f"The result is in {files / 'w.nii'}"
    )


def test_a_grid_of_one_slice_is_warped(files):
    grid = Grid((5, 6, 1), FIXED_GRID.affine)
    image = np.arange(30, dtype=np.float32).reshape(5, 6, 1)
    save_volume(files / "slice.nii.gz", image, grid.affine)
    vectors = np.zeros((5, 6, 1, 3), np.float32) + FIXED_GRID.affine[:3, 0].astype("f4")
    save_transform(files / "s.nii.gz", Transform((Field(grid, vectors),)), grid)
    assert files.run("-i slice.nii.gz -t s.nii.gz -o w.nii.gz") == 0
    warped, _ = files.read("w.nii.gz")
    np.testing.assert_allclose(warped[:4], image[1:], atol=1e-4)
    assert (warped[4] == 0).all()


@pytest.fixture
def pictures(tmp_path, rng, monkeypatch):
    """:return: a moving picture of 16 bits, a label of 8, and a shift in a file."""
    monkeypatch.chdir(tmp_path)
    grid = PLANES["pictures"][0]
    image = rng.integers(300, 65000, (9, 7, 1)).astype(np.uint16)
    label = rng.integers(0, 4, (9, 7, 1)).astype(np.uint8)
    save_picture(tmp_path / "moving.png", image)
    save_picture(tmp_path / "label.png", label)
    save_picture(tmp_path / "fixed.png", np.zeros((9, 7, 1)))
    vectors = np.zeros((9, 7, 1, 3), np.float32)
    vectors[..., :2] = -0.25, -2  # a quarter of a column to the right, two rows down
    transform = Transform((Field(grid, vectors),))
    save_transform(tmp_path / "t.h5", transform, grid, is_planar=True)
    return image, label


def test_a_picture_becomes_one_of_its_own_bits_as_in_simpleitk(pictures, tmp_path):
    image, label = pictures
    line = "-i moving.png -t t.h5 -o w.png --reference fixed.png"
    assert main(line.split()) == 0
    warped = read_picture(tmp_path / "w.png")
    expected = 0.75 * image[:8, 2:] + 0.25 * image[1:, 2:]
    assert warped.dtype == np.uint16
    np.testing.assert_array_equal(warped[:8, :5], np.rint(expected))
    assert not warped[:, 5:].any()
    assert main(["-i", "label.png", "-t", "t.h5", "-o", "l.png", "--label"]) == 0
    itk = sitk.ReadTransform(str(tmp_path / "t.h5"))
    label_image = sitk.ReadImage(str(tmp_path / "label.png"))
    found = sitk.Resample(label_image, label_image, itk, sitk.sitkNearestNeighbor)
    moved = read_picture(tmp_path / "l.png")
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved[..., 0], sitk.GetArrayFromImage(found).T)


def test_as_nifti_a_picture_has_two_axes_and_so_has_its_transform(pictures, tmp_path):
    line = "-i moving.png -t t.h5 -o w.nii.gz --save-transform s.h5 --to moving"
    assert main([*line.split(), "--reference", "fixed.png"]) == 0
    assert nib.load(tmp_path / "w.nii.gz").shape == (9, 7)
    itk = sitk.ReadTransform(str(tmp_path / "s.h5"))
    assert itk.GetDimension() == 2
    assert itk.TransformPoint((4.25, 5.0)) == pytest.approx((4, 3), abs=1e-3)


@pytest.mark.parametrize("side", [1.0, 0.5])
def test_what_a_log_says_of_pictures_without_mm_is_in_pixels(
    pictures, tmp_path, caplog, side
):
    """ITK keeps sides other than 1 in a PNG; in both images, they are mm."""
    for name in ("fixed", "moving"):
        image = np.zeros((9, 7, 1), np.uint8)
        save_picture(tmp_path / f"{name}.png", image, spacing=(side, side))
    line = "-i fixed.png -t t.h5 -o w.png --to moving --reference moving.png"
    with caplog.at_level("INFO"):
        assert main(line.split()) == 0
    (said,) = [line for line in caplog.messages if "Inverse of the" in line]
    own, other = ("pixels", "mm") if side == 1 else ("mm", "pixels")
    assert said.count(f" {own}") == 3 and f" {other}" not in said


@pytest.mark.parametrize("value", [0.5, -1, 65536, np.nan])
def test_values_that_a_picture_cannot_hold_are_refused(
    pictures, tmp_path, caplog, value
):
    """Whole numbers stored as floats it can hold."""
    affine = PLANES["pictures"][0].affine
    image = np.full((9, 7, 1), 300, np.float32)
    save_volume(tmp_path / "image.nii", image, affine, is_planar=True)
    assert main(["-i", "image.nii", "-t", "t.h5", "-o", "w.png"]) == 0
    assert read_picture(tmp_path / "w.png")[0, 0, 0] == 300
    image[8, 6] = value
    save_volume(tmp_path / "image.nii", image, affine, is_planar=True)
    assert main(["-i", "image.nii", "-t", "t.h5", "-o", "v.png"]) == 2
    told = "v.png: expected an image of whole numbers from 0 to 65535 for a PNG, got "
    assert f"{told}{value:g} in image.nii. Write it to .nii.gz" in caplog.text
    assert not (tmp_path / "v.png").exists()


@pytest.mark.parametrize(
    ("step", "is_told"),
    [(np.eye(4), False), (np.diag([-1.0, 1, 1, 1]), True), (2, True)],
)
def test_a_picture_of_another_place_is_told(pictures, tmp_path, caplog, step, is_told):
    """Columns to the other side, or two pixels on."""
    if np.isscalar(step):
        step, shift = np.eye(4), step
        step[0, 3] = shift
    affine = step @ PLANES["pictures"][0].affine
    image = np.full((9, 7, 1), 9, np.uint8)
    save_volume(tmp_path / "image.nii", image, affine, is_planar=True)
    line = "-i image.nii -t one.tfm --reference image.nii -o w.png"
    save_transform(tmp_path / "one.tfm", Transform(), None)
    assert main(line.split()) == 0
    assert ("w.png: a PNG states no place in space" in caplog.text) is is_told


def test_a_volume_is_no_picture(files, caplog):
    assert files.run("-i moving.nii.gz -t t.h5 -o w.png") == 2
    assert f"two axes, (columns, rows, 1), for a PNG, got shape {FIXED}" in caplog.text
