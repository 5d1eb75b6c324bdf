"""Tests of deepreg_meta/results/files.py."""

import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from deepreg_meta.evaluate.learn2reg import field_stems
from deepreg_meta.geometry.affine import apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.picture_file import read_header, save_picture
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.results import files
from deepreg_meta.results.files import learn2reg_ids, write_case
from deepreg_meta.results.outputs import TRANSFORM_FORMATS, Outputs
from deepreg_meta.results.scene import Scene
from tests.unit.geometry.places import read_itk
from tests.unit.results.examples import (
    CENTRES,
    FIXED,
    MOVING,
    OFFSET,
    PLACES,
    SHIFT,
    TURNS,
    flat_case,
    flat_result,
    make_case,
    make_result,
    without_labels,
)

PLAIN = Outputs(volumes=False, formats=(), figure=False)
TURN = TURNS["turned, coarser"]


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def turned():
    """:return: a pair on oblique grids whose network has coarser voxels, turned."""
    return make_result(make_case("oblique", TURN), TURN)


def test_the_default_files(turned, tmp_path):
    """Every label has one."""
    write_case(tmp_path, turned, Outputs())
    assert names(tmp_path) == {"case7"}
    assert names(tmp_path / "case7") == {
        "fixed_image.nii.gz", "warped_image.nii.gz", "transform.h5", "figure.png",
        "warped_label_gland.nii.gz", "warped_label_cyst.nii.gz",
        "warped_label_apex.nii.gz",
    }  # fmt: skip
    assert turned.case_row["dsc_adapted"] == 1


def test_volumes_lie_in_the_space_of_the_fixed_file(turned, tmp_path):
    """Its own intensities; labels are 8-bit masks of what was scored."""
    outputs = Outputs(formats=(), figure=False)
    write_case(tmp_path, turned, outputs)
    volumes = {p.name.split(".")[0]: nib.load(p) for p in tmp_path.rglob("*.nii.gz")}
    assert len(volumes) == 5
    for image in volumes.values():
        assert image.shape == FIXED
        np.testing.assert_allclose(image.affine, PLACES["oblique"][0], atol=1e-5)
    scene = Scene(turned)
    fixed = volumes["fixed_image"].get_fdata()
    np.testing.assert_allclose(fixed, scene.fixed_image, rtol=1e-6)
    warped = volumes["warped_image"].get_fdata()
    np.testing.assert_allclose(warped, scene.warped("adapted").image, rtol=1e-6)
    gland = volumes["warped_label_gland"]
    assert gland.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(gland.get_fdata(), scene.fixed_labels[0] >= 0.5)


def test_the_transform_of_every_format_leads_where_the_pair_goes(turned, tmp_path):
    """The centre of the fixed gland to that of the moving one."""
    write_case(
        tmp_path, turned, Outputs(False, ("h5", "nifti", "deepreg"), figure=False)
    )
    folder, scene = tmp_path / "case7", Scene(turned)
    start = TURN.first(MOVING) - TURN.first(FIXED)
    fixed, moving = PLACES["oblique"]
    end = apply(moving, CENTRES[0] + start + OFFSET + SHIFT)
    for name in ("transform.h5", "ddf.nii.gz", "ddf_deepreg.nii.gz"):
        transform = load_transform(folder / name, scene.fixed_grid, scene.moving_grid)
        found = transform.map_points(apply(fixed, CENTRES[0]))
        np.testing.assert_allclose(found, end, atol=1e-3, err_msg=name)
    ddf = nib.load(folder / "ddf_deepreg.nii.gz").get_fdata()
    expected = np.broadcast_to(start + OFFSET + SHIFT, ddf.shape)
    np.testing.assert_allclose(ddf, expected, atol=1e-3)


