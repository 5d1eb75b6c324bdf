"""Tests of 2-D images on their way from PNG, NIfTI and HDF5 to cases."""

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from deepreg_meta.dataset.describe import describe_cases
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.pair import read_pair
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import KINDS, config_of, save
from tests.unit.dataset.pictures import (
    COLUMNS,
    ROWS,
    SHAPE,
    label_map,
    picture,
    png_config,
    save_png,
    write_pictures,
)

require_stack()
OF_PICTURES = np.diag([-1.0, -1.0, 1.0, 1.0])
# LPS, as pictures have it, with pixels of 0.5 x 2 mm and a slice of 6 mm
PLANE = np.diag([-0.5, -2.0, 6.0, 1.0])


def open_pictures(tmp_path, folder, **dataset):
    return load_case_set(png_config(tmp_path, folder, **dataset), "train")


def problems_of(cases):
    with pytest.raises(DataError) as caught:
        cases.validate()
    return caught.value.problems


def test_a_case_of_pictures_has_their_voxels_and_the_places_of_itk(tmp_path):
    cases = open_pictures(tmp_path, write_pictures(tmp_path / "train"))
    cases.validate()
    assert cases.names == ("one", "two") and cases.num_labels_max == 1
    case = cases[1]
    stored = picture(11).astype(np.float32)
    expected = (stored - stored.min()) / np.ptp(stored)
    assert case.fixed_image.shape == SHAPE
    np.testing.assert_allclose(case.fixed_image[..., 0], expected, atol=1e-6)
    np.testing.assert_array_equal(case.fixed_labels[0, ..., 0], label_map())
    np.testing.assert_array_equal(case.fixed_affine, OF_PICTURES)
    np.testing.assert_array_equal(case.moving_spacing_mm, [1, 1, 1])
    assert case.spacing_is_nominal and case.display == "picture"
    source = case.fixed_source
    assert source.layout == "picture" and not source.has_orientation
    voxels, labels = source.read()
    np.testing.assert_array_equal(voxels[..., 0], stored)
    np.testing.assert_array_equal(labels[0, ..., 0], label_map())
    assert describe_cases(cases)["fixed"]["orientations"] == [None]


def test_a_mask_of_0_and_255_is_a_label_or_an_index_by_declaration(tmp_path):
    folder = write_pictures(tmp_path / "train", value=255)
    for labels in (None, {"lung": 255}):
        case = open_pictures(tmp_path, folder, labels=labels)[0]
        assert case.label_names == ("lung" if labels else "label_0",)
        for labels_of in (case.moving_labels, case.fixed_source.read()[1]):
            np.testing.assert_array_equal(labels_of[0, ..., 0], label_map())
    bad = open_pictures(tmp_path, folder, labels={"lung": 1})
    assert "got 255. Declare it there" in problems_of(bad)[0]


def test_index_maps_are_split(tmp_path):
    folder = write_pictures(tmp_path / "train")
    for kind in KINDS[2:]:
        for name in ("one", "two"):
            both = label_map(3)
            both[5] = 2 * (both[5] > 0)
            save_png(folder / kind / f"{name}.png", both)
    cases = open_pictures(tmp_path, folder, labels={"cavity": 3, "wall": 2})
    assert cases.num_labels_max == 2
    assert cases[0].fixed_labels.sum(axis=(1, 2, 3)).tolist() == [9, 3]
    first, *_ = problems_of(open_pictures(tmp_path, folder))
    assert "values in [0, 1], got 0, 2, 3" in first and "dataset.labels" in first


def test_nifti_and_hdf5_of_two_axes_are_images_of_one_slice(tmp_path):
    """Bit for bit the same case as with a third axis of one, and as the pictures."""
    pictures = open_pictures(tmp_path, write_pictures(tmp_path / "png"))[1]
    found = {}
    for key, extra in (("flat", ()), ("slice", (1,))):
        root = tmp_path / key
        for number, kind in enumerate(KINDS):
            for index, name in enumerate(("one", "two")):
                make = label_map() if "label" in kind else picture(10 * number + index)
                make = make.reshape(COLUMNS, ROWS, *extra)
                save(root / "nifti" / kind / f"{name}.nii", make, OF_PICTURES)
                (root / "h5").mkdir(exist_ok=True)
                with h5py.File(root / "h5" / f"{kind}.h5", "a") as file:
                    file[name] = make
                    file[name].attrs["affine"] = OF_PICTURES
        for form in ("nifti", "h5"):
            options = {"format": form, "moving_image_shape": [COLUMNS, ROWS, 1]}
            cases = open_pictures(tmp_path, root / form, **options)
            cases.validate()
            found[key, form] = cases[1]
    for (key, _), case in found.items():
        layout = "plane" if key == "flat" else "volume"
        assert case.fixed_source.layout == layout and not case.spacing_is_nominal
        assert case.fixed_source.has_orientation and case.display == "LPS"
        for name in ("moving_image", "fixed_labels", "fixed_affine"):
            ours, theirs = getattr(case, name), getattr(pictures, name)
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(COLUMNS, ROWS, 2), (COLUMNS, ROWS, 1, 2)])
def test_channels_come_last_in_labels_of_2d_images(tmp_path, shape):
    both = np.stack([label_map(), 1 - label_map()], -1).reshape(shape)
    for kind in KINDS:
        make = both if "label" in kind else picture(len(kind))
        for name in ("one", "two"):
            save(tmp_path / "train" / kind / f"{name}.nii", make, PLANE)
    cases = open_pictures(tmp_path, tmp_path / "train", format="nifti")
    cases.validate()
    assert cases.num_labels_max == 2
    labels = cases[0].fixed_labels
    assert labels.shape == (2, *SHAPE)
    np.testing.assert_array_equal(labels[1, ..., 0], 1 - label_map())


