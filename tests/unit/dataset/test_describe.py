"""Tests of the description of a run's images."""

import json

import numpy as np

from deepreg_meta.dataset.describe import describe_cases
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import (
    AFFINE,
    FIXED,
    KINDS,
    Folder,
    config_of,
    image,
)

require_stack()


def test_orientations_spacings_and_ranges_are_those_of_the_files(tmp_path):
    # axes of AFFINE point to A, L, S; sides 2, 0.5, 1.5
    paired = Folder(tmp_path / "train", KINDS[:2], ("a", "b", "c"))
    for name, factor in (("a", 1), ("b", 2), ("c", 6)):
        paired.put("fixed_images", name, factor * image(FIXED), AFFINE * factor)
    turned = np.diag([-1.0, -1, 1, 1])
    paired.put("moving_images", "b", image((6, 7, 8)), turned @ AFFINE)
    shape = {"fixed_image_shape": [10, 6, 7], "labeled": False}
    cases = load_case_set(config_of(tmp_path, paired, **shape), "train")
    found = describe_cases(cases)
    assert json.loads(json.dumps(found)) == found
    assert found["moving"]["orientations"] == ["ALS", "PRS"]
    fixed = found["fixed"]
    assert fixed["orientations"] == ["ALS"] and fixed["num_images"] == 3
    assert fixed["file_spacing_mm"] == [4, 1, 3]  # of the middle one
    assert fixed["grid_spacing_mm"] == [2, 1, 3]
    low, high = image(FIXED).min(), image(FIXED).max()
    assert fixed["intensity_range"] == [low, 6 * high]
    last = describe_cases(cases.subset([2]))["fixed"]
    assert last["file_spacing_mm"] == [12, 3, 9]


def test_unpaired_images_are_of_one_kind_and_read_once(tmp_path, monkeypatch):
    from deepreg.dataset.loader import nifti_loader

    unpaired = Folder(tmp_path / "train", ("images",), ("a", "b", "c"))
    keys = dict(type="unpaired", image_shape=list(FIXED), labeled=False, cache_gb=0)
    cases = load_case_set(config_of(tmp_path, unpaired, **keys), "train")
    cases.validate()
    monkeypatch.setattr(nifti_loader, "load_nifti_file", None)  # no more reading
    found = describe_cases(cases)
    assert found["moving"] == found["fixed"]
    assert found["moving"]["num_images"] == 3


def test_files_without_affine_have_no_orientation(tmp_path):
    import h5py

    for kind in KINDS[:2]:
        with h5py.File(tmp_path / f"{kind}.h5", "w") as file:
            file["one"] = image(FIXED)
    keys = dict(format="h5", labeled=False)
    cases = load_case_set(config_of(tmp_path, tmp_path, **keys), "train")
    assert describe_cases(cases)["fixed"]["orientations"] == [None]
    cases.close()
