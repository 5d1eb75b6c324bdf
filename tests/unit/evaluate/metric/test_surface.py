"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.surface."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from deepreg_meta.evaluate import metric

SPACING = (0.7, 1.9, 1.2)


def box(shape, start, side=3):
    """A cube of voxels."""
    label = np.zeros(shape)
    label[tuple(slice(s, s + side) for s in start)] = 1
    return label


def smooth_blobs(rng, shape=(14, 17, 19)):
    """A label of several parts that does not touch the border."""
    label = np.zeros(shape, bool)
    inner = tuple(side - 4 for side in shape)
    label[2:-2, 2:-2, 2:-2] = gaussian_filter(rng.normal(size=inner), 2) > 0.02
    return label


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_planes_are_everywhere_as_far_apart_as_they_are(axis):
    a, b = np.zeros((2, 9, 11, 13))
    np.moveaxis(a, axis, 0)[2] = 1
    np.moveaxis(b, axis, 0)[5] = 1
    for measure in (metric.hd95, metric.asd):
        assert measure(a, b, SPACING) == pytest.approx(3 * SPACING[axis])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_of_one_plane_are_surface_throughout_where_the_volume_is_not_flat(axis):
    """Above and below them is background, also of the other label in the same plane."""
    small, large = np.zeros((2, 9, 11, 13))
    np.moveaxis(small, axis, 0)[2, 2:5, 3:6] = 1
    np.moveaxis(large, axis, 0)[2, 1:6, 2:7] = 1
    to_large, to_small = metric.surface_distances(small, large, SPACING)
    assert (len(to_large), len(to_small)) == (9, 25)
    assert not to_large.any() and np.count_nonzero(to_small) == 25 - 9


@pytest.mark.parametrize(
    "spacing, asd, hd95", [((1, 2, 3), 10 / 26, 1.0), ((2, 1, 3), 19 / 26, 2.0)]
)
def test_two_cubes_one_voxel_apart_have_distances_worked_out_by_hand(
    spacing, asd, hd95
):
    # each has 3^3 - 1 surface voxels; the 9 of the outer face are one step along axis 0
    # away from the other, and the one that is the other's centre is the shortest step
    a, b = box((9, 7, 8), (2, 2, 3)), box((9, 7, 8), (3, 2, 3))
    assert metric.asd(a, b, spacing) == pytest.approx(asd)
    assert metric.hd95(a, b, spacing) == pytest.approx(hd95)
    assert sorted(metric.surface_distances(a, b, spacing)[0])[-1] == spacing[0]


def test_the_worse_direction_counts_and_percentiles_are_interpolated():
    a, b = np.zeros((2, 5, 6, 12))
    a[2, 3, 0] = b[2, 3, 0] = b[2, 3, 10] = 1
    # from a: 0; from b: 0 and 10, whose 95th percentile is 9.5
    assert metric.hd95(a, b, (1, 1, 1)) == metric.hd95(b, a, (1, 1, 1)) == 9.5
    assert metric.asd(a, b, (1, 1, 1)) == pytest.approx(10 / 3)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_two_spheres_are_apart_by_their_radii_and_centres_to_half_a_voxel(offset):
    spacing = np.array([1.0, 0.8, 1.25])
    shape = (40, 50, 32)
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing
    centre = (np.array(shape) - 1) / 2 * spacing
    small = np.linalg.norm(points - centre, axis=-1) <= 9
    large = np.linalg.norm(points - centre - [offset, 0, 0], axis=-1) <= 14
    to_large, to_small = metric.surface_distances(small, large, spacing)
    # from a point of one sphere to the other along the line through the other's centre
    assert to_large.max() == pytest.approx(14 - 9 + offset, abs=0.63)
    assert to_small.max() == pytest.approx(14 - 9 + offset, abs=0.63)
    if not offset:
        assert metric.asd(small, large, spacing) == pytest.approx(5, abs=0.5)
        assert metric.hd95(small, large, spacing) == pytest.approx(5, abs=0.63)


