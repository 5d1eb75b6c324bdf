"""Tests of deepreg_meta/model/registration.py."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.image import SumSquaredDifference
from deepreg.loss.label import DiceScore
from deepreg.registry import REGISTRY
from scipy import ndimage

from deepreg_meta.layer.warp import sample
from deepreg_meta.model.registration import (
    Batch,
    MovingMask,
    RegistrationLoss,
    locations,
)
from tests.helpers import ball

FIXED, MOVING = (6, 7, 8), (8, 7, 9)
SSD = {"name": "ssd", "weight": 0.5}
DICE = {"name": "multi_scale_dice", "sigmas_mm": [0, 2], "weight": 2.0}
BENDING = {"name": "bending_energy", "weight": 3.0}


def make_batch(loss: RegistrationLoss, size: int = 1, seed: int = 0) -> Batch:
    """:return: random images, balls as labels, an alignment that moves by (1, 0, 1)."""
    rng = np.random.default_rng(seed)
    fixed_label = np.stack([ball(FIXED, (3, 3, 3 + i), 1.6) for i in range(size)])
    moving_label = np.stack([ball(MOVING, (4, 2, 4), 1.4 + i) for i in range(size)])
    return Batch(
        moving_input=tf.zeros([size, *FIXED]),
        fixed_input=tf.constant(rng.random((size, *FIXED)), tf.float32),
        matrix=tf.eye(3, batch_shape=[size]),
        offset=tf.constant([[1.0, 0, 1]] * size),
        moving_image=tf.constant(rng.random((size, *MOVING)), tf.float32),
        moving_label=tf.constant(moving_label),
        loss_mask=tf.ones([size, *FIXED]),
        label_target=loss.prepare_label(tf.constant(fixed_label), None, tf.ones([3])),
    )


def random_field(size: int = 1, scale: float = 0.4) -> tf.Tensor:
    """:return: field, shape = (size, 6, 7, 8, 3)."""
    rng = np.random.default_rng(1)
    return tf.constant(rng.normal(0, scale, (size, *FIXED, 3)), tf.float32)


def one(batch: Batch, index: int) -> Batch:
    """:return: one element of a mini-batch, still as a mini-batch."""
    return tf.nest.map_structure(
        lambda x: None if x is None else x[min(index, len(x) - 1)][None], batch
    )


# ---- losses ----


def test_the_total_is_the_weighted_sum_of_the_parts():
    """Every part is also what it is alone."""
    sections = dict(image=SSD, label=DICE, regularization=BENDING)
    loss = RegistrationLoss(sections, labeled=True)
    ddf, batch = random_field(), make_batch(loss)
    parts = {k: float(v) for k, v in loss.parts(ddf, batch).items()}
    assert loss.names == ["image", "label", "regularization"]
    assert loss.weights == {"image": 0.5, "label": 2.0, "regularization": 3.0}
    expected = 0.5 * parts["image"] + 2 * parts["label"] + 3 * parts["regularization"]
    assert parts["total"] == pytest.approx(expected, rel=1e-5)
    assert parts["image"] > 0.01 and parts["label"] < -0.01
    for name, section in sections.items():
        alone = RegistrationLoss({name: section}, labeled=True)
        found = alone.parts.python_function(ddf, make_batch(alone))
        assert float(found[name]) == pytest.approx(parts[name], rel=1e-5)


def test_parts_of_no_weight_and_labels_of_unlabelled_data_are_left_out():
    """A missing weight is 1."""
    sections = dict(
        image={"name": "ssd"},
        label=DICE,
        regularization={"name": "bending_energy", "weight": 0.0},
    )
    loss = RegistrationLoss(sections, labeled=False)
    assert loss.names == ["image"] and loss.weights == {"image": 1.0}
    assert loss.uses_image and not loss.uses_label
    sections["image"] = None
    assert RegistrationLoss(sections, labeled=True).names == ["label"]


def test_the_kernels_of_xla_compute_the_same():
    """Elsewhere the tests do without; values and gradients agree."""
    loss = RegistrationLoss(dict(image=SSD, label=DICE, regularization=BENDING), True)
    batch, ddf = make_batch(loss), random_field()
    found = []
    for function in (loss.parts, loss.parts.python_function):
        with tf.GradientTape() as tape:
            tape.watch(ddf)
            total = function(ddf, batch)["total"]
        found.append((total, tape.gradient(total, ddf)))
    for compiled, plain in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)
    assert np.abs(found[0][1]).max() > 1e-3


def warp_by_hand(volume: tf.Tensor) -> np.ndarray:
    """:return: a moving volume under the alignment alone: shifted by (1, 0, 1)."""
    return volume.numpy()[:, 1:7, 0:7, 1:9]


@pytest.mark.parametrize("scales", [None, [0], [0, 1, 2]])
def test_the_dice_of_deepreg_is_replaced_by_its_fast_equal(scales):
    """The same value as DeepReg's own class, as a mean over the batch."""
    section = {"name": "dice", "weight": 1.0}
    if scales:
        section["scales"] = scales
    loss = RegistrationLoss(dict(label=section), labeled=True)
    batch = make_batch(loss, size=2)
    assert not isinstance(batch.label_target, tf.Tensor)  # filtered once, beforehand
    fixed = np.stack([ball(FIXED, (3, 3, 3 + i), 1.6) for i in range(2)])
    own = REGISTRY.build_loss({k: v for k, v in section.items() if k != "weight"})
    assert isinstance(own, DiceScore)
    expected = own(y_true=fixed, y_pred=warp_by_hand(batch.moving_label)) / 2
    found = loss.parts(tf.zeros([2, *FIXED, 3]), batch)["label"]
    assert expected < -0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_scales_of_deepregs_dice_stay_voxels_under_any_spacing():
    """Only `multi_scale_dice` has its sigmas in mm."""
    loss = RegistrationLoss(dict(label={"name": "dice", "scales": [2]}), labeled=True)
    fixed = tf.constant(ball(FIXED, (3, 3, 3), 1.6)[None])
    found = [
        loss.parts.python_function(
            tf.zeros([1, *FIXED, 3]),
            make_batch(loss)._replace(
                label_target=loss.prepare_label(fixed, None, spacing * tf.ones([3]))
            ),
        )["label"]
        for spacing in (1.0, 4.0)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("option", [{"binary": True}, {"neg_weight": 0.3}])
def test_other_forms_of_dice_are_deepregs_own(option):
    """The fast form has no binary labels and no negative class."""
    section = {"name": "dice", **option}
    loss = RegistrationLoss(dict(label=section), labeled=True)
    batch = make_batch(loss)
    assert isinstance(batch.label_target, tf.Tensor)
    own = REGISTRY.build_loss(dict(section))
    expected = own(y_true=batch.label_target, y_pred=warp_by_hand(batch.moving_label))
    found = loss.parts(tf.zeros([1, *FIXED, 3]), batch)["label"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    plain = REGISTRY.build_loss({"name": "dice"})
    other = plain(y_true=batch.label_target, y_pred=warp_by_hand(batch.moving_label))
    assert abs(float(other - expected)) > 1e-3


REPLACED = [
    ("regularization", {"name": "bending"}),
    ("regularization", {"name": "gradient"}),
    ("regularization", {"name": "gradient", "l1": True}),
    ("image", {"name": "lncc"}),
    ("image", {"name": "lncc", "kernel_size": 4, "kernel_type": "rectangular"}),
]
DEEPREGS_OWN = [
    ("image", {"name": "lncc", "kernel_size": 3, "kernel_type": "gaussian"}),
    ("image", {"name": "gmi"}),
    ("label", {"name": "jaccard", "scales": [0, 1]}),
    ("label", {"name": "dice", "scales": [1], "kernel": "cauchy"}),
]
COMPILED = [
    ("image", {"name": "ssd"}),
    ("image", {"name": "gncc"}),
    ("image", {"name": "local_ncc", "kernel_type": "gaussian"}),
    ("label", {"name": "jaccard"}),
    ("label", {"name": "dice", "neg_weight": 0.3}),
    ("regularization", {"name": "gradient_norm"}),
]


def is_kernel(loss: RegistrationLoss) -> bool:
    """:return: whether all that comes after the network is one kernel of XLA."""
    concrete = loss.parts.get_concrete_function(random_field(), make_batch(loss))
    return concrete.function_def.attr["_XlaMustCompile"].b


@pytest.mark.parametrize(("part", "section"), REPLACED + DEEPREGS_OWN)
def test_a_loss_of_deepreg_has_its_value_and_gradient(part, section):
    """Be it DeepReg's own or its fast equal; of one sample, where both are means."""
    loss = RegistrationLoss({part: section}, labeled=True)
    assert is_kernel(loss) == ((part, section) in REPLACED)
    own, ddf, batch = (
        REGISTRY.build_loss(dict(section)),
        small_field(),
        make_batch(loss),
    )
    sides = {
        "image": (batch.fixed_input, batch.moving_image),
        "label": (tf.constant(FIXED_LABEL), batch.moving_label),
    }

    def deepreg(ddf: tf.Tensor, batch: Batch) -> dict[str, tf.Tensor]:
        if part == "regularization":
            return {"total": own(ddf)}
        fixed, moving = sides[part]
        warped = sample(moving, locations(ddf, batch.matrix, batch.offset))
        return {"total": tf.reduce_sum(own.call(fixed, warped))}

    found = loss_and_gradient(loss.parts, ddf, batch)
    expected = loss_and_gradient(deepreg, ddf, batch)
    assert np.abs(expected[1]).max() > 1e-5
    scale = np.abs(expected[1]).max()
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(("part", "section"), COMPILED)
def test_losses_without_convolutions_are_kernels_of_xla(part, section):
    loss = RegistrationLoss({part: section}, labeled=True)
    batch = make_batch(loss)
    assert is_kernel(loss)
    compiled = loss_and_gradient(loss.parts, small_field(), batch)
    plain = loss_and_gradient(loss.parts.python_function, small_field(), batch)
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["ssd", "gncc", "local_ncc"])
def test_a_fixed_image_prepared_once_gives_the_same(name, masked):
    """With the masks of users too; one that moves makes it be prepared anew."""
    loss = RegistrationLoss(dict(image={"name": name}), labeled=False)
    ddf, function = small_field(), loss.parts.python_function
    batch = masked_batch(loss, INSIDE) if masked else make_batch(loss)
    target = loss.prepare_image(batch.fixed_input, batch.loss_mask)
    value, gradient = loss_and_gradient(function, ddf, batch)
    assert np.abs(gradient).max() > 1e-4
    found = loss_and_gradient(function, ddf, batch._replace(image_target=target))
    np.testing.assert_allclose(found[0], value, rtol=1e-5)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-4, atol=1e-7)
    # that it is looked at: another target is another loss
    other = loss.prepare_image(1.0 - batch.fixed_input**2, batch.loss_mask)
    changed = loss_and_gradient(function, ddf, batch._replace(image_target=other))
    assert abs(changed[0] - value) > 1e-4
    moving = masked_batch(loss, INSIDE, MOVING_INSIDE)
    value, _ = loss_and_gradient(function, ddf, moving)
    changed = loss_and_gradient(function, ddf, moving._replace(image_target=other))
    np.testing.assert_array_equal(changed[0], value)


