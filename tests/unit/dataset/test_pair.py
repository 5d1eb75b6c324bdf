"""Tests of a single pair: equal to a data set's cases, and every fault of its files."""

import gc
import logging
import weakref

import numpy as np
import pytest

from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.pair import read_pair
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import (
    AFFINE,
    FIXED,
    KINDS,
    MOVING,
    Folder,
    config_of,
    image,
    label,
    save,
)

require_stack()


@pytest.fixture
def folder(tmp_path):
    """A split of two cases with two labels each."""
    folder = Folder(tmp_path / "train", KINDS, ("one", "two"))
    for kind, shape in (("moving_labels", MOVING), ("fixed_labels", FIXED)):
        for name in ("one", "two"):
            folder.put(kind, name, label(shape, 2))
    return folder


def files_of(folder, role, name="two", **options):
    labels = (folder.file(f"{role}_labels", name),)
    options = {"labels": labels, **options}
    return PairFiles(folder.file(f"{role}_images", name), **options)


def read(tmp_path, folder, fixed=None, moving=None, expected=None, **dataset):
    """Read the case `two`, with other files for a side."""
    config = config_of(tmp_path, folder, **dataset)
    fixed = files_of(folder, "fixed", **(fixed or {}))
    moving = files_of(folder, "moving", **(moving or {}))
    return read_pair(config, fixed, moving, "two", expected)


KEYS = [
    {},
    {"fixed_image_shape": [9, 8, 7], "spacing_mm": [1, 2, 3]},
    {
        "grid": {"spacing_mm": [1.5, 1, 1], "fit": "pad", "orientation": "LPS"},
        "intensity": {
            "moving": [{"name": "match", "reference": "fixed"}],
            "fixed": [{"name": "clip", "sigmas": 1}, {"name": "z_score"}],
        },
        "fixed_image_shape": [12, 11, 10],
    },
]


