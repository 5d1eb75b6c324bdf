"""Write figures as small files, and put pictures into a page."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features
from scipy.spatial import cKDTree

_LOSSY_ABOVE = 200_000  # bytes, before a picture in a page is worth some loss
_QUALITY = 85  # of WebP: no difference that an eye sees at 100 %


def save_figure(
    figure: Figure, path: str | Path, dpi: int = 110, palette: NDArray | None = None
) -> Path:
    """
    Write a figure at once, by a rename.

    :param figure: drawn without pyplot.
    :param path: target, `.png` or `.svg`; its folder is made.
    :param dpi: dots per inch of a PNG.
    :param palette: (n <= 256, 3), uint8, colours that a PNG makes do with: each pixel
        takes the nearest one. None keeps all.
    :return: the path.
    :raises ValueError: for another ending.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"{path}: expected a figure as .png or .svg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".svg":
            _print_svg(figure, temporary)
        else:
            image = _to_palette(_draw(figure, dpi), palette)
            image.save(temporary, format="PNG", optimize=True, dpi=(dpi, dpi))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _print_svg(figure: Figure, path: Path) -> None:
    # a fixed salt and no date: the same figure gives the same file
    with rc_context({"svg.hashsalt": "deepreg_meta", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_figure(
            path, format="svg", metadata={"Date": None}, facecolor="white"
        )


def _draw(figure: Figure, dpi: int) -> NDArray[np.uint8]:
    """Draw a figure to pixels, (rows, columns, 3)."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _to_palette(pixels: NDArray[np.uint8], palette: NDArray | None) -> Image.Image:
    """
    Replace colours by the nearest ones of a palette.

    A palette that Pillow would choose by itself serves the many greys and turns the few
    colours that matter into others.
    """
    if palette is None:
        return Image.fromarray(np.ascontiguousarray(pixels))
    packed = pixels.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    colours, where = np.unique(packed, return_inverse=True)
    parts = np.stack([colours >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    _, nearest = cKDTree(palette.astype(float)).query(parts.astype(float))
    indices = nearest.astype(np.uint8)[where].reshape(packed.shape)
    image = Image.fromarray(indices)
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def load_picture(path: Path) -> tuple[bytes, str]:
    """
    Load a picture for a page, as small as it can be had.

    WebP without loss is tried first; a picture that stays large is stored with a loss
    that no eye sees. The file itself is left as it is.

    :param path: of a PNG or another picture that Pillow reads.
    :return: bytes, and their type such as image/png.
    :raises ValueError: for a file that holds no whole picture.
    """
    data = path.read_bytes()
    try:
        with Image.open(BytesIO(data)) as opened:
            mime = Image.MIME[opened.format or ""]
            image = opened.convert("RGB")  # reads all of it
    except (UnidentifiedImageError, OSError, SyntaxError, KeyError) as err:
        raise ValueError(
            f"{path}: expected a picture, got a file that cannot be read as one "
            f"({err}). Delete it, or run the registration again."
        ) from err
    best = data, mime
    if features.check("webp"):
        for options in ({"lossless": True, "quality": 60}, {"quality": _QUALITY}):
            if len(best[0]) <= _LOSSY_ABOVE and "lossless" not in options:
                break
            smaller = BytesIO()
            image.save(smaller, format="WEBP", **options)
            if smaller.tell() < len(best[0]):
                best = smaller.getvalue(), "image/webp"
    return best