def test_resizing_leaves_the_slice_alone(tmp_path):
    folder = write_pictures(tmp_path / "train")
    shapes = {"fixed_image_shape": [2 * COLUMNS, ROWS]}
    case = open_pictures(tmp_path, folder, **shapes)[0]
    assert case.fixed_image.shape == (2 * COLUMNS, ROWS, 1)
    np.testing.assert_array_equal(case.fixed_spacing_mm, [0.5, 1, 1])
    # outer faces stay: the first new voxel has its centre at old -0.25
    expected = OF_PICTURES @ np.diag([0.5, 1, 1, 1])
    expected[0, 3] = 0.25
    np.testing.assert_allclose(case.fixed_affine, expected)


def test_spacing_that_is_given_is_that_of_the_pictures(tmp_path):
    """The only one there is: lengths are mm, and one voxel keeps no third side."""
    folder = write_pictures(tmp_path / "train")
    case = open_pictures(tmp_path, folder, spacing_mm=[0.5, 2])[0]
    assert not case.spacing_is_nominal and case.display == "picture"
    np.testing.assert_array_equal(case.fixed_spacing_mm, [0.5, 2, 1])
    np.testing.assert_array_equal(case.fixed_affine, OF_PICTURES)
    grid = {"spacing_mm": [1, 1], "fit": "pad"}
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [5, 12])
    case = open_pictures(tmp_path, folder, spacing_mm=[0.5, 2], grid=grid, **shapes)[0]
    assert case.fixed_image.shape == (5, 12, 1)
    np.testing.assert_allclose(case.fixed_spacing_mm, [1, 1, 1])
    # 7 voxels of 0.5 mm become 4, padded to 5; 5 of 2 mm become 10, padded to 12
    assert (case.fixed_image[:4, 1:11] > 0).sum() >= 38
    assert not case.fixed_image[4].any() and not case.fixed_image[:, [0, 11]].any()


def test_pictures_that_itk_wrote_may_state_their_spacing(tmp_path):
    """Then lengths are mm; `dataset.spacing_mm` overrides them as those of others."""
    folder = write_pictures(tmp_path / "train")
    for kind in ("fixed_images", "moving_images"):
        for name in ("one", "two"):
            path = folder / kind / f"{name}.png"
            save_picture(path, picture(len(kind))[..., None], spacing=(0.5, 2))
    case = open_pictures(tmp_path, folder)[0]
    assert not case.spacing_is_nominal and not case.fixed_source.has_orientation
    np.testing.assert_array_equal(case.fixed_spacing_mm, [0.5, 2, 1])
    np.testing.assert_array_equal(case.fixed_affine, np.diag([-0.5, -2, 1, 1]))
    case = open_pictures(tmp_path, folder, spacing_mm=1)[0]
    assert case.spacing_is_nominal
    np.testing.assert_array_equal(case.fixed_spacing_mm, [1, 1, 1])


@pytest.mark.parametrize("thickness", [0.01, 6.0, 500.0])
def test_the_thickness_of_a_slice_matters_nowhere(tmp_path, thickness):
    affine = PLANE @ np.diag([1, 1, thickness / 6, 1])
    for kind in KINDS:
        make = label_map() if "label" in kind else picture(len(kind))
        for name in ("one", "two"):
            save(tmp_path / "train" / kind / f"{name}.nii", make, affine)
    options = {
        "format": "nifti",
        "grid": {"spacing_mm": [1, 1], "fit": "pad", "orientation": "RAS"},
        "fixed_image_shape": [5, 12],
    }
    case = open_pictures(tmp_path, tmp_path / "train", **options)[0]
    np.testing.assert_allclose(case.fixed_spacing_mm, [1, 1, thickness], rtol=1e-5)
    assert case.fixed_grid.orientation == "RAS" and case.fixed_image.shape == (5, 12, 1)
    whole = dict(options, grid={"spacing_mm": [1, 1, thickness], "fit": "pad"})
    other = open_pictures(tmp_path, tmp_path / "train", **whole)[0]
    # of the four voxels' five places, the added one is last before and after the turn
    turned = np.roll(case.fixed_image[::-1, ::-1], -1, axis=0)
    np.testing.assert_allclose(turned, other.fixed_image, atol=1e-5)
    assert np.ptp(turned) > 0.5