def test_the_inverse_leads_back_and_says_how_well(tmp_path):
    """A rough field on a coarser grid; in voxels where the spacing is nominal."""
    row = {}
    for spacing in (None, (8, 13, 25)):  # 10 times that of the file
        result = make_result(make_case("oblique", TURN, spacing), TURN)
        noise = np.random.default_rng(0).uniform(-0.3, 0.3, result.ddf("adapted").shape)
        result.outputs["ddf"] = (result.outputs["ddf"] + noise).astype(np.float32)
        outputs = Outputs(False, ("h5", "nifti"), inverse=True, figure=False)
        row[spacing] = write_case(tmp_path, result, outputs).case_row
    found = row[None]
    assert 0 < found["inverse_residual_mean_mm"] < found["inverse_residual_max_mm"] < 1
    for name in ("inverse_residual_mean_mm", "inverse_residual_max_mm"):
        assert row[8, 13, 25][name] == pytest.approx(10 * found[name], rel=1e-3)
    folder = tmp_path / "case7"
    assert names(folder) == {
        "transform.h5", "ddf.nii.gz", "transform_inverse.h5", "ddf_inverse.nii.gz"
    }  # fmt: skip
    points = apply(PLACES["oblique"][0], CENTRES)
    there = load_transform(folder / "transform.h5").map_points(points)
    for name in ("transform_inverse.h5", "ddf_inverse.nii.gz"):
        back = load_transform(folder / name).map_points(there)
        np.testing.assert_allclose(back, points, atol=0.3)
        assert np.linalg.norm(there - points, axis=1).min() > 3


@pytest.mark.parametrize("formats", [("deepreg",), ()])
def test_an_inverse_is_written_beside_a_transform_only(turned, tmp_path, formats):
    write_case(tmp_path, turned, Outputs(False, formats, inverse=True, figure=False))
    assert (tmp_path / "case7/transform_inverse.h5").exists() is bool(formats)
    assert ("inverse_residual_max_mm" in turned.case_row) is bool(formats)


@pytest.mark.parametrize(
    ("fixed", "moving"),
    [
        ("a/LungCT_0021_0001.nii.gz", "b/LungCT_0022_0001.nii.gz"),
        ("a/X_0021_0001.nii.gz", "b/X_0021_0000.nii.gz"),
        ("a/fixed.nii.gz", "b/moving.1.nii.gz"),
    ],
)
def test_fields_for_learn2reg_have_the_names_they_are_looked_for_by(fixed, moving):
    """By the challenge's rules, else by the stems."""
    ids = learn2reg_ids(fixed, moving)
    assert "disp_" + "_".join(ids) == field_stems(fixed, moving)[0]


def test_fields_of_changed_names_are_found_and_no_field_replaces_another(
    tmp_path, caplog
):
    case = make_case("oblique")
    own = replace(case.fixed_source, path="site a/my scan.nii.gz")
    outputs = Outputs(False, ("learn2reg",), figure=False)
    for name in ("a_case 1", "b_case 1"):
        pair = replace(case, name=name, fixed_source=own, moving_source=own)
        write_case(tmp_path, make_result(pair), outputs)
    found = names(tmp_path / "learn2reg")
    assert found == {
        "disp_my_scan_my_scan.nii.gz", "disp_b_case_1_my_scan_my_scan.nii.gz"
    }  # fmt: skip
    assert "b_case 1: the images of another pair have the same names" in caplog.text
    stems = field_stems(own.path, own.path)
    assert stems == ("disp_my_scan_my_scan", "disp_my scan_my scan")


def test_names_that_no_field_for_learn2reg_can_have_are_changed():
    """The key of HDF5; a blank."""
    ids = learn2reg_ids("fixed_images.h5, key case 1", "images/my (last) scan.nii")
    assert ids == ("case_1", "my__last__scan")