def test_no_gradient_flows_to_the_mini_batch():
    """That of a sampled volume would cost more than all that is wanted."""
    loss = RegistrationLoss(dict(image=SSD, label=DICE, regularization=BENDING), True)
    batch, ddf = make_batch(loss), random_field()
    watched = [batch.moving_image, batch.moving_label, batch.fixed_input, batch.matrix]
    for function in (loss.parts, loss.parts.python_function):
        with tf.GradientTape() as tape:
            tape.watch([ddf, *watched])
            total = function(ddf, batch)["total"]
        by_field, *others = tape.gradient(total, [ddf, *watched])
        assert np.abs(by_field).max() > 1e-3 and others == [None] * 4


def test_the_image_loss_is_deepregs_as_a_mean_over_the_batch():
    """DeepReg's is a sum over the batch, and its model divides by the batch size."""
    loss = RegistrationLoss(dict(image=SSD), labeled=False)
    batch = make_batch(loss, size=2)
    expected = SumSquaredDifference()(
        y_true=batch.fixed_input, y_pred=warp_by_hand(batch.moving_image)
    )
    by_hand = np.mean((batch.fixed_input - warp_by_hand(batch.moving_image)) ** 2)
    np.testing.assert_allclose(expected, 2 * by_hand, rtol=1e-5)
    found = loss.parts(tf.zeros([2, *FIXED, 3]), batch)["image"]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_a_mini_batch_is_the_mean_of_its_elements():
    """For every part, the regularisation included (in DeepReg it is not)."""
    loss = RegistrationLoss(dict(image=SSD, label=DICE, regularization=BENDING), True)
    batch, ddf = make_batch(loss, size=2), random_field(2)
    together = loss.parts.python_function(ddf, batch)
    alone = [
        loss.parts.python_function(ddf[i : i + 1], one(batch, i)) for i in range(2)
    ]
    for name, value in together.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        np.testing.assert_allclose(value, mean, rtol=1e-5)
        assert abs(float(alone[0][name] - alone[1][name])) > 1e-4


