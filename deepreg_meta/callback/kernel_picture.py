"""Pictures of the kernel that regularises fields, as training goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepreg_meta.evaluate.picture import save_figure
from deepreg_meta.evaluate.plot import COLOURS
from deepreg_meta.layer.radial_conv import RadialConv

FOLDER = "kernel"
_NUM_EIGENVALUES = 5  # of the largest magnitude, that are written down


def centre_slices(kernel: NDArray) -> dict[str, NDArray]:
    """
    Return the planes through the middle of a kernel.

    :param kernel: shape = (n, n) or (n, n, n).
    :return: matrices (n, n) by name: one for images, three for volumes.
    """
    if kernel.ndim == 2:
        return {"K": kernel}
    middle = kernel.shape[0] // 2
    planes = {2: "axes 0, 1", 1: "axes 0, 2", 0: "axes 1, 2"}
    return {name: kernel.take(middle, axis) for axis, name in planes.items()}


def profiles(kernel: NDArray) -> dict[str, NDArray]:
    """
    Return the taps along lines through the middle of a kernel.

    :param kernel: shape = (n, n) or (n, n, n).
    :return: shape = (n,) by name: along each axis, and along the main diagonal.
    """
    middle = kernel.shape[0] // 2
    lines = {}
    for axis in range(kernel.ndim):
        line = np.moveaxis(kernel, axis, -1)
        for _ in range(kernel.ndim - 1):
            line = line[middle]
        lines[f"axis {axis}"] = line
    lines["diagonal"] = kernel[(np.arange(kernel.shape[0]),) * kernel.ndim]
    return lines


def describe(layer: RadialConv) -> list[str]:
    """
    Say in words and numbers what a kernel is like.

    Eigenvalues are those of the symmetric part of each centre slice, the largest by
    magnitude first; a negative one says that the slice is not positive semi-definite.

    :param layer: with its weights.
    :return: lines of text.
    """
    kernel = layer.kernel().numpy()
    parts = layer.penalty_parts()
    size = " x ".join(map(str, kernel.shape))
    diagonals = "both" if kernel.ndim == 2 else "all four"
    limit = "none" if layer.trace_limit is None else f"{layer.trace_limit:g}"
    lines = [
        f"{layer.parameterization}, {size}, border {layer.border}",
        f"sum {kernel.sum():.4g}, least tap {kernel.min():.3g}, largest "
        f"{kernel.max():.3g}",
        f"penalty {float(layer.penalty()):.4g} = rho1 {layer.rho1:g} x symmetry "
        f"{float(parts.symmetry):.3g} - rho2 {layer.rho2:g} x traces of "
        f"{diagonals} diagonals "
        f"{float(parts.trace):.4g}",
        f"  + {layer.diagonal_l1:g} x l1 of the diagonal "
        f"{float(parts.diagonal_l1):.4g}; limit of the trace: {limit}",
    ]
    for name, plane in centre_slices(kernel).items():
        values = np.linalg.eigvalsh((plane + plane.T) / 2)
        largest = values[np.argsort(-np.abs(values), kind="stable")][:_NUM_EIGENVALUES]
        shown = ", ".join(f"{value:.3g}" for value in largest)
        lines.append(f"eigenvalues of {name}: {shown}; least {values.min():.3g}")
    return lines


def kernel_figure(layer: RadialConv, title: str = "") -> Figure:
    """
    Draw a kernel: its centre slices, its profiles, and what `describe` says of it.

    :param layer: with its weights.
    :param title: of the figure.
    :return: the figure, drawn without pyplot.
    """
    kernel = layer.kernel().numpy()
    slices, middle = centre_slices(kernel), kernel.shape[0] // 2
    limit = float(np.abs(kernel).max()) or 1.0
    count = len(slices) + 1
    figure = Figure(figsize=(3.4 * count, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, count, height_ratios=[3, 1])
    extent = (-middle - 0.5, middle + 0.5, middle + 0.5, -middle - 0.5)
    for column, (name, plane) in enumerate(slices.items()):
        axes = figure.add_subplot(grid[0, column])
        # White for 0, so that negative taps show; logarithmic beyond a hundredth of the
        # largest, which is that in the middle, or no other would show.
        norm = SymLogNorm(limit / 100, vmin=-limit, vmax=limit)
        image = axes.imshow(plane, cmap="RdBu_r", norm=norm, extent=extent)
        axes.set_title(name, fontsize=9)
    ticks = limit * np.array([-1, -0.1, 0, 0.1, 1])
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=ticks, format="{x:.2g}")
    bar.minorticks_off()
    axes = figure.add_subplot(grid[0, -1])
    for (name, line), colour in zip(profiles(kernel).items(), COLOURS, strict=False):
        axes.plot(np.arange(-middle, middle + 1), line, ".-", label=name, color=colour)
    axes.axhline(0.0, color="0.7", linewidth=0.8)
    axes.set_xlabel("index from the middle")
    axes.legend(fontsize=8)
    text = figure.add_subplot(grid[1, :])
    text.set_axis_off()
    text.text(0.0, 1.0, "\n".join(describe(layer)), va="top", fontsize=8, wrap=True)
    figure.suptitle(title, fontsize=10)
    return figure


class KernelPicture(tf.keras.callbacks.Callback):
    """
    Write the kernel of a meta-regularisation layer every few epochs and at the end.

    `kernel/epoch-<n>.png` is the picture, the `.txt` beside it what stands below it.
    """

    def __init__(
        self,
        layer: RadialConv,
        log_dir: str | Path,
        due: Callable[[int], bool],
        number: int | None = None,
    ) -> None:
        """
        :param layer: with its weights.
        :param log_dir: folder of the run.
        :param due: whether to write after an epoch, from its number, which starts at 1.
        :param number: of the layer, where a network has several: then the files are
            `epoch-<n>-<number>`.
        """
        super().__init__()
        self._layer, self._folder = layer, Path(log_dir) / FOLDER
        self._due, self._epoch, self._written = due, 0, 0
        self._mark = "" if number is None else f"-{number}"

    def _write(self) -> None:
        path = self._folder / f"epoch-{self._epoch}{self._mark}.png"
        title = f"kernel{self._mark}, epoch {self._epoch}"
        figure = kernel_figure(self._layer, title)
        save_figure(figure, path)
        text = "\n".join(describe(self._layer))
        path.with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
        self._written = self._epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write when it is time."""
        self._epoch = epoch + 1
        if self._due(self._epoch):
            self._write()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Write the last epoch if its turn had not come."""
        if self._epoch > self._written:
            self._write()


def kernel_pictures(
    network: tf.Module, log_dir: str | Path, due: Callable[[int], bool]
) -> list[KernelPicture]:
    """
    Return the callbacks for the meta-regularisation layers of a network.

    :param network: that may hold such layers.
    :param log_dir: folder of the run.
    :param due: whether to write after an epoch, from its number, which starts at 1.
    :return: none for a network without. Of several layers, as with `train.scales`, each
        has a number, 1 for that of the coarsest scale.
    """
    layers = [part for part in network.submodules if isinstance(part, RadialConv)]
    if len(layers) == 1:
        return [KernelPicture(layers[0], log_dir, due)]
    return [
        KernelPicture(layer, log_dir, due, number)
        for number, layer in enumerate(layers, start=1)
    ]
