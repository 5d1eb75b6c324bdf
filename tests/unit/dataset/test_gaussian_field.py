"""Tests of random fields from mixtures of Gaussians."""

import math

import numpy as np
import pytest

from deepreg_meta.dataset.gaussian_field import (
    MAX_DRAWS,
    FieldOptions,
    Mixture,
    deformation_energy,
    draw_field,
    draw_mixture,
    evaluate_mixture,
    voxel_units,
)
from deepreg_meta.evaluate.metric import jacobian_determinant

SIZES = [(20, 31, 1), (1, 17, 24), (12, 9, 15), (40, 40, 2)]
VOXELS = FieldOptions(sigma=2.0, num_centers=5, width=(3.0, 6.0), reference=None)


def changed(**values):
    """The options of most tests, some of them replaced."""
    return FieldOptions(**{**VOXELS.__dict__, **values})


def test_sigma_is_the_root_mean_square_of_a_component():
    ddf = np.zeros((64, 32, 1, 3))
    ddf[..., 0], ddf[..., 1] = 3.0, 0.5
    # on a reference of 128 the components are 3 / (64 / 128) = 6 and 0.5 / (1 / 4) = 2
    assert deformation_energy(ddf, 128.0) == pytest.approx(math.sqrt((36 + 4) / 2))
    assert deformation_energy(ddf, None) == pytest.approx(math.sqrt((9 + 0.25) / 2))
    assert deformation_energy(ddf) == pytest.approx(math.sqrt((144 + 16) / 2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reference", [None, 256.0, 100.0])
@pytest.mark.parametrize("sigma", [0.0, 0.7, 10.0, 16.0])
def test_every_field_has_the_energy_that_was_asked_for(rng, size, reference, sigma):
    width = (3.0, 6.0) if reference is None else (20.0, 60.0)
    options = changed(sigma=sigma, width=width, reference=reference)
    for _ in range(3):
        ddf = draw_field(rng, size, options)
        assert ddf.shape == (*size, 3)
        assert deformation_energy(ddf, reference) == pytest.approx(sigma, rel=1e-12)


def test_one_gaussian_has_its_own_values():
    """At one width from the centre exp(-1/2) of the peak, along every axis."""
    # the share 0.5 of 33 voxels is 16.5, the centre of voxel 16
    mixture = Mixture(
        np.full((1, 3), 0.5), np.array([4.0]), np.array([[2.0, -1.0, 0.5]])
    )
    ddf = evaluate_mixture(mixture, (33, 33, 33), VOXELS)
    peak = ddf[16, 16, 16]
    np.testing.assert_allclose(peak / peak[0], [1.0, -0.5, 0.25])
    for place in ((20, 16, 16), (16, 12, 16), (16, 16, 20)):
        np.testing.assert_allclose(ddf[place], peak * math.exp(-0.5))
    np.testing.assert_allclose(ddf[20, 24, 16], peak * math.exp(-0.5 - 2.0))


def test_a_mixture_is_the_sum_of_its_gaussians(rng):
    size = (7, 9, 8)
    mixture = draw_mixture(rng, size, VOXELS)
    voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    expected = np.zeros((*size, 3))
    for share, width, amplitude in zip(
        mixture.centers, mixture.widths, mixture.amplitudes, strict=True
    ):
        distance2 = ((voxels + 0.5 - share * size) ** 2).sum(axis=-1, keepdims=True)
        expected += amplitude * np.exp(-distance2 / (2 * width**2))
    expected *= 2.0 / np.sqrt((expected**2).mean())
    np.testing.assert_allclose(evaluate_mixture(mixture, size, VOXELS), expected)


def test_a_smaller_image_is_deformed_as_the_larger_one_made_smaller(rng):
    """A voxel of a third of the sides is the middle one of nine."""
    options = changed(sigma=10.0, width=(30.0, 60.0), reference=256.0)
    mixture = draw_mixture(rng, (96, 66, 1), options)
    large = evaluate_mixture(mixture, (96, 66, 1), options)[1::3, 1::3]
    small = evaluate_mixture(mixture, (32, 22, 1), options)
    ratio = small[..., :2] / large[..., :2]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-9)
    # but for the grid that the energy is summed up on, a third of the displacement
    assert ratio.mean() == pytest.approx(1 / 3, rel=1e-2)
    # and so the same share of folds: the determinant has no unit
    np.testing.assert_allclose(
        jacobian_determinant(small)[1:-1, 1:-1],
        jacobian_determinant(evaluate_mixture(mixture, (96, 66, 1), options))[
            1::3, 1::3
        ][1:-1, 1:-1],
        atol=0.03,
    )


def test_each_axis_has_its_own_unit():
    np.testing.assert_allclose(voxel_units((128, 256, 64), 256.0), [0.5, 1.0, 0.25])
    np.testing.assert_allclose(voxel_units((128, 256, 64), None), [1.0, 1.0, 1.0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_moves_along_a_singleton_axis_or_depends_on_it(rng, axis):
    size = [9, 8, 7]
    size[axis] = 1
    mixture = draw_mixture(rng, tuple(size), VOXELS)
    ddf = evaluate_mixture(mixture, tuple(size), VOXELS)
    assert np.all(ddf[..., axis] == 0.0)
    assert all(np.ptp(ddf[..., i]) > 0.5 for i in range(3) if i != axis)
    centers, amplitudes = mixture.centers.copy(), mixture.amplitudes.copy()
    centers[:, axis], amplitudes[:, axis] = 0.123, 45.0
    other = Mixture(centers, mixture.widths, amplitudes)
    np.testing.assert_array_equal(evaluate_mixture(other, tuple(size), VOXELS), ddf)


def test_a_single_voxel_stays(rng):
    ddf = draw_field(rng, (1, 1, 1), VOXELS)
    assert ddf.shape == (1, 1, 1, 3) and not ddf.any()
    assert deformation_energy(ddf) == 0.0


def test_one_seed_one_field_and_another_seed_another():
    first, again, other = (
        draw_field(np.random.default_rng(seed), (9, 8, 1), VOXELS) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_a_volume_has_more_gaussians_than_an_image():
    options = FieldOptions()
    assert [options.count(size) for size in ((9, 1, 1), (9, 1, 8), (9, 8, 7))] == [
        *(4, 16, 64)
    ]
    assert FieldOptions(num_centers=5).count((9, 8, 7)) == 5


def test_centres_widths_and_directions_are_uniform(rng):
    mixture = draw_mixture(rng, (9, 9, 1), changed(num_centers=20_000))
    np.testing.assert_allclose(mixture.centers.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(mixture.centers.var(axis=0), 1 / 12, atol=0.003)
    assert mixture.widths.min() >= 3.0 and mixture.widths.max() <= 6.0
    assert mixture.widths.mean() == pytest.approx(4.5, abs=0.03)
    lengths = np.linalg.norm(mixture.amplitudes, axis=1, keepdims=True)
    second = (mixture.amplitudes / lengths).T @ (mixture.amplitudes / lengths) / 20_000
    np.testing.assert_allclose(second, np.eye(3) / 3, atol=0.01)


FOLDING = changed(sigma=1.5, width=(3.0, 5.0))


def test_fold_free_draws_until_nothing_folds_and_keeps_the_energy():
    size, num_folded = (24, 26, 1), 0
    for seed in range(8):
        plain = draw_field(np.random.default_rng(seed), size, FOLDING)
        folds = jacobian_determinant(plain).min() <= 0.0
        num_folded += folds
        options = changed(**{**FOLDING.__dict__, "fold_free": True})
        kept = draw_field(np.random.default_rng(seed), size, options)
        assert jacobian_determinant(kept).min() > 0.0
        assert deformation_energy(kept, None) == pytest.approx(1.5)
        if not folds:  # the first that does not fold is the field
            np.testing.assert_array_equal(kept, plain)
    assert 2 <= num_folded <= 7


def test_fields_that_always_fold_are_refused(rng):
    options = changed(sigma=30.0, fold_free=True)
    with pytest.raises(ValueError, match=f"among {MAX_DRAWS}, got none with sigma 30"):
        draw_field(rng, (12, 12, 1), options)


def test_gaussians_between_the_voxels_are_refused(rng):
    mixture = Mixture(np.array([[0.5, 0.5, 0.5]]), np.array([0.01]), np.ones((1, 3)))
    with pytest.raises(ValueError, match="width: expected Gaussians that reach a vox"):
        evaluate_mixture(mixture, (8, 8, 1), VOXELS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(sigma=-1.0), "gaussian_field.sigma: expected a number >= 0, got -1.0"),
        (dict(sigma=math.nan), "sigma: expected a number >= 0, got nan"),
        (dict(num_centers=0), "num_centers: expected None or an integer >= 1, got 0"),
        (dict(width=(5.0, 2.0)), r"0 < least <= greatest, got \(5.0, 2.0\)"),
        (dict(width=(0.0, 2.0)), r"0 < least <= greatest, got \(0.0, 2.0\)"),
        (dict(width=(1.0,)), r"0 < least <= greatest, got \(1.0,\)"),
        (dict(reference=0.0), "reference: expected None or a number > 0, got 0.0"),
    ],
)
def test_options_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        changed(**values)