def test_learn2reg_has_its_field_where_the_images_are_of_one_shape(tmp_path, caplog):
    """Else that is said, and all the others are written."""
    outputs = Outputs(False, TRANSFORM_FORMATS, inverse=True, figure=False)
    result = make_result(make_case("oblique"))
    write_case(tmp_path, result, outputs)
    others = {
        "transform.h5", "ddf.nii.gz", "ddf_deepreg.nii.gz", "transform_inverse.h5",
        "ddf_inverse.nii.gz",
    }  # fmt: skip
    assert names(tmp_path / "case7") == others
    assert "case7: no field for Learn2Reg" in caplog.text
    assert str(FIXED) in caplog.text and str(MOVING) in caplog.text
    own = replace(result.case.fixed_source, path="scans/moving.nii.gz")
    same = replace(result.case, moving_source=own)
    write_case(tmp_path, make_result(same), outputs)
    assert names(tmp_path / "case7") == others
    field = nib.load(tmp_path / "learn2reg" / "disp_fixed_moving.nii.gz").get_fdata()
    assert field.shape == (*FIXED, 3)


def test_files_may_be_declined(turned, tmp_path):
    """No empty folder is left; the scores are there."""
    write_case(tmp_path, turned, PLAIN)
    assert turned.case_row["dsc_adapted"] == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_field_that_is_not_finite_is_not_written_but_said(tmp_path, caplog, value):
    """The volumes and the figure of a network that diverged are."""
    result = make_result(make_case(), is_sparse=False)
    result.outputs["ddf"] = np.full_like(result.outputs["ddf"], value)
    with caplog.at_level(logging.WARNING):
        write_case(tmp_path, result, Outputs(formats=TRANSFORM_FORMATS, inverse=True))
    written = names(tmp_path / "case7")
    assert {"warped_image.nii.gz", "figure.png"} <= written
    assert not [n for n in written if n.startswith(("transform", "ddf", "disp"))]
    assert "No transform is written: case7: expected a finite displacement" in (
        caplog.text
    )
    assert "inverse_residual_max_mm" not in result.case_row


@pytest.mark.parametrize("spacing", [None, (1, 3, 5)])
def test_the_figure_is_given_what_lies_on_the_fixed_files_grid(
    tmp_path, monkeypatch, spacing
):
    """Images before and after, labels, field, frames; no direction if nominal."""
    drawn = {}
    monkeypatch.setattr(
        "deepreg_meta.results.files.case_figure", lambda path, **kw: drawn.update(kw)
    )
    result = make_result(make_case("left-handed", TURN, spacing), TURN)
    write_case(tmp_path, result, Outputs(volumes=False, formats=()))
    scene = Scene(result)
    before, adapted = scene.warped("before"), scene.warped("adapted")
    expected = dict(
        fixed_image=scene.fixed_image, moving_image_aligned=before.image,
        warped_image=adapted.image, ddf=scene.ddf("adapted"), frames=scene.frames,
        spacing_mm=scene.fixed_spacing_mm, fixed_label=scene.fixed_labels[0],
        moving_label_aligned=before.labels[0], warped_label=adapted.labels[0],
    )  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_array_equal(drawn.pop(name), value, err_msg=name)
    is_nominal = spacing is not None
    assert drawn.pop("title").startswith("case7   Dice 0.")
    assert drawn == {
        "frame_axis": 2, "frames_alone": False,
        "unit": "voxels" if is_nominal else "mm",
        "orientation": None if is_nominal else scene.fixed_grid.orientation,
    }  # fmt: skip


@pytest.mark.parametrize("labeled", [True, False])
def test_the_figure_shows_something(tmp_path, labeled):
    result = make_result(make_case("left-handed", TURN), TURN)
    if not labeled:
        result = make_result(without_labels(result.case), TURN, is_sparse=False)
    write_case(tmp_path, result, Outputs(volumes=False, formats=()))
    assert names(tmp_path / "case7") == {"figure.png"}
    pixels = np.asarray(Image.open(tmp_path / "case7" / "figure.png").convert("L"))
    assert min(pixels.shape) > 200 and pixels.std() > 10


FORMATS = ("h5", "nifti", "deepreg")


