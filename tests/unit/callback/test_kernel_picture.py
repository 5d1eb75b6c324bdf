"""Tests of deepreg_meta/callback/kernel_picture.py."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepreg_meta.callback.kernel_picture import (
    KernelPicture,
    centre_slices,
    describe,
    kernel_figure,
    kernel_pictures,
    profiles,
)
from deepreg_meta.config import load_config
from deepreg_meta.layer.radial_conv import RadialConv
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.pyramid import PyramidNetwork
from deepreg_meta.training import meta_train
from tests.helpers import make_model, run_config, write_yaml

KERNEL = np.array([[1.0, 0, 2], [0, 3, 0], [2, 0, 1]])  # eigenvalues 3, 3 and -1


def make_layer(kernel, **options):
    """:return: a layer whose free kernel is the one given."""
    shape = [8] * kernel.ndim + [1] * (3 - kernel.ndim)
    layer = RadialConv("penalty", kernel.shape[0], **options)
    layer.build([None, *shape, 3])
    layer.kernel_weights.assign(kernel)
    return layer


def test_numbers_say_what_the_kernel_is_like():
    """tr K = 5 and tr JK = 7; the penalty is that of equation 12."""
    lines = describe(make_layer(KERNEL, rho1=1.0, rho2=0.5, trace_limit=4.0))
    assert lines[0] == "penalty, 3 x 3, border edge"
    assert lines[1] == "sum 9, least tap 0, largest 3"
    assert lines[2:4] == [
        "penalty -2 = rho1 1 x symmetry 0 - rho2 0.5 x traces of both diagonals 12",
        "  + 0 x l1 of the diagonal 5; limit of the trace: 4",
    ]
    assert lines[4:] == ["eigenvalues of K: 3, 3, -1; least -1"]


def test_a_cube_is_shown_by_its_planes_and_lines_through_the_middle(rng):
    kernel = rng.normal(size=(5, 5, 5))
    slices = centre_slices(kernel)
    np.testing.assert_array_equal(slices["axes 0, 1"], kernel[:, :, 2])
    np.testing.assert_array_equal(slices["axes 0, 2"], kernel[:, 2, :])
    np.testing.assert_array_equal(slices["axes 1, 2"], kernel[2, :, :])
    lines = profiles(kernel)
    np.testing.assert_array_equal(lines["axis 0"], kernel[:, 2, 2])
    np.testing.assert_array_equal(lines["axis 1"], kernel[2, :, 2])
    np.testing.assert_array_equal(lines["axis 2"], kernel[2, 2, :])
    np.testing.assert_array_equal(
        lines["diagonal"], [kernel[i, i, i] for i in range(5)]
    )
    assert len(describe(make_layer(kernel))) == 4 + 3


@pytest.mark.parametrize("num_axes", [2, 3])
def test_the_figure_shows_the_taps_with_zero_in_the_middle_of_its_colours(
    rng, num_axes
):
    kernel = rng.normal(size=[3] * num_axes).astype(np.float32)
    figure = kernel_figure(make_layer(kernel), "the title")
    shown = [axes.images[0] for axes in figure.axes if axes.images]
    slices = list(centre_slices(kernel).values())
    assert len(shown) == len(slices)
    for image, plane in zip(shown, slices, strict=True):
        np.testing.assert_array_equal(image.get_array(), plane)
        assert image.get_clim() == pytest.approx(
            (-np.abs(kernel).max(), np.abs(kernel).max())
        )
    assert figure.get_suptitle() == "the title"
    curves = next(axes for axes in figure.axes if axes.get_legend()).lines
    np.testing.assert_array_equal(curves[0].get_ydata(), profiles(kernel)["axis 0"])


def test_pictures_are_written_every_few_epochs_and_at_the_end(tmp_path):
    """Each of the kernel at its time, and its numbers beside it."""
    layer = make_layer(KERNEL)
    callback = KernelPicture(layer, tmp_path, lambda epoch: epoch % 2 == 0)
    for epoch in range(5):
        layer.kernel_weights.assign((epoch + 1) * KERNEL)
        callback.on_epoch_end(epoch)
    callback.on_train_end()
    callback.on_train_end()  # an interruption calls it again
    folder = tmp_path / "kernel"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"epoch-{n}.{kind}" for n in (2, 4, 5) for kind in ("png", "txt")]
    for epoch in (2, 4, 5):
        text = (folder / f"epoch-{epoch}.txt").read_text()
        assert f"sum {9 * epoch}," in text
        with Image.open(folder / f"epoch-{epoch}.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        red = (pixels[..., 0] - pixels[..., 2] > 60).mean()
        assert red > 0.01  # the positive taps


def test_a_run_that_ends_with_its_period_writes_no_second_picture(tmp_path):
    callback = KernelPicture(make_layer(KERNEL), tmp_path, lambda epoch: True)
    callback.on_epoch_end(0)
    picture = tmp_path / "kernel" / "epoch-1.png"
    picture.unlink()
    callback.on_train_end()
    assert not picture.exists()


def test_a_network_without_such_a_layer_has_no_pictures(tmp_path):
    assert kernel_pictures(make_model().network, tmp_path, lambda epoch: True) == []
    holder = tf.keras.Sequential([make_layer(KERNEL)])
    (callback,) = kernel_pictures(holder, tmp_path, lambda epoch: True)
    callback.on_epoch_end(0)
    assert (tmp_path / "kernel" / "epoch-1.png").exists()


def test_each_scale_of_a_network_has_a_picture_of_its_own(tmp_path):
    """The first one is that of the coarsest scale; before, the last one was left."""
    backbone = dict(
        name="meta_regularized",
        backbone=dict(name="voxelmorph2", num_channel_initial=1, depth=1),
        kernel_size=3,
    )
    grids = [(4, 4, 1), (6, 6, 1), (8, 8, 1)]
    network = PyramidNetwork([FieldNetwork("ddf", backbone, grid) for grid in grids])
    for number, part in enumerate(network.networks, start=1):
        part.backbone.radial_conv.kernel_weights.assign(number * KERNEL)
    for callback in kernel_pictures(network, tmp_path, lambda epoch: True):
        callback.on_epoch_end(0)
    names = {path.name for path in (tmp_path / "kernel").glob("*.png")}
    assert names == {"epoch-1-1.png", "epoch-1-2.png", "epoch-1-3.png"}
    for number in (1, 2, 3):
        text = (tmp_path / "kernel" / f"epoch-1-{number}.txt").read_text()
        assert f"sum {9 * number}," in text


def test_a_run_leaves_pictures_of_its_kernel(tmp_path, untraced):
    """Two epochs, a picture of each; the kernel has moved in between."""
    config = run_config()
    config["train"]["meta"] = dict(inner_steps=1, episodes_per_epoch=1)
    config["train"]["backbone"] = dict(
        name="meta_regularized",
        backbone=config["train"]["backbone"],
        parameterization="penalty",
        kernel_size=3,
    )
    path = write_yaml(tmp_path / "run.yaml", config)
    folder = meta_train(load_config(path), log_dir="run", log_root=str(tmp_path))
    texts = [(folder / "kernel" / f"epoch-{n}.txt").read_text() for n in (1, 2)]
    assert texts[0].startswith("penalty, 3 x 3 x 3, border edge")
    assert texts[0] != texts[1]
    assert (folder / "kernel" / "epoch-2.png").exists()