@pytest.mark.parametrize("keys", KEYS, ids=["default", "nominal", "all"])
def test_a_pair_equals_the_case_of_a_data_set_bit_for_bit(tmp_path, folder, keys):
    case = read(tmp_path, folder, **keys)
    expected = load_case_set(config_of(tmp_path, folder, **keys), "train")[1]
    for name in (
        *("moving_image", "fixed_image", "moving_labels", "fixed_labels"),
        *("moving_affine", "fixed_affine", "moving_spacing_mm", "fixed_spacing_mm"),
    ):
        ours, theirs = getattr(case, name), getattr(expected, name)
        assert ours.tobytes() == theirs.tobytes() and ours.dtype == theirs.dtype
    assert case.name == expected.name and case.label_names == expected.label_names
    assert case.spacing_is_nominal == expected.spacing_is_nominal
    for ours, theirs in (
        (case.fixed_source, expected.fixed_source),
        (case.moving_source, expected.moving_source),
    ):
        assert (ours.path, ours.label_paths) == (theirs.path, theirs.label_paths)
        assert ours.grid.is_same(theirs.grid)
        for a, b in zip(ours.read(), theirs.read(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_sources_give_the_voxels_as_stored_and_hold_none(tmp_path, folder):
    case = read(tmp_path, folder, grid={"fit": "pad"}, fixed_image_shape=[9, 9, 9])
    source, arrays = case.fixed_source, weakref.ref(case.fixed_image)
    voxels, labels = source.read()
    np.testing.assert_array_equal(voxels, image(FIXED, 1))
    np.testing.assert_array_equal(labels, np.moveaxis(label(FIXED, 2), 3, 0))
    assert labels.dtype == voxels.dtype == np.float32
    del case
    gc.collect()
    assert arrays() is None
    held = [cell.cell_contents for cell in source.read_voxels.__closure__]
    assert not any(isinstance(one, np.ndarray) for one in held)
    read_again = weakref.ref(voxels)
    del voxels, labels
    gc.collect()
    assert read_again() is None


def test_several_label_files_are_channels_named_by_the_fixed_ones(tmp_path, folder):
    sides = {}
    for role, shape, names in (
        ("fixed", FIXED, ("gland", "apex")),
        ("moving", MOVING, ("mr_gland", "mr_apex")),
    ):
        paths = [
            save(tmp_path / f"{name}.nii.gz", label(shape, 2)[..., i])
            for i, name in enumerate(names)
        ]
        sides[role] = {"labels": paths}
    case = read(tmp_path, folder, **sides)
    assert case.label_names == ("gland", "apex")
    np.testing.assert_array_equal(case.moving_labels[1], label(MOVING, 2)[..., 1])


def test_labels_are_not_needed(tmp_path, folder):
    none = {"labels": ()}
    case = read(tmp_path, folder, none, none)
    assert case.fixed_labels is None and case.label_names == ()
    with pytest.raises(
        DataError, match="a label beside it, by which `align: centroid`"
    ):
        read(tmp_path, folder, none, none, align="centroid")


def test_masks_follow_their_images_to_the_network(tmp_path, folder):
    voxels = np.zeros(FIXED, np.uint8)
    voxels[1:4, 2:5, 3:6] = 255
    mask = save(tmp_path / "mask.nii.gz", voxels)
    keys = {"grid": {"fit": "pad"}, "fixed_image_shape": [7, 8, 9]}
    case = read(tmp_path, folder, {"mask": mask}, **keys)
    assert case.moving_mask is None and case.fixed_mask.dtype == np.float32
    expected = np.zeros((7, 8, 9))
    expected[2:5, 3:6, 4:7] = 1  # one voxel more on every side
    np.testing.assert_array_equal(case.fixed_mask, expected)
    with pytest.raises(ValueError, match="read-only"):
        case.fixed_mask[...] = 0
    # stretched to half as many voxels: half a voxel of the mask is enough
    case = read(tmp_path, folder, {"mask": mask}, fixed_image_shape=[5, 3, 7])
    assert case.fixed_mask.shape == (5, 3, 7)
    assert np.unique(case.fixed_mask).tolist() == [0, 1]
    assert case.fixed_mask[2, :, 4].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (label(MOVING), AFFINE, r"grid of its image, \(5, 6, 7\), got \(6, 7, 8\)"),
        (0 * label(FIXED), AFFINE, "a mask of 0 and one positive value, got 0"),
        (label(FIXED) * 2.0 - 1, AFFINE, "one positive value, got -1, 1"),
        (image(FIXED), AFFINE, r"one positive value, got .*, \.\.\."),
        (label(FIXED), 2 * AFFINE, "the place of its image"),
        (np.eye(5)[:, :1, None] * np.ones(FIXED), AFFINE, "none on the network's grid"),
    ],
)
def test_a_bad_mask_is_named(tmp_path, folder, voxels, affine, message):
    mask = save(tmp_path / "mask.nii.gz", voxels.astype(np.float32), affine)
    keys = {"grid": {"fit": "pad"}, "fixed_image_shape": [3, 6, 7]}
    with pytest.raises(DataError, match=f"mask.nii.gz: expected .*{message}") as caught:
        read(tmp_path, folder, {"mask": mask}, **keys)
    assert len(caught.value.problems) == 1


def test_the_problems_of_both_sides_are_told_together(tmp_path, folder):
    folder.put("fixed_images", "two", np.ones(FIXED, np.uint8))
    folder.put("fixed_labels", "two", 7 * label(FIXED))
    folder.file("moving_labels", "two").unlink()
    gone = {"landmarks": tmp_path / "points.fcsv"}
    with pytest.raises(DataError) as caught:
        read(tmp_path, folder, gone)
    assert str(caught.value).startswith("The pair two cannot be used:\n")
    points, constant, values, missing = caught.value.problems
    assert points == f"{tmp_path / 'points.fcsv'}: expected a file, found none."
    assert "contrast" in constant and "values in [0, 1]" in values
    path = folder.file("moving_labels", "two")
    assert missing == f"{path}: expected a file, found none."


def test_a_bad_fixed_image_hides_nothing_of_the_moving_side(tmp_path, folder):
    folder.put("fixed_images", "two", np.ones(FIXED, np.uint8))
    folder.put("moving_labels", "two", 7 * label(MOVING))
    steps = {"moving": [{"name": "match", "reference": "fixed"}]}
    with pytest.raises(DataError) as caught:
        read(tmp_path, folder, intensity=steps)
    fixed, moving = caught.value.problems
    assert "fixed_images/two.nii.gz: expected an image with contrast" in fixed
    assert "moving_labels/two.nii.gz: expected values in [0, 1]" in moving