def test_of_pictures_there_are_a_picture_and_transforms_of_two_dimensions(tmp_path):
    """SimpleITK makes our warped image of the moving picture, and our label."""
    result = flat_result(flat_case())
    write_case(tmp_path, result, Outputs(formats=FORMATS, inverse=True, figure=False))
    folder, scene = tmp_path / "case7", Scene(result)
    assert names(folder) == {
        "fixed_image.nii.gz", "warped_image.nii.gz", "warped_label_lung.nii.gz",
        "warped_image.png", "transform.h5", "ddf.nii.gz", "ddf_deepreg.nii.gz",
        "transform_inverse.h5", "ddf_inverse.nii.gz",
    }  # fmt: skip
    assert read_header(folder / "warped_image.png").spacing is None
    save_picture(tmp_path / "moving.png", scene.moving_image)
    save_picture(tmp_path / "fixed.png", scene.fixed_image)
    moving, fixed = (
        sitk.ReadImage(str(tmp_path / f"{side}.png"), sitk.sitkFloat32)
        for side in ("moving", "fixed")
    )
    expected = scene.moving_image[3:, :, 0]  # ends before the fixed image does
    for name in ("transform.h5", "ddf.nii.gz"):
        itk = read_itk(folder / name)
        assert itk.GetDimension() == 2
        warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, itk)).T
        np.testing.assert_allclose(warped[:19], expected, atol=1e-4)
        assert not warped[19:].any()
        for written in ("warped_image.nii.gz", "warped_image.png"):
            ours = sitk.ReadImage(str(folder / written))
            assert ours.GetSize() == (20, 16) and ours.GetOrigin() == (0, 0)
            np.testing.assert_allclose(
                sitk.GetArrayFromImage(ours).T, warped, atol=1e-4
            )
        back = read_itk(folder / name.replace(".", "_inverse.", 1))
        there = itk.TransformPoint((5.0, 6.0))
        assert there == pytest.approx((8, 6), abs=1e-5)
        assert back.TransformPoint(there) == pytest.approx((5, 6), abs=1e-3)
    label = nib.load(folder / "warped_label_lung.nii.gz").get_fdata()
    np.testing.assert_array_equal(label, scene.fixed_labels[0, ..., 0])
    ddf = nib.load(folder / "ddf_deepreg.nii.gz").get_fdata()
    assert ddf.shape == (20, 16, 1, 3)
    np.testing.assert_allclose(ddf, np.broadcast_to([3, 0, 0], ddf.shape), atol=1e-6)
    assert result.case_row["dsc_adapted"] == 1


def test_the_picture_keeps_a_spacing_that_the_fixed_one_states(tmp_path):
    case = flat_case()
    grid = Grid(case.fixed_source.grid.shape, np.diag([-0.5, -2, 1, 1]))
    case = replace(case, fixed_source=replace(case.fixed_source, grid=grid))
    write_case(tmp_path, flat_result(case), Outputs(formats=(), figure=False))
    written = sitk.ReadImage(str(tmp_path / "case7" / "warped_image.png"))
    assert written.GetSpacing() == (0.5, 2)


def test_on_a_fixed_image_that_is_no_picture_there_is_none(tmp_path):
    """Its place is kept by NIfTI alone."""
    case = flat_case()
    case = replace(case, fixed_source=replace(case.fixed_source, layout="plane"))
    write_case(tmp_path, flat_result(case), Outputs(formats=(), figure=False))
    folder = tmp_path / "case7"
    assert (folder / "warped_image.nii.gz").exists()
    assert not (folder / "warped_image.png").exists()


def test_of_files_with_a_third_axis_all_has_three_dimensions(tmp_path):
    write_case(tmp_path, flat_result(flat_case("volume")), Outputs(figure=False))
    folder = tmp_path / "case7"
    assert not (folder / "warped_image.png").exists()
    assert nib.load(folder / "warped_image.nii.gz").shape == (20, 16, 1)
    assert read_itk(folder / "transform.h5").GetDimension() == 3


def test_the_figure_of_a_picture_has_one_plane_shown_as_it_is(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(files, "case_figure", lambda path, **given: drawn.update(given))
    for layout in ("picture", "volume"):
        outputs = Outputs(volumes=False, formats=(), figure=True)
        write_case(tmp_path, flat_result(flat_case(layout)), outputs)
        assert drawn["unit"] == "voxels"
        # one slice of a volume that states no orientation too
        assert drawn["orientation"] == "picture"