def test_distances_are_those_between_all_surface_voxels(rng):
    a, b = smooth_blobs(rng), smooth_blobs(rng)
    surfaces = []
    for label in (a, b):
        steps = [(axis, step) for axis in range(3) for step in (-1, 1)]
        inner = np.all([np.roll(label, step, axis) for axis, step in steps], axis=0)
        surfaces.append(np.argwhere(label & ~inner) * SPACING)
    expected = cdist(*surfaces)
    to_b, to_a = metric.surface_distances(a, b, SPACING)
    np.testing.assert_allclose(to_b, expected.min(axis=1))
    np.testing.assert_allclose(to_a, expected.min(axis=0))


def test_distances_equal_those_of_simpleitk(rng):
    labels = [smooth_blobs(rng), smooth_blobs(rng)]
    contours, maps = [], []
    for label in labels:
        image = sitk.GetImageFromArray(label.astype(np.uint8))
        image.SetSpacing(SPACING[::-1])  # arrays have ITK's axes in reverse
        contours.append(sitk.LabelContour(image, fullyConnected=False))
        signed = sitk.SignedMaurerDistanceMap(
            contours[-1], squaredDistance=False, useImageSpacing=True
        )
        maps.append(np.abs(sitk.GetArrayFromImage(signed)))
    on_a, on_b = (sitk.GetArrayFromImage(contour) > 0 for contour in contours)
    to_b, to_a = metric.surface_distances(*labels, SPACING)
    np.testing.assert_allclose(to_b, maps[1][on_a], atol=1e-5)
    np.testing.assert_allclose(to_a, maps[0][on_b], atol=1e-5)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*contours)
    largest = max(to_b.max(), to_a.max())
    assert largest == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


def test_what_touches_the_border_of_the_volume_has_its_surface_there():
    a, b = np.zeros((2, 5, 6, 7))
    a[:] = 1  # the surface is the hull of the volume
    b[0] = 1
    to_b, to_a = metric.surface_distances(a, b, (1, 1, 1))
    assert len(to_b) == 5 * 6 * 7 - 3 * 4 * 5 and to_b.max() == 4.0
    assert len(to_a) == 6 * 7 and to_a.max() == 0.0


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_the_surface_of_a_flat_label_is_its_outline(flat):
    a, b = np.zeros((2, 9, 11))
    a[2:7, 3:8] = 1  # 25 voxels, 16 of them on the outline
    b[4, 5] = 1  # in the middle of it
    a, b = np.expand_dims(a, flat), np.expand_dims(b, flat)
    to_b, to_a = metric.surface_distances(a, b, np.insert([1.0, 1.0], flat, 9.0))
    assert len(to_b) == 16 and to_b.min() == 2.0
    np.testing.assert_array_equal(to_a, [2.0])


def test_soft_labels_count_from_one_half_on():
    a, b = box((9, 7, 8), (2, 2, 3)), box((9, 7, 8), (3, 2, 3))
    soft = 0.5 * a
    soft[0] = 0.49
    assert metric.hd95(soft, b, SPACING) == metric.hd95(a, b, SPACING) > 0


def test_an_empty_label_has_no_distance():
    empty, full = np.zeros((5, 6, 7)), np.ones((5, 6, 7))
    for pair in ((empty, full), (full, empty), (empty, empty)):
        assert math.isnan(metric.hd95(*pair, SPACING))
        assert math.isnan(metric.asd(*pair, SPACING))
        assert [len(part) for part in metric.surface_distances(*pair, SPACING)] == [
            0,
            0,
        ]


def test_labels_and_spacings_that_do_not_fit_are_refused():
    label = np.ones((5, 6, 7))
    with pytest.raises(ValueError, match=r"\(5, 6, 7\) and \(5, 7, 6\)"):
        metric.hd95(label, np.ones((5, 7, 6)), SPACING)
    with pytest.raises(ValueError, match=r"labels \(d1, d2, d3\), got \(5, 6\)"):
        metric.asd(label[..., 0], label[..., 0], SPACING)
    with pytest.raises(ValueError, match=r"spacing_mm: .*got \(1, 0, 1\)"):
        metric.asd(label, label, (1, 0, 1))