@pytest.mark.parametrize("label", [DICE, {"name": "jaccard"}])
def test_losses_look_only_where_the_mask_is(label):
    """What lies under the mask changes nothing, what is shown does."""
    loss = RegistrationLoss(dict(image=SSD, label=label), labeled=True)
    mask = np.zeros((1, *FIXED), np.float32)
    mask[:, :, 3:5] = 1
    fixed_label = ball(FIXED, (3, 3, 3), 1.6)[None]

    def total(image: np.ndarray, fixed: np.ndarray) -> float:
        batch = make_batch(loss)._replace(
            fixed_input=tf.constant(image),
            loss_mask=tf.constant(mask),
            label_target=loss.prepare_label(
                tf.constant(fixed), tf.constant(mask), tf.ones([3])
            ),
        )
        return float(loss.parts.python_function(random_field(), batch)["total"])

    image = np.random.default_rng(2).random((1, *FIXED)).astype(np.float32)
    start = total(image, fixed_label)
    hidden = np.where(mask == 0, 0.7, image).astype(np.float32)
    other_label = np.where(mask == 0, 1 - fixed_label, fixed_label)
    assert total(hidden, other_label) == start
    shown = np.where(mask == 1, 0.7, image).astype(np.float32)
    assert abs(total(shown, fixed_label) - start) > 1e-3
    shown_label = np.where(mask == 1, 1 - fixed_label, fixed_label)
    assert abs(total(image, shown_label) - start) > 1e-3


