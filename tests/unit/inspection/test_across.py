"""Tests of deepreg_meta/inspection/across.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.dataset.stored import Place
from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.inspection.across import (
    check_pair,
    find_duplicates,
    find_outliers,
    find_unstated,
)
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.facts import intensities
from deepreg_meta.inspection.files import FileRecord
from deepreg_meta.inspection.header import Header
from tests.unit.inspection.examples import texts, titles


def record(
    name,
    kind="fixed_images",
    split="train",
    shape=(5, 6, 7),
    columns=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    origin=(0, 0, 0),
    unit="mm",
    seed=None,
):
    """:return: what is known of a file that was never written."""
    entry = Entry(kind, f"{split}/{kind}/{name}.nii")
    affine = from_parts(columns, origin)
    header = Header(
        entry, shape, "int16", unit, Place(affine, True, (affine,)), Grid(shape, affine)
    )
    image = None
    if seed is not None:
        image = intensities(np.random.default_rng(seed).random(shape))
    return FileRecord(split, name, entry, header, image, None, ())


def sized(sizes):
    return [record(f"c{i}", shape=(n, 6, 7)) for i, n in enumerate(sizes)]


def test_the_one_that_differs_where_most_agree_is_named():
    found = find_outliers([*sized([5] * 8), record("odd", shape=(5, 6, 8))])
    [line] = texts(found, "files unlike the others")
    assert titles(found, "problem") == set()
    assert line.startswith("train/fixed_images/odd.nii: shape 5 x 6 x 8, while it is")
    assert "5 x 6 x 7 in 8 of 9 files of fixed_images" in line


def test_sizes_that_vary_are_measured_against_the_median():
    """Median 13: 5 is below the half of it, 27 beyond the double, 25 not."""
    found = find_outliers(sized([10, 11, 12, 13, 14, 15, 25, 27, 5]))
    lines = texts(found, "files unlike the others")
    assert [line.split(":")[1].split(" ")[2] for line in lines] == ["27", "5"]
    assert "the median is 13 x 6 x 7" in lines[0]


def test_spacings_and_axes_are_compared_too():
    usual = [record(f"c{i}") for i in range(6)]
    thick = record("thick", columns=np.diag([1, 1, 4]))
    turned = record("turned", columns=[[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    lines = texts(find_outliers([*usual, thick, turned]), "files unlike the others")
    assert len(lines) == 2
    assert "thick.nii: spacing 1 x 1 x 4, while it is 1 x 1 x 1 in 7 of 8" in lines[0]
    assert "turned.nii: axes PRS, while it is RAS in 7 of 8" in lines[1]


def test_kinds_are_compared_among_themselves_and_few_files_not_at_all():
    fixed = [record(f"c{i}") for i in range(5)]
    moving = [record(f"c{i}", "moving_images", shape=(9, 9, 9)) for i in range(5)]
    assert find_outliers(fixed + moving) == []
    assert find_outliers([*fixed[:3], record("odd", shape=(50, 6, 7))]) == []


def test_headers_without_a_unit_are_counted_in_one_warning():
    records = [record("a"), record("b", unit="unknown"), record("c", unit="unknown")]
    [line] = texts(find_unstated(records), "units that are not stated")
    assert line.startswith("2 of 3 files state no unit of length, train/fixed_images/b")
    assert find_unstated(records[:1]) == []


def test_an_image_in_two_splits_is_a_problem():
    """Leakage, whatever the header says and whichever side it is on."""
    records = [
        record("a", seed=1),
        record("b", seed=2),
        record("z", "moving_images", "test", seed=2, origin=(5, 5, 5)),
        record("y", split="test", seed=3),
    ]
    [finding] = find_duplicates(records)
    assert (finding.level, finding.title) == ("problem", "images that two splits share")
    assert "train/fixed_images/b.nii and test/moving_images/z.nii hold" in finding.text


def test_an_image_twice_in_a_split_is_a_warning():
    [finding] = find_duplicates([record("a", seed=1), record("b", seed=1),
                                 record("c", seed=2)])  # fmt: skip
    assert (finding.level, finding.title) == ("warning", "images that are there twice")


def test_a_pair_of_an_image_and_itself_is_a_warning():
    records = [record("a", seed=1), record("a", "moving_images", seed=1)]
    [finding] = find_duplicates([*records, record("b", seed=2)])
    assert finding.title == "pairs of an image and itself"
    assert finding.level == "warning"


def test_an_atlas_of_many_cases_is_one_warning():
    atlas = [
        record(f"a{i}", "moving_images", split, seed=1)
        for i in range(4)
        for split in ("train", "test")
    ]
    fixed = [record(f"a{i}", seed=10 + i) for i in range(4)]
    [finding] = find_duplicates([*atlas, *fixed])
    assert (finding.level, finding.title) == ("warning", "one image for many cases")
    assert " and 6 more hold the same voxels" in finding.text


def moved(mm, **options):
    return record("m", "moving_images", origin=(mm, 0, 0), **options)


def test_the_share_of_a_pair_by_its_headers_is_counted():
    """Shifted by 3 of 5 voxels: two fifths; centres 3 mm apart."""
    row, found = check_pair(moved(3), record("f"), by_header=True)
    assert row["overlap_by_header"] == pytest.approx(0.4)
    assert row["centres_apart_mm"] == pytest.approx(3)
    assert found == []


def test_no_overlap_is_a_problem_where_headers_align_the_pair():
    row, [finding] = check_pair(moved(50), record("f"), by_header=True)
    assert row["overlap_by_header"] == 0
    assert (finding.level, finding.title) == ("problem", "pairs that do not overlap")
    assert "centres are 50 mm apart" in finding.text
    assert check_pair(moved(50), record("f"), by_header=False)[1] == []


def test_axes_that_differ_are_a_warning_where_headers_are_not_used():
    turned = moved(0, columns=[[-1, 0, 0], [0, -1, 0], [0, 0, 1]])
    _, [finding] = check_pair(turned, record("f"), by_header=False)
    assert finding.level == "warning"
    assert "the axes point to RAS and to LPS" in finding.text
    assert check_pair(turned, record("f"), by_header=True)[1] == []


def test_axes_that_nobody_states_are_not_compared():
    turned = moved(0, columns=[[-1, 0, 0], [0, -1, 0], [0, 0, 1]])
    silent = replace(turned.header.place, forms=())
    turned = replace(turned, header=replace(turned.header, place=silent))
    assert check_pair(turned, record("f"), by_header=False)[1] == []


def test_hdf5_without_an_affine_has_no_place_to_compare():
    silent = replace(record("f").header.place, has_affine=False)
    nowhere = replace(record("f"), header=replace(record("f").header, place=silent))
    assert check_pair(moved(50), nowhere, by_header=True) == ({}, [])


def test_an_image_without_a_place_is_not_compared():
    lost = FileRecord(
        "train", "c", Entry("fixed_images", "x.nii"), None, None, None, ()
    )
    assert check_pair(moved(0), lost, by_header=True) == ({}, [])