def test_a_2d_file_is_no_volume(tmp_path):
    """Not stretched into one, as a file of one slice is."""
    folder = write_pictures(tmp_path / "png")
    for kind in KINDS:
        for name in ("one", "two"):
            make = label_map() if "label" in kind else picture(len(kind))
            save(tmp_path / "train" / kind / f"{name}.nii", make, PLANE)
    shape = {"fixed_image_shape": [COLUMNS, ROWS, 3], "format": "nifti"}
    problems = problems_of(open_pictures(tmp_path, tmp_path / "train", **shape))
    assert len(problems) == 2
    assert "fixed_images/one.nii: expected a 3-D image, got 2-D" in problems[0]
    assert f"shape [{COLUMNS}, {ROWS}, 3]" in problems[0]
    config = config_of(tmp_path, tmp_path / "train", **{**shape, "labeled": False})
    image = folder / "fixed_images" / "one.png"
    with pytest.raises(DataError, match=r"one.png: expected a 3-D image, got 2-D of"):
        read_pair(config, PairFiles(image), PairFiles(image))


def test_a_volume_is_no_2d_image(tmp_path):
    """A network of images would see one slice of it."""
    folder = write_pictures(tmp_path / "png")
    rng = np.random.default_rng(0)
    volume = tmp_path / "volume.nii"
    nib.save(nib.Nifti1Image(rng.random((COLUMNS, ROWS, 4)), np.eye(4)), volume)
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [5, 12])
    config = config_of(tmp_path, folder, labeled=False, **shapes)
    picture = PairFiles(folder / "fixed_images" / "one.png")
    for sides in ((PairFiles(volume), picture), (picture, PairFiles(volume))):
        with pytest.raises(DataError, match=r"volume.nii: expected a 2-D image, got 3"):
            read_pair(config, *sides)


def test_colours_and_other_sizes_are_named(tmp_path):
    folder = write_pictures(tmp_path / "train")
    colour = folder / "fixed_images" / "two.png"
    Image.new("RGB", (COLUMNS, ROWS)).save(colour)
    save_png(folder / "moving_labels" / "one.png", label_map()[:-1])
    problems = problems_of(open_pictures(tmp_path, folder))
    assert len(problems) == 2
    assert (
        f"moving_labels/one.png: expected the grid of its image, {SHAPE}"
        in (problems[0])
    )
    assert problems[1].startswith(f"{colour}: expected a picture of one channel")


@pytest.mark.parametrize("labels", [None, {"lung": 255}])
def test_a_pair_of_files_equals_the_case_of_a_data_set(tmp_path, labels):
    folder = write_pictures(tmp_path / "train", value=255)
    config = png_config(tmp_path, folder, labels=labels)
    expected = load_case_set(config, "train")[1]
    sides = [
        PairFiles(
            folder / f"{role}_images" / "two.png",
            (folder / f"{role}_labels" / "two.png",),
            mask=save_png(tmp_path / f"{role}.png", label_map(255)),
        )
        for role in ("fixed", "moving")
    ]
    case = read_pair(
        config, *sides, "two", describe_cases(load_case_set(config, "train"))
    )
    for name in ("moving_image", "fixed_image", "moving_labels", "fixed_affine"):
        np.testing.assert_array_equal(getattr(case, name), getattr(expected, name))
    assert case.label_names == expected.label_names
    assert case.spacing_is_nominal and case.display == "picture"
    np.testing.assert_array_equal(case.fixed_mask[..., 0], label_map())


def test_several_masks_of_a_pair_are_named_by_their_files(tmp_path):
    folder = write_pictures(tmp_path / "train")
    config = png_config(tmp_path, folder, labels={"other": 7})
    files = [
        save_png(tmp_path / f"{name}.png", label_map(value))
        for name, value in (("lung", 255), ("heart", 1))
    ]
    sides = [
        PairFiles(folder / f"{role}_images" / "one.png", files)
        for role in ("fixed", "moving")
    ]
    case = read_pair(config, *sides)
    assert case.label_names == ("lung", "heart")
    np.testing.assert_array_equal(case.fixed_labels[0], case.fixed_labels[1])
    np.testing.assert_array_equal(case.fixed_labels[0, ..., 0], label_map())


def test_a_nominal_spacing_follows_the_pixels_of_a_plane_whatever_its_slice(tmp_path):
    """Training files of 0.5 mm were said to be 1; a file of 1 mm is then 2."""
    image = save(tmp_path / "a.nii", picture(), np.diag([1.0, 1.0, 9.0, 1.0]))
    config = png_config(tmp_path, tmp_path, format="nifti", spacing_mm=1, labeled=False)
    expected = {
        role: {"file_spacing_mm": [0.5, 0.5, 4]} for role in ("moving", "fixed")
    }
    case = read_pair(config, PairFiles(image), PairFiles(image), expected=expected)
    np.testing.assert_allclose(case.fixed_spacing_mm, [2, 2, 1])
