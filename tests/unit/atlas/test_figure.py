"""Tests of deepreg_meta/atlas/figure.py."""

import numpy as np
import pytest
from PIL import Image

from deepreg_meta.atlas.figure import COLOURS, Maps, segmentation_figure
from deepreg_meta.evaluate import panel


@pytest.fixture
def drawn(monkeypatch):
    """:return: keys, colours and sums of the labels whose outlines are drawn."""
    found = []
    original = panel.draw_contours

    def draw(axes, plane, labels, **style):
        sums = {name: int(label.sum()) for name, label in labels.items()}
        found.append((plane.axis, style["colors"], sums))
        original(axes, plane, labels, **style)

    monkeypatch.setattr(panel, "draw_contours", draw)
    return found


def maps(shape):
    truth, found = np.zeros((2, *shape), int)
    truth[3:7, 3:8], truth[3:7, 8:10] = 1, 4
    found[3:7, 3:9], found[3:7, 9:10] = 1, 4
    return Maps(found, truth)


def test_every_structure_is_outlined_on_every_plane(tmp_path, rng, drawn):
    """Found and true in the colour of the structure."""
    shape = (12, 14, 10)
    own = maps(shape)
    path = tmp_path / "figure.png"
    names = {1: "anterior", 4: "posterior"}
    segmentation_figure(path, rng.random(shape), own, names, np.ones(3), "RAS", "t")
    assert Image.open(path).size[0] > 600
    first = [entry for entry in drawn if entry[1] == COLOURS[0]]
    assert sorted(axis for axis, *_ in first) == [0, 1, 2]
    sums = {"warped": int((own.found == 1).sum()), "fixed": int((own.truth == 1).sum())}
    assert all(entry[2] == sums for entry in first)


def test_a_slice_has_one_plane_and_a_structure_that_is_absent_no_line(
    tmp_path, rng, drawn
):
    """Without truth, and with a name that no voxel has."""
    shape = (12, 14, 1)
    own = Maps(maps(shape).found, None)
    names = {1: "a", 2: "none", 4: "b"}
    segmentation_figure(tmp_path / "f.png", rng.random(shape), own, names, np.ones(3))
    assert {axis for axis, *_ in drawn} == {2} and len(drawn) == 2
    assert all(set(sums) == {"warped"} for *_, sums in drawn)


def test_an_image_without_structures_can_be_drawn(tmp_path, rng, drawn):
    own = Maps(np.zeros((6, 7, 8), int), None)
    segmentation_figure(tmp_path / "f.png", rng.random((6, 7, 8)), own, {}, np.ones(3))
    assert (tmp_path / "f.png").is_file() and drawn == []
