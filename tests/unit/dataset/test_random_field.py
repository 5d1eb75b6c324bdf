"""Tests of random fields in the graph; reference: the formula in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY
from scipy.ndimage import map_coordinates

from deepreg_meta.dataset.gaussian_field import (
    FieldOptions,
    deformation_energy,
    draw_mixture,
    evaluate_mixture,
)
from deepreg_meta.dataset.random_field import (
    GaussianField,
    draw_fields,
    least_determinant,
    mixture_field,
    read_options,
)
from deepreg_meta.evaluate.metric import jacobian_determinant
from deepreg_meta.layer.warp import warp

SIZES = [(20, 31, 1), (1, 17, 24), (12, 9, 15), (2, 14, 11)]
OPTIONS = FieldOptions(sigma=1.2, num_centers=5, width=(3.0, 6.0), reference=None)
# of which about half fold, on the grid below
FOLDING = FieldOptions(sigma=1.5, num_centers=5, width=(3.0, 5.0), reference=None)
PLANE = (24, 26, 1)


def seed_of(number):
    return tf.constant([number, 7])


def draw(seed=0, batch=3, size=SIZES[0], options=OPTIONS):
    return draw_fields(seed_of(seed), batch, size, options).numpy()


def stacked(mixtures):
    """Parameters of several mixtures, as the graph takes them."""
    names = ("centers", "widths", "amplitudes")
    return [
        tf.constant(np.stack([getattr(m, name) for m in mixtures]), tf.float32)
        for name in names
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reference", [None, 256.0])
def test_the_formula_is_that_of_numpy(mode, rng, size, reference):
    width = (3.0, 6.0) if reference is None else (30.0, 60.0)
    options = FieldOptions(sigma=10.0, num_centers=5, width=width, reference=reference)
    mixtures = [draw_mixture(rng, size, options) for _ in range(3)]
    found = mode(mixture_field)(*stacked(mixtures), size, options)
    expected = np.stack([evaluate_mixture(m, size, options) for m in mixtures])
    assert found.shape == (3, *size, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("jit", [False, True])
def test_the_elements_of_a_batch_know_nothing_of_each_other(rng, jit):
    mixtures = [draw_mixture(rng, SIZES[2], OPTIONS) for _ in range(3)]
    function = tf.function(mixture_field, jit_compile=jit)
    whole = function(*stacked(mixtures), SIZES[2], OPTIONS)
    for one, mixture in zip(whole, mixtures, strict=True):
        alone = function(*stacked([mixture]), SIZES[2], OPTIONS)
        np.testing.assert_allclose(one, alone[0], atol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("size", SIZES[1:3])
def test_every_draw_has_the_energy_asked_for_and_is_another(size, jit):
    function = tf.function(
        lambda seed: draw_fields(seed, 3, size, OPTIONS), jit_compile=jit
    )
    fields = function(seed_of(0)).numpy()
    for ddf in fields:
        assert deformation_energy(ddf, None) == pytest.approx(1.2, rel=1e-5)
        for axis in range(3):
            assert (np.ptp(ddf[..., axis]) > 0.0) == (size[axis] > 1)
    np.testing.assert_array_equal(fields, function(seed_of(0)))
    others = np.concatenate([fields[1:], function(seed_of(1)).numpy()])
    assert np.all(np.abs(others - fields[0]).max(axis=(1, 2, 3, 4)) > 0.5)


def test_a_compiled_graph_of_unknown_batch_draws_what_eager_code_does():
    graph = tf.function(
        lambda seed, batch: draw_fields(seed, batch, SIZES[0], OPTIONS),
        input_signature=[
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        ],
    )
    np.testing.assert_allclose(graph(seed_of(5), 3), draw(5), atol=1e-5)
    assert graph(seed_of(5), 2).shape == (2, *SIZES[0], 3)


def test_centres_and_widths_are_drawn_from_their_ranges(monkeypatch):
    seen = []

    def keep(centers, widths, amplitudes, size, options):
        seen.extend([centers.numpy(), widths.numpy(), amplitudes.numpy()])
        return tf.zeros([4, *size, 3])

    monkeypatch.setattr("deepreg_meta.dataset.random_field.mixture_field", keep)
    options = FieldOptions(num_centers=5000, width=(3.0, 6.0))
    draw_fields(seed_of(0), 4, SIZES[0], options)
    centers, widths, amplitudes = seen
    np.testing.assert_allclose(centers.mean(axis=(0, 1)), 0.5, atol=0.01)
    assert centers.min() >= 0.0 and centers.max() <= 1.0
    assert widths.min() >= 3.0 and widths.max() <= 6.0
    assert widths.mean() == pytest.approx(4.5, abs=0.03)
    np.testing.assert_allclose(amplitudes.mean(axis=(0, 1)), 0.0, atol=0.03)
    np.testing.assert_allclose(amplitudes.std(axis=(0, 1)), 1.0, atol=0.03)


def test_no_energy_is_the_identity(rng):
    ddf = draw(options=FieldOptions(sigma=0.0), size=(6, 5, 1))
    np.testing.assert_array_equal(ddf, np.zeros((3, 6, 5, 1, 3)))
    image = tf.constant(rng.uniform(size=(3, 6, 5, 1)), tf.float32)
    np.testing.assert_allclose(warp(image, ddf), image, atol=1e-7)


@pytest.mark.parametrize("size", [*SIZES, (1, 1, 6)])
def test_the_least_determinant_is_that_of_the_metric(rng, size):
    ddf = rng.normal(size=(2, *size, 3)).astype(np.float32)
    expected = [jacobian_determinant(field).min() for field in ddf]
    np.testing.assert_allclose(least_determinant(tf.constant(ddf)), expected, rtol=1e-4)
    assert np.all(least_determinant(tf.zeros([2, 1, 1, 1, 3])) == 1.0)


@pytest.mark.parametrize("jit", [False, True])
def test_fields_that_fold_are_drawn_anew_and_no_others(jit):
    free = FieldOptions(**{**FOLDING.__dict__, "fold_free": True})

    def both(seed):
        return [draw_fields(seed, 8, PLANE, options) for options in (FOLDING, free)]

    plain, kept = tf.function(both, jit_compile=jit)(seed_of(1))
    folds = least_determinant(plain).numpy() <= 0.0
    assert 2 <= folds.sum() <= 6
    assert np.all(least_determinant(kept).numpy() > 0.0)
    for before, after, was_folded in zip(plain, kept, folds, strict=True):
        assert np.any(before != after) == was_folded
        assert deformation_energy(after, None) == pytest.approx(1.5, rel=1e-5)


def test_a_graph_gives_up_after_some_draws_and_displaces_nothing():
    """A field that folds is never handed out for one that does not."""
    options = FieldOptions(sigma=30.0, width=(3.0, 6.0), reference=None, fold_free=True)
    assert np.all(draw(batch=2, options=options) == 0.0)


# ---- the registered layer ----


def blobs(size, centers, radius=2.0):
    """Return one smooth blob per sample, (batch, *size)."""
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    distance2 = ((grid[None] - np.reshape(centers, (-1, 1, 1, 1, 3))) ** 2).sum(-1)
    return np.exp(-0.5 * distance2 / radius**2).astype(np.float32)


def build(**config):
    config = dict(sigma=1.2, num_centers=5, width=[6, 9], reference=None) | config
    return REGISTRY.build_data_augmentation(
        config=dict(name="gaussian_field") | config,
        default_args=dict(
            moving_image_size=(20, 18, 1), fixed_image_size=(22, 24, 1), batch_size=2
        ),
    )


def inputs(rng, labeled=True):
    moving = blobs((20, 18, 1), [[9, 8, 0], [11, 9, 0]])
    fixed = blobs((22, 24, 1), [[10, 12, 0], [12, 10, 0]])
    data = dict(moving_image=moving, fixed_image=fixed, indices=np.zeros((2, 1)))
    if labeled:
        data |= dict(moving_label=moving.copy(), fixed_label=0.5 * fixed)
    return {name: tf.constant(value, tf.float32) for name, value in data.items()}


def test_a_blob_goes_where_the_field_says():
    """The voxel x of its new centre takes the old one: x + u(x) = p."""
    size, centers = (40, 44, 1), [[20.0, 21.0, 0.0], [18.0, 23.0, 0.0]]
    options = FieldOptions(sigma=3.0, num_centers=4, width=(16, 20), reference=None)
    ddf = draw_fields(seed_of(2), 2, size, options)
    moved = warp(tf.constant(blobs(size, centers, 1.5)), ddf).numpy()
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    for image, field, old in zip(moved, ddf.numpy(), centers, strict=True):
        new = (grid * image[..., None]).sum(axis=(0, 1, 2)) / image.sum()
        assert np.linalg.norm(new - old) > 1.0  # it went somewhere
        u = [
            map_coordinates(field[..., i], new[:, None], order=1, mode="nearest")[0]
            for i in range(3)
        ]
        np.testing.assert_allclose(new + u, old, atol=0.25)


@pytest.mark.parametrize("images", ["both", "moving", "fixed"])
def test_image_and_label_move_together_and_only_where_asked(mode, rng, images):
    data, layer = inputs(rng), build(images=images)
    moved = mode(lambda: layer(data))()
    assert set(moved) == set(data)
    np.testing.assert_array_equal(moved["indices"], data["indices"])
    for side, factor in (("moving", 1.0), ("fixed", 0.5)):
        image, label = moved[f"{side}_image"], moved[f"{side}_label"]
        np.testing.assert_allclose(label, factor * image, atol=1e-6)
        change = np.abs(image - data[f"{side}_image"]).max(axis=(1, 2, 3))
        assert np.all(change > 0.1) == (images in ("both", side))
        assert np.all(change == 0.0) == (images not in ("both", side))


def test_each_sample_and_each_side_has_a_field_of_its_own():
    ramp = np.broadcast_to(np.arange(30.0)[:, None, None], (2, 30, 30, 1))
    data = {
        f"{side}_image": tf.constant(ramp, tf.float32) for side in ("moving", "fixed")
    }
    moved = build()(data)
    shown = np.concatenate([moved["moving_image"], moved["fixed_image"]])[:, 8:-8, 8:-8]
    for i in range(4):
        for j in range(i):
            assert np.abs(shown[i] - shown[j]).max() > 0.3


def test_unlabeled_samples_are_deformed_too(rng):
    data = inputs(rng, labeled=False)
    moved = build()(data)
    assert set(moved) == set(data)
    expected = build()(inputs(rng))
    np.testing.assert_allclose(moved["fixed_image"], expected["fixed_image"], atol=1e-6)


def test_the_layer_draws_anew_at_each_call_and_repeats_with_its_seed(rng):
    data = inputs(rng)
    one, two, other = build(), build(), build(seed=5)
    first = one(data)["fixed_image"]
    np.testing.assert_array_equal(first, two(data)["fixed_image"])
    assert np.any(first != one(data)["fixed_image"])
    assert np.any(first != other(data)["fixed_image"])


def test_the_layer_draws_anew_in_a_dataset_of_ragged_batches(rng):
    data = inputs(rng)
    samples = tf.data.Dataset.from_tensor_slices(data).repeat(4)
    batches = list(samples.batch(3).map(build().call))
    assert [len(batch["fixed_image"]) for batch in batches] == [3, 3, 2]
    images = np.concatenate([batch["fixed_image"] for batch in batches])
    assert len(np.unique(images.reshape(8, -1), axis=0)) == 8


def test_the_configuration_of_the_layer_comes_back(rng):
    layer = build(seed=3, images="moving", fold_free=True, width=7.5)
    again = GaussianField.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    data = inputs(rng)
    np.testing.assert_array_equal(
        layer(data)["moving_image"], again(data)["moving_image"]
    )


def test_an_entry_of_a_configuration_is_read_by_side():
    entry = dict(name="gaussian_field", sigma=16, width=[20, 30], images="fixed")
    expected = FieldOptions(sigma=16, width=(20, 30))
    assert read_options(entry) == {"moving": None, "fixed": expected}
    assert read_options({"width": 40}) == dict.fromkeys(
        ("moving", "fixed"), FieldOptions(width=(40, 40))
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            dict(images="none"),
            "images: expected one of both, moving, fixed, got 'none'",
        ),
        (dict(sigma=-1), "gaussian_field.sigma: expected a number >= 0, got -1"),
        (dict(width=[3, 2]), r"0 < least <= greatest, got \(3, 2\)"),
        (dict(num_centers=0), "num_centers: expected None or an integer >= 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build(**config)


def test_one_trace_draws_anew_from_each_seed():
    """What NumPy draws would be frozen in it."""
    traces = []

    @tf.function
    def graph(seed):
        traces.append(seed)
        return draw_fields(seed, 1, PLANE, OPTIONS)

    assert np.any(graph(seed_of(0)) != graph(seed_of(1))) and len(traces) == 1