def test_labels_must_be_there_on_both_sides_in_one_order(tmp_path, folder):
    with pytest.raises(
        DataError, match="labels of both .* got 0 of the moving image an"
    ):
        read(tmp_path, folder, moving={"labels": ()})
    folder.put("moving_labels", "two", label(MOVING, 3))
    with pytest.raises(DataError, match=r"as many label channels as .* \(2\), got 3"):
        read(tmp_path, folder)
    paths = {
        role: [
            save(tmp_path / role / f"{name}.nii", label(shape))
            for name in ("gland", "apex")
        ]
        for role, shape in (("fixed", FIXED), ("moving", MOVING))
    }
    moving = {"labels": paths["moving"][::-1]}
    with pytest.raises(
        DataError, match="order of the fixed image's, gland, apex, got a"
    ):
        read(tmp_path, folder, {"labels": paths["fixed"]}, moving)


def test_a_pair_that_shares_no_space_is_refused_with_affine_alignment(tmp_path, folder):
    far = AFFINE.copy()
    far[0, 3] += 300
    folder.put("moving_images", "two", image(MOVING), far)
    folder.put("moving_labels", "two", label(MOVING, 2), far)
    assert read(tmp_path, folder).name == "two"
    with pytest.raises(
        DataError, match=r"moving_images.*some overlap .*fixed_images.*mm"
    ):
        read(tmp_path, folder, align="affine")


# ---- what the training data looked like ----


def facts(orientations=("RAS",), spacing=(0.5, 2.0, 1.5)):
    return {"orientations": list(orientations), "grid_spacing_mm": list(spacing)}


def test_a_pair_is_turned_as_the_training_data_was(tmp_path, folder, caplog):
    # axes of AFFINE point to A, L, S, and are turned to R, A, S
    with caplog.at_level(logging.INFO):
        keys = {"fixed_image_shape": [6, 5, 7]}
        case = read(tmp_path, folder, expected={"fixed": facts()}, **keys)
    assert "two.nii.gz: axes turned from ALS to RAS, as in the training" in caplog.text
    assert (
        case.fixed_grid.orientation == "RAS" and case.moving_grid.orientation == "ALS"
    )
    unturned = read(tmp_path, folder)
    expected = unturned.fixed_image.transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(case.fixed_image, expected)
    np.testing.assert_allclose(case.fixed_spacing_mm, [0.5, 2, 1.5])
    # the source stays as it is on disk
    assert case.fixed_source.grid.orientation == "ALS"
    np.testing.assert_array_equal(case.fixed_source.read()[0], image(FIXED, 1))


@pytest.mark.parametrize(
    ("orientations", "grid"),
    [
        (["RAS", "LPS"], {}),
        ([None], {}),
        (["ALS"], {}),
        (["RAS"], {"orientation": "ALS"}),
    ],
)
def test_a_pair_is_left_where_training_had_no_one_orientation_or_the_keys_say_it(
    tmp_path, folder, orientations, grid, caplog
):
    with caplog.at_level(logging.INFO):
        expected = {"fixed": facts(orientations, (2, 0.5, 1.5))}
        case = read(tmp_path, folder, expected=expected, grid=grid)
    assert case.fixed_grid.orientation == "ALS"
    assert not caplog.records


def test_a_file_without_orientation_is_taken_as_it_is_with_a_warning(
    tmp_path, folder, caplog
):
    import nibabel as nib

    picture = nib.Nifti1Image(image(FIXED), None)
    picture.header.set_zooms((2, 0.5, 1.5))
    nib.save(picture, folder.file("fixed_images", "two"))
    expected = {"fixed": facts(["RAS"], (2, 0.5, 1.5))}
    case = read(tmp_path, folder, expected=expected)
    assert "two.nii.gz states no orientation" in caplog.text
    np.testing.assert_array_equal(case.fixed_source.read()[0], image(FIXED))
    assert case.fixed_image.shape == FIXED


@pytest.mark.parametrize(
    ("spacing", "is_warned"),
    [
        ((1.4, 0.5, 1.5), False),  # 2 mm, a factor of 1.43
        ((1.3, 0.5, 1.5), True),
        ((2.0, 0.5, 2.2), False),
        ((2.0, 0.5, 2.3), True),
    ],
)
def test_voxels_of_another_size_than_in_training_are_warned_of(
    tmp_path, folder, caplog, spacing, is_warned
):
    expected = {"fixed": facts(["ALS"], spacing)}
    read(tmp_path, folder, expected=expected)
    assert ("two.nii.gz: voxels of [2.0, 0.5, 1.5] mm" in caplog.text) == is_warned
    caplog.clear()
    read(tmp_path, folder, expected={"fixed": facts([None], spacing)})
    assert not caplog.records  # lengths of HDF5 mean nothing