def test_locations_are_the_alignment_of_the_displaced_grid():
    """A (x + u) + t for the voxel (2, 3, 4), by hand."""
    ddf = np.zeros((1, *FIXED, 3), np.float32)
    ddf[0, 2, 3, 4] = [0.5, -1.0, 2.0]
    matrix = tf.constant([[[0.0, 2, 0], [1, 0, 0], [0, 0, 3]]])
    found = locations(tf.constant(ddf), matrix, tf.constant([[10.0, 20, 30]]))
    # x + u = (2.5, 2, 6); A gives (4, 2.5, 18)
    np.testing.assert_allclose(found[0, 2, 3, 4], [14.0, 22.5, 48.0])
    np.testing.assert_allclose(found[0, 0, 0, 1], [10.0, 20.0, 33.0])


# ---- the masks of users ----


FIXED_LABEL = ball(FIXED, (3, 3, 3), 1.6)[None]
INSIDE = np.zeros((1, *FIXED), np.float32)
INSIDE[:, 1:4, 2:6, 1:5] = 1
MOVING_INSIDE = np.zeros((1, *MOVING), np.float32)
MOVING_INSIDE[:, 2:6, 1:4, 2:7] = 1
IMAGES = [
    {"name": "ssd"},
    {"name": "local_ncc", "kernel_size": 3},
    {"name": "gncc"},
]
LABELS = [DICE, {"name": "multi_scale_dice", "sigmas_mm": [0]}, {"name": "jaccard"}]
PARTS = [dict(image=image) for image in IMAGES] + [dict(label=x) for x in LABELS]
EAGER_AND_GRAPH = pytest.mark.parametrize(
    ("mode", "parts"),
    [
        *((lambda function: function, parts) for parts in PARTS),
        (tf.function, dict(image=SSD, label=DICE)),
    ],
    ids=["ssd", "local_ncc", "gncc", "dice-0-2", "dice-0", "jaccard", "tf.function"],
)


