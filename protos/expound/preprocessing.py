"""Sizes and crops of preprocessing, on which workers and clients agree: those of torchvision."""

Size = tuple[int, int]
"""Width and height of an image, in pixels."""


def resized(size: Size, length: int) -> Size:
    """Size of an image whose shorter side is brought to a length, as by ``Resize(length)``.

    The longer side is truncated to an integer.
    """
    width, height = size
    if width <= height:
        return length, int(length * height / width)
    return int(length * width / height), length


def center_crop(size: Size, cropped: Size) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) that ``CenterCrop`` cuts out of an image of a size.

    It reaches beyond the image where that is smaller.
    """
    left, top = (_first_pixel(*lengths) for lengths in zip(size, cropped, strict=True))
    return left, top, left + cropped[0], top + cropped[1]


def _first_pixel(length: int, cropped: int) -> int:
    """First pixel of a crop along a side; below 0, by half of what lacks, where that is shorter."""
    spare = length - cropped
    return round(spare / 2) if spare > 0 else -(-spare // 2)
