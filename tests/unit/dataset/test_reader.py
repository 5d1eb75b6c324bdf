"""Tests of reading volumes through DeepReg's file loaders."""

import numpy as np
import pytest

from deepreg_meta.config.preprocessing import IntensityStep
from deepreg_meta.dataset.intensity import Intensity
from deepreg_meta.dataset.reader import VolumeReader
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import FIXED, Folder, image, label

require_stack()
SCORES = Intensity([IntensityStep(name="z_score")])
MATCH = Intensity([IntensityStep(name="match", reference="fixed")])


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path, ("images", "labels"), ("one", "two"))


def reader_of(folder, intensity=SCORES, labeled=True, **options):
    import deepreg.dataset.load  # noqa: F401
    from deepreg.registry import FILE_LOADER_CLASS, REGISTRY

    loader = REGISTRY.get(category=FILE_LOADER_CLASS, key="nifti")
    images, labels = (
        loader(dir_paths=[str(folder.path)], name=kind, grouped=False)
        for kind in ("images", "labels")
    )
    indices = options.pop("label_indices", None)
    target = Target(FIXED, label_indices=indices, intensity=intensity)
    return VolumeReader(images, labels if labeled else None, target, **options)


def test_intensities_are_those_after_the_steps_on_the_files_grid(folder):
    reader = reader_of(folder)
    scores = reader.read_intensities(1)
    np.testing.assert_array_equal(scores, SCORES.transform(image(FIXED, 1)))
    folder.put("images", "two", np.ones(FIXED, np.uint8))
    with pytest.raises(DataError, match="images/two.nii.gz: expected .* contrast"):
        reader.read_intensities(1)


def test_the_fixed_image_of_a_pair_is_read_only_where_a_step_needs_it(folder):
    asked = []

    def read_fixed(index):
        asked.append(index)
        return 50 + image(FIXED, 7)

    reader_of(folder, read_fixed=read_fixed).read(1)
    assert asked == []
    volume = reader_of(folder, MATCH, read_fixed=read_fixed).read(1)
    assert asked == [1]
    matched = MATCH.transform(image(FIXED, 1), 50 + image(FIXED, 7))
    assert volume.facts.intensity_range[1] == image(FIXED, 1).max()
    assert volume.image.argmax() == matched.argmax()


def test_channels_are_counted_without_reading_them(folder):
    folder.put("labels", "two", label(FIXED, 3))
    reader = reader_of(folder)
    assert (reader.num_images, reader.num_labels(0), reader.num_labels(1)) == (2, 1, 3)
    named = reader_of(folder, label_indices={"a": 1, "b": 2})
    assert named.num_labels(0) == 2
    assert reader_of(folder, labeled=False).num_labels(1) == 0
    assert reader_of(folder, labeled=False).read(1).labels is None


def test_image_and_label_that_cannot_be_read_are_both_named(folder):
    for kind in ("images", "labels"):
        folder.file(kind, "one").write_bytes(b"no gzip")
    with pytest.raises(DataError) as caught:
        reader_of(folder).read(0)
    first, second = caught.value.problems
    assert first.startswith(f"{folder.file('images', 'one')}: cannot be read (")
    assert second.startswith(f"{folder.file('labels', 'one')}: cannot be read (")