def masked_batch(
    loss: RegistrationLoss,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
    fixed_label: np.ndarray = FIXED_LABEL,
    **changes: np.ndarray,
) -> Batch:
    """:return: a mini-batch under masks, as adaptation draws it."""
    ones = tf.ones([1, *FIXED])
    mask = ones if fixed_mask is None else tf.constant(fixed_mask)
    label, spacing = tf.constant(fixed_label), tf.ones([3])
    side = None
    if moving_mask is not None:
        side = MovingMask(tf.constant(moving_mask), label, spacing)
    return make_batch(loss)._replace(
        loss_mask=mask,
        label_target=loss.prepare_label(label, mask, spacing),
        shown=ones,
        moving_mask=side,
        **{name: tf.constant(value) for name, value in changes.items()},
    )


def small_field() -> tf.Tensor:
    """:return: a field that leads no voxel out of the moving image."""
    return tf.clip_by_value(random_field(), -0.45, 0.45)


def loss_and_gradient(function: object, ddf: tf.Tensor, batch: Batch) -> list:
    """:return: the total loss, and its gradient by the field."""
    with tf.GradientTape() as tape:
        tape.watch(ddf)
        total = function(ddf, batch)["total"]
    return [total.numpy(), tape.gradient(total, ddf).numpy()]


def moving_mask_under(ddf: tf.Tensor) -> np.ndarray:
    """:return: where the interpolated mask of the moving image is 0.5 or more."""
    grid = np.stack(np.meshgrid(*map(np.arange, FIXED), indexing="ij"), axis=-1)
    where = np.moveaxis(grid + ddf.numpy()[0] + [1, 0, 1], -1, 0)
    found = ndimage.map_coordinates(MOVING_INSIDE[0], where, order=1)
    return (found >= 0.5).astype(np.float32)[None]


@EAGER_AND_GRAPH
def test_what_lies_outside_the_fixed_mask_counts_for_nothing(mode, parts):
    """Neither in the loss nor in its gradient, bit for bit; what lies inside does."""
    loss = RegistrationLoss(parts, labeled=True)
    function = mode(loss.parts.python_function)
    noise = np.random.default_rng(9).random((2, 1, *FIXED))
    image, label = noise.astype(np.float32)
    start = masked_batch(loss, INSIDE)
    outside = masked_batch(
        loss,
        INSIDE,
        fixed_label=np.where(INSIDE > 0, FIXED_LABEL, label),
        fixed_input=np.where(INSIDE > 0, start.fixed_input, image),
    )
    inside = masked_batch(
        loss,
        INSIDE,
        fixed_label=np.where(INSIDE > 0, label, FIXED_LABEL),
        fixed_input=np.where(INSIDE > 0, image, start.fixed_input),
    )
    value, gradient = loss_and_gradient(function, small_field(), start)
    assert np.abs(gradient).max() > 1e-4
    np.testing.assert_array_equal(gradient[INSIDE == 0], 0)
    found = loss_and_gradient(function, small_field(), outside)
    np.testing.assert_array_equal(found[0], value)
    np.testing.assert_array_equal(found[1], gradient)
    assert abs(loss_and_gradient(function, small_field(), inside)[0] - value) > 1e-4


