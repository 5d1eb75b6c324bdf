"""Images of two axes as volumes of a single slice, and their labels."""

Sides = tuple[int, ...]


def volume_shape(shape: Sides) -> Sides:
    """
    Give an image of two axes a third one.

    :param shape: as stored.
    :return: (d1, d2, 1) for (d1, d2); any other shape as it is.
    """
    return (*shape, 1) if len(shape) == 2 else tuple(shape)


def label_shape(shape: Sides, image_shape: Sides) -> Sides:
    """
    Give a label the axes of its image, and channels after them.

    :param shape: of the label as stored.
    :param image_shape: of its image.
    :return: (d1, d2, 1, L) for channels (d1, d2, L) of an image (d1, d2) or (d1, d2,
        1); else as `volume_shape` has it.
    """
    image = volume_shape(image_shape)
    has_channels = len(shape) == 3 and shape[2] > 1 and image == (*shape[:2], 1)
    return (*shape[:2], 1, shape[2]) if has_channels else volume_shape(shape)
