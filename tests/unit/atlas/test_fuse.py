"""Tests of deepreg_meta/atlas/fuse.py: laws of votes, and a plain loop beside it."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.atlas import fuse as module
from deepreg_meta.atlas.fuse import (
    METHODS,
    Fusion,
    disputed,
    expected_errors,
    fuse,
    joint_weights,
    similarity_weights,
    vote,
)
from tests.unit.atlas.test_patches import reference

SHAPE = (5, 6, 7)


@pytest.fixture
def atlases(rng):
    """:return: maps of three structures, images, target, similarities of 5 atlases."""
    labels = rng.choice([0, 3, 8], (5, *SHAPE)).astype(np.int32)
    images, target = rng.random((5, *SHAPE)), rng.random(SHAPE)
    return labels, images, target, [0.9, 0.7, 0.6, 0.5, 0.2]


@pytest.fixture(params=[*METHODS, "weighted global", "joint search"])
def fusion(request):
    options = {"weighted global": dict(weights="global"),
               "joint search": dict(search_radius=1)}  # fmt: skip
    name = request.param
    return Fusion(name.split()[0], patch_radius=1, **options.get(name, {}))


# ---- every method ----


def test_what_all_atlases_say_is_kept(fusion, atlases):
    """Everywhere, where they agree everywhere; else in the voxels where they do."""
    labels, *rest = atlases
    same = np.repeat(labels[:1], 5, axis=0)
    np.testing.assert_array_equal(fuse(same, fusion, *rest), labels[0])
    mixed = labels.copy()
    mixed[:, 3:] = labels[0, 3:]
    found = fuse(mixed, fusion, *rest)
    np.testing.assert_array_equal(found[3:], labels[0, 3:])
    assert found.dtype == labels.dtype


def test_one_atlas_is_taken_as_it_is(fusion, atlases):
    labels, images, target, similarities = atlases
    found = fuse(labels[:1], fusion, images[:1], target, similarities[:1])
    np.testing.assert_array_equal(found, labels[0])


def test_only_labels_that_an_atlas_has_are_chosen(fusion, atlases):
    """In the voxel itself, but by STAPLE, which models confusion, and with a search."""
    labels, *rest = atlases
    found = fuse(labels, fusion, *rest)
    if fusion.search_radius == 0 and fusion.method != "staple":
        assert (found[None] == labels).any(axis=0).all()
    assert set(np.unique(found)) <= {0, 3, 8}


def test_fusion_does_not_touch_what_it_is_given(fusion, atlases):
    labels, images, target, _ = atlases
    before = [x.copy() for x in (labels, images, target)]
    fuse(labels, fusion, *atlases[1:])
    for x, y in zip(before, (labels, images, target), strict=True):
        np.testing.assert_array_equal(x, y)


# ---- votes ----


def test_the_majority_is_that_of_simpleitk(rng):
    """Where no two labels have equal votes; two labels of five atlases never have."""
    labels = rng.integers(0, 2, (5, *SHAPE)).astype(np.uint8) * 4
    expected = sitk.LabelVoting([sitk.GetImageFromArray(own) for own in labels], 9)
    found = fuse(labels, Fusion("majority"))
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(expected))


def test_of_equal_votes_the_most_similar_atlas_wins():
    """Not the smallest label; three votes of five win over it."""
    labels = np.array([[7, 7, 2], [1, 1, 1], [1, 3, 1], [7, 5, 1]])
    found = vote(labels, np.ones((4, 1)))
    assert found.tolist() == [7, 7, 1]
    assert vote(labels[:, :1], np.array([[0.3], [0.2], [0.2], [0.0]])).tolist() == [1]
    assert vote(labels[:2, :1], np.array([[-1.0], [2.0]])).tolist() == [1]


def test_global_weights_are_powers_of_similarity(atlases):
    """0.9^2 beats 0.6^2 + 0.5^2; with the power 1 the two win; none below zero."""
    labels = np.zeros((3, 1, 1, 1), int)
    labels[1:] = 4
    for beta, expected in ((2.0, 0), (1.0, 4)):
        fusion = Fusion("weighted", "global", beta=beta)
        found = fuse(labels, fusion, similarities=[0.9, 0.6, 0.5])
        assert found.item() == expected
    weights = similarity_weights(np.array([0.8, 0.4, -0.9, np.nan]), 2.0)
    np.testing.assert_allclose(weights, [0.8, 0.2, 0.0, 0.0])


def test_without_any_similarity_every_atlas_counts_alike():
    np.testing.assert_allclose(similarity_weights(np.array([-0.5, 0, np.nan, -1]), 2),
                               0.25)  # fmt: skip


def test_local_weights_follow_the_better_image(rng):
    """Left the first atlas shows the target, right the second; a third says no."""
    target = rng.random((8, 6, 6))
    images = rng.random((3, 8, 6, 6))
    images[0, :4], images[1, 4:] = 5 * target[:4] - 3, target[4:]
    labels = np.stack([np.full(target.shape, value) for value in (1, 2, 3)])
    for fusion in (Fusion("weighted", beta=6.0, patch_radius=1),
                   Fusion("joint", patch_radius=1)):  # fmt: skip
        found = fuse(labels, fusion, images, target)
        assert (found[:3] == 1).all() and (found[5:] == 2).all()


# ---- joint label fusion ----


def test_the_diagonal_of_errors_is_that_of_a_correlation(rng):
    """Of normalised patches: (2 - 2 r)^beta."""
    patches = rng.normal(size=(4, 3, 27))
    patches -= patches.mean(axis=-1, keepdims=True)
    patches /= patches.std(axis=-1, ddof=1, keepdims=True)
    target, atlases = patches[:, :1], patches[:, 1:]
    errors = expected_errors(atlases - target, beta=3.0)
    for m in range(4):
        for i in range(2):
            r = np.corrcoef(target[m, 0], atlases[m, i])[0, 1]
            np.testing.assert_allclose(errors[m, i, i], (2 - 2 * r) ** 3, rtol=1e-10)


def test_errors_are_sums_of_products_of_magnitudes():
    """(1 * 2 + 3 * 1 + 0) / 2 = 2.5, squared; signs do not matter."""
    differences = np.array([[[1.0, -3.0, 0.0], [2.0, 1.0, 4.0]]])
    errors = expected_errors(differences, 2.0)
    np.testing.assert_allclose(errors[0], [[25.0, 6.25], [6.25, 110.25]])


def test_two_atlases_have_the_weights_of_the_closed_form(rng):
    """w1 = (c + alpha - b) / (a + c + 2 alpha - 2 b) of M = (a, b; b, c)."""
    a, b, c = 0.7, 0.3, 2.0
    weights = joint_weights(np.array([[[a, b], [b, c]]]), 0.1)[0]
    first = (c + 0.1 - b) / (a + c + 0.2 - 2 * b)
    np.testing.assert_allclose(weights, [first, 1 - first])


def test_weights_add_up_to_one_and_share_what_is_shared(rng):
    """Atlases alike in all errors weigh the same, as equal ones without errors do."""
    differences = rng.normal(size=(6, 4, 27))
    differences[:, 2] = differences[:, 1]
    weights = joint_weights(expected_errors(differences, 2.0), 0.1)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[:, 1], weights[:, 2])
    np.testing.assert_allclose(joint_weights(np.zeros((1, 4, 4)), 0.1), 0.25)


def test_twins_count_as_one_atlas_for_a_small_alpha(rng):
    """What majority voting cannot know: their errors are the same."""
    differences = rng.normal(size=(3, 2, 27))
    pair = joint_weights(expected_errors(differences, 2.0), 1e-9)
    twins = joint_weights(expected_errors(differences[:, [0, 1, 1]], 2.0), 1e-9)
    np.testing.assert_allclose(twins[:, 0], pair[:, 0], atol=1e-5)
    np.testing.assert_allclose(twins[:, 1:].sum(axis=1), pair[:, 1], atol=1e-5)


def test_a_perfect_atlas_outweighs_all_others(rng):
    """With no errors M has a zero row: w1 = (e + alpha) / (e + 2 alpha) of two."""
    differences = rng.normal(size=(1, 2, 27))
    differences[:, 0] = 0
    errors = expected_errors(differences, 2.0)
    e = errors[0, 1, 1]
    weights = joint_weights(errors, 0.1)
    np.testing.assert_allclose(weights[0, 0], (e + 0.1) / (e + 0.2))
    assert weights[0, 0] > 0.8 > 0.2 > weights[0, 1]


def by_loop(labels, images, target, fusion):
    """:return: the labels, voxel by voxel and atlas by atlas."""
    result = np.zeros_like(labels[0])
    reach = range(-fusion.search_radius, fusion.search_radius + 1)
    steps = [(i, j, k) for i in reach for j in reach for k in reach]
    steps.sort(key=lambda s: sum(x * x for x in s))
    for place in np.ndindex(*target.shape):
        own = labels[(slice(None), *place)]
        if len(set(own)) == 1:
            result[place] = own[0]
            continue
        wanted = reference(target, place, fusion.patch_radius)
        patches, votes = [], []
        for label, image in zip(labels, images, strict=True):
            options = []
            for step in steps:
                at = tuple(np.clip(np.add(place, step), 0, np.array(image.shape) - 1))
                patch = reference(image, at, fusion.patch_radius)
                options.append((((patch - wanted) ** 2).sum(), patch, label[at]))
            best = options[int(np.argmin([error for error, *_ in options]))]
            patches.append(best[1])
            votes.append(best[2])
        p, n = len(wanted), len(labels)
        if fusion.method == "joint":
            matrix = np.empty((n, n))
            for i in range(n):
                for j in range(n):
                    products = np.abs(patches[i] - wanted) * np.abs(patches[j] - wanted)
                    matrix[i, j] = (products.sum() / (p - 1)) ** fusion.beta
            inverse = np.linalg.inv(matrix + fusion.alpha * np.eye(n))
            weights = inverse.sum(axis=1) / inverse.sum()
        else:
            r = np.array([patch @ wanted / (p - 1) for patch in patches])
            weights = np.maximum(r, 0) ** fusion.beta
        values = sorted(set(votes))
        totals = [sum(w for w, v in zip(weights, votes, strict=True) if v == value)
                  for value in values]  # fmt: skip
        result[place] = values[int(np.argmax(totals))]
    return result


@pytest.mark.parametrize("search", [0, 1])
@pytest.mark.parametrize("method", ["joint", "weighted"])
def test_fusion_by_patches_is_that_of_a_plain_loop(rng, method, search, monkeypatch):
    """Also in many portions. With a search, by the labels of neighbours."""
    shape = (3, 3, 4) if search else (4, 3, 5)
    target = rng.random(shape)
    moved = [np.roll(target, step, axis) for step, axis in ((0, 0), (1, 2), (-1, 1))]
    images = moved + 0.2 * rng.random((3, *shape))
    labels = rng.integers(0, 3, (3, *shape))
    labels[:, :, 0] = labels[0, :, 0]  # agreement
    fusion = Fusion(method, patch_radius=1, search_radius=search, beta=1.5)
    expected = by_loop(labels, images, target, fusion)
    if search:
        still = fuse(labels, replace(fusion, search_radius=0), images, target)
        assert (still != expected).any()
    np.testing.assert_array_equal(fuse(labels, fusion, images, target), expected)
    monkeypatch.setattr(module, "_CHUNK", 7 * 27 * 3)
    np.testing.assert_array_equal(fuse(labels, fusion, images, target), expected)


def test_voxels_are_disputed_where_one_atlas_says_otherwise():
    labels = np.zeros((3, 4, 5, 6), int)
    labels[2, 1, 2, 3] = labels[0, 3, 4, 5] = 1
    labels[:, 0, 0, 0] = 7
    assert np.argwhere(disputed(labels)).tolist() == [[1, 2, 3], [3, 4, 5]]


# ---- STAPLE ----


def test_staple_is_that_of_simpleitk_for_any_values(rng):
    """Labels are not counted on; two atlases that agree outvote a bad one."""
    truth = (rng.random((6, 7, 8)) > 0.5).astype(np.int32)
    labels = np.stack([truth, truth, 1 - truth, truth])
    images = [sitk.GetImageFromArray(own.astype(np.uint8)) for own in labels]
    expected = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, 2)).astype(int)
    found = fuse(labels * 4000 - 5, Fusion("staple"))
    np.testing.assert_array_equal(found, expected * 4000 - 5)
    np.testing.assert_array_equal(expected, truth)


def test_what_staple_leaves_open_goes_to_the_first_atlas(monkeypatch):
    labels = np.array([9, 2]).reshape(2, 1, 1, 1) * np.ones((1, 2, 2, 2), int)

    def open_everywhere(images, undecided):
        return sitk.Image(images[0].GetSize(), sitk.sitkUInt32) + undecided

    monkeypatch.setattr(module.sitk, "MultiLabelSTAPLE", open_everywhere)
    assert (fuse(labels, Fusion("staple")) == 9).all()


# ---- errors ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(method="vote"), "--fusion: expected one of majority, .*got 'vote'"),
        (dict(weights="both"), "--weights: expected one of local, global, got 'both'"),
        (dict(alpha=0.0), r"--alpha: expected a number > 0, got 0\.0"),
        (dict(beta=float("inf")), "--beta: expected a number > 0, got inf"),
        (
            dict(patch_radius=0),
            "--patch-radius: expected an integer from 1 .* got 0",
        ),
        (dict(patch_radius=11), "--patch-radius: .* from 1 to 10, got 11"),
        (dict(search_radius=-1), "--search-radius: .* from 0 to 10, got -1"),
        (dict(search_radius=99), "--search-radius: .* from 0 to 10, got 99"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Fusion(**options)


def test_what_a_method_needs_is_asked_for(atlases):
    labels, images, target, _ = atlases
    with pytest.raises(ValueError, match=r"images \(5, 5, 6, 7\) and a target .*None"):
        fuse(labels, Fusion("joint"))
    with pytest.raises(ValueError, match=r"got \(4, 5, 6, 7\) and \(5, 6, 7\)"):
        fuse(labels, Fusion("weighted"), images[:4], target)
    with pytest.raises(ValueError, match="a similarity for each of 5 atlases"):
        fuse(labels, Fusion("weighted", "global"), similarities=[0.5])
    with pytest.raises(ValueError, match=r"labels \(n, d1, d2, d3\), got \(5, 6, 7\)"):
        fuse(labels[0], Fusion("majority"))


def test_a_slice_is_fused_as_an_image_of_two_axes(rng):
    """The same labels whichever axis the single voxel lies along."""
    labels = rng.integers(0, 3, (4, 7, 8, 1))
    images, target = rng.random((4, 7, 8, 1)), rng.random((7, 8, 1))
    fusion = Fusion("joint", patch_radius=1, search_radius=1)
    found = fuse(labels, fusion, images, target)
    turned = fuse(labels.transpose(0, 3, 1, 2), fusion, images.transpose(0, 3, 1, 2),
                  target.transpose(2, 0, 1))  # fmt: skip
    np.testing.assert_array_equal(found[:, :, 0], turned[0])