@EAGER_AND_GRAPH
def test_what_lies_outside_the_moving_mask_counts_for_nothing(mode, parts, rng):
    """
    Of image and label, beyond the one voxel that interpolation reaches.

    On the voxels themselves, under a field of zeros, the loss is that of the mask.
    """
    loss = RegistrationLoss(parts, labeled=True)
    function = mode(loss.parts.python_function)
    noise = rng.random((2, 1, *MOVING)).astype(np.float32)
    start = masked_batch(loss, moving_mask=MOVING_INSIDE)
    around = np.zeros_like(MOVING_INSIDE)
    around[:, 1:7, 0:5, 1:8] = 1

    def changed(mask: np.ndarray) -> Batch:
        return masked_batch(
            loss,
            moving_mask=MOVING_INSIDE,
            moving_image=np.where(mask > 0, start.moving_image, noise[0]),
            moving_label=np.where(mask > 0, start.moving_label, noise[1]),
        )

    value, gradient = loss_and_gradient(function, small_field(), start)
    assert np.abs(gradient).max() > 1e-4
    found = loss_and_gradient(function, small_field(), changed(around))
    np.testing.assert_array_equal(found[0], value)
    np.testing.assert_array_equal(found[1], gradient)
    zero = tf.zeros([1, *FIXED, 3])
    value, _ = loss_and_gradient(function, zero, start)
    found, _ = loss_and_gradient(function, zero, changed(MOVING_INSIDE))
    np.testing.assert_array_equal(found, value)
    found, _ = loss_and_gradient(function, zero, changed(1 - MOVING_INSIDE))
    assert abs(found - value) > 1e-4


@pytest.mark.parametrize("parts", PARTS)
def test_masks_of_ones_change_nothing(parts):
    """Neither loss nor gradient, as long as the field stays in the moving image."""
    loss = RegistrationLoss({**parts, "regularization": BENDING}, labeled=True)
    function = loss.parts.python_function
    ones = [np.ones((1, *shape), np.float32) for shape in (FIXED, MOVING)]
    value, gradient = loss_and_gradient(function, small_field(), make_batch(loss))
    assert np.abs(gradient).max() > 1e-4
    for fixed, moving in ((ones[0], None), (None, ones[1]), ones):
        found = loss_and_gradient(
            function, small_field(), masked_batch(loss, fixed, moving)
        )
        np.testing.assert_allclose(found[0], value, rtol=1e-4)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-3, atol=1e-6)


def test_no_mask_of_the_moving_image_reaches_beyond_it():
    """A shift by three leaves planes 0 to 3 of 6, also under a mask of ones."""
    loss = RegistrationLoss(dict(image=SSD), labeled=False)
    ddf = np.zeros((1, *FIXED, 3), np.float32)
    ddf[..., 0] = 3.0
    batch = masked_batch(loss, moving_mask=np.ones((1, *MOVING), np.float32))
    found = loss.parts.python_function(tf.constant(ddf), batch)["image"]
    fixed = batch.fixed_input.numpy()[:, :4]
    moving = batch.moving_image.numpy()[:, 4:8, 0:7, 1:9]
    np.testing.assert_allclose(found, np.mean((fixed - moving) ** 2), rtol=1e-5)


