"""The volumes of one kind in a split, read through DeepReg's file loaders."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape, volume_shape
from deepreg_meta.dataset.source import RawLabel, RawVolume, Voxels, split_labels
from deepreg_meta.dataset.stored import Place, file_path, stored_place, stored_shape
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume import Volume, prepare
from deepreg_meta.dataset.volume_check import DataError, check_image
from deepreg_meta.geometry.volume_file import UNREADABLE


class VolumeReader:
    """
    Read the volumes of one kind, such as all moving images with their labels.

    :param image_loader: DeepReg's file loader of the images.
    :param label_loader: DeepReg's file loader of their labels, or None.
    :param target: what the volumes are brought to.
    :param read_fixed: gives the fixed image of pair i after its own intensity steps,
        for moving images that are matched to it.
    """

    def __init__(
        self,
        image_loader: Any,
        label_loader: Any,
        target: Target,
        read_fixed: Callable[[int], NDArray] | None = None,
    ) -> None:
        self._images, self._labels, self._target = image_loader, label_loader, target
        self._read_fixed = read_fixed if target.intensity.needs_pair else None

    @property
    def num_images(self) -> int:
        """Number of volumes."""
        return self._images.get_num_images()

    def num_labels(self, index: int) -> int:
        """Count the label channels of a volume without reading its voxels."""
        if self._labels is None:
            return 0
        if self._target.label_indices is not None:
            return len(self._target.label_indices)
        image_shape = stored_shape(self._images, index)
        shape = label_shape(stored_shape(self._labels, index), image_shape)
        return shape[3] if len(shape) == 4 else 1

    def read(self, index: int) -> Volume:
        """
        Read, check and prepare one volume.

        :param index: position in the order of DeepReg's file loader.
        :return: the volume on the network's grid; its arrays are read-only.
        :raises DataError: with all that is wrong with its files.
        """
        fixed = None if self._read_fixed is None else self._read_fixed(index)
        raw = self._read_raw(index, fixed)
        return prepare(raw, self._target, lambda: self._read_voxels(index))

    def read_intensities(self, index: int) -> NDArray:
        """
        Read one image and apply its intensity steps, on its file's grid.

        :param index: position in the order of DeepReg's file loader.
        :return: (d1, d2, d3), float32.
        :raises DataError: when the image cannot be used.
        """
        image, place = self._load(self._images, index)
        problems = check_image(image, file_path(self._images, index))
        if problems:
            raise DataError("Volume that cannot be used:", problems)
        return self._target.intensity.transform(image)

    def _read_raw(self, index: int, fixed: NDArray | None = None) -> RawVolume:
        """:raises DataError: with every file that cannot be read."""
        loaded: list[tuple[Any, Place]] = []
        problems: list[str] = []
        loaders = [self._images] + ([] if self._labels is None else [self._labels])
        for loader in loaders:
            try:
                loaded.append(self._load(loader, index))
            except DataError as err:
                problems += err.problems
        if problems:
            raise DataError("Files that cannot be read:", problems)
        paths = [file_path(loader, index) for loader in loaders]
        (image, place), *rest = loaded
        labels = [
            RawLabel(
                paths[1], voxels.reshape(label_shape(voxels.shape, image.shape)), p
            )
            for voxels, p in rest
        ]
        return RawVolume(
            path=paths[0], image=image, place=place, labels=labels, fixed=fixed
        )

    def _load(self, loader: Any, index: int) -> tuple[Any, Place]:
        """Read a file, its shape that of a volume."""
        try:
            voxels = loader.get_data(index)
            place = stored_place(loader, index)
            return voxels.reshape(volume_shape(voxels.shape)), place
        except UNREADABLE as err:
            path, problem = file_path(loader, index), str(err)
            if not problem.startswith(path):
                reason = f"{type(err).__name__}: {err}"
                problem = f"{path}: cannot be read ({reason})."
            raise DataError("File that cannot be read:", [problem]) from err

    def _read_voxels(self, index: int) -> Voxels:
        """Read a volume again, as stored."""
        raw = self._read_raw(index)
        labels, _ = split_labels(raw.labels, self._target.label_indices)
        return raw.image, labels