def test_the_sum_of_squares_is_the_mean_over_both_masks():
    """By hand, and against the regularisation it weighs as much as without masks."""
    loss = RegistrationLoss(dict(image=SSD, regularization=BENDING), labeled=False)
    batch = masked_batch(loss, INSIDE, MOVING_INSIDE)
    zero = tf.zeros([1, *FIXED, 3])
    found = loss.parts.python_function(zero, batch)
    mask = (INSIDE * MOVING_INSIDE[:, 1:7, 0:7, 1:9]) > 0
    assert mask.sum() == 3 * 2 * 4
    difference = batch.fixed_input.numpy() - warp_by_hand(batch.moving_image)
    np.testing.assert_allclose(found["image"], np.mean(difference[mask] ** 2), 1e-5)
    assert float(found["total"]) == pytest.approx(0.5 * float(found["image"]))

    flat = dict(
        fixed_input=np.full((1, *FIXED), 0.9, np.float32),
        moving_image=np.full((1, *MOVING), 0.4, np.float32),
    )
    for masks in ((None, None), (INSIDE, None), (None, MOVING_INSIDE)):
        parts = loss.parts.python_function(zero, masked_batch(loss, *masks, **flat))
        np.testing.assert_allclose(parts["image"], 0.25, rtol=1e-5)


def test_the_mask_of_the_moving_image_goes_where_the_image_goes():
    """A shift by 2 along the first axis takes it from planes 1 to 4 to 0 to 2."""
    loss = RegistrationLoss(dict(image=SSD), labeled=False)
    batch = masked_batch(loss, moving_mask=MOVING_INSIDE)
    shift = np.zeros((1, *FIXED, 3), np.float32)
    shift[..., 0] = 2.0
    moving = batch.moving_image.numpy()
    for ddf, start, planes in ((0 * shift, 1, slice(1, 5)), (shift, 3, slice(0, 3))):
        parts = loss.parts.python_function(tf.constant(ddf), batch)
        difference = batch.fixed_input.numpy() - np.pad(
            moving[:, start : start + 6, 0:7, 1:9],
            [(0, 0), (0, max(0, start - 2)), (0, 0), (0, 0)],
        )
        seen = difference[:, planes, 1:4, 1:6]
        np.testing.assert_allclose(parts["image"], np.mean(seen**2), rtol=1e-5)


@pytest.mark.parametrize("parts", PARTS)
def test_no_gradient_flows_through_the_mask(parts):
    """The mask of the moving image counts as the one of the fixed image it becomes."""
    loss = RegistrationLoss(parts, labeled=True)
    function, ddf = loss.parts.python_function, small_field()
    mask = moving_mask_under(ddf)
    assert 20 < mask.sum() < 120
    moving = loss_and_gradient(
        function, ddf, masked_batch(loss, moving_mask=MOVING_INSIDE)
    )
    fixed = loss_and_gradient(function, ddf, masked_batch(loss, mask))
    assert np.abs(fixed[1]).max() > 1e-4
    for a, b in zip(moving, fixed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_field_that_leaves_the_moving_mask_is_infinitely_bad():
    """Empty labels agree perfectly, and no voxel differs; its gradient is a number."""
    loss = RegistrationLoss(dict(image=SSD, label=DICE, regularization=BENDING), True)
    batch = masked_batch(loss, moving_mask=MOVING_INSIDE)
    for ddf, is_bad in ((random_field(), False), (random_field() + 20.0, True)):
        value, gradient = loss_and_gradient(loss.parts.python_function, ddf, batch)
        assert (value == np.inf) == is_bad
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-3


def test_the_kernels_of_xla_know_the_masks():
    """Filtering of the fixed label under a mask that moves, sums over it."""
    loss = RegistrationLoss(dict(image=SSD, label=DICE), labeled=True)
    batch = masked_batch(loss, INSIDE, MOVING_INSIDE)
    compiled, plain = (
        loss_and_gradient(function, small_field(), batch)
        for function in (loss.parts, loss.parts.python_function)
    )
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# ---- the field ----
