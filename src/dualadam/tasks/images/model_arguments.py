"""The arguments that every image classifier is made from."""

from __future__ import annotations

from dualadam.errors import InvalidValueError

SMALL_IMAGE = 64  # pixels; models for images of up to this side keep more of the resolution


def check_model_arguments(
    num_classes: int, in_channels: int, image_size: int, *, smallest: int
) -> None:
    """Check the arguments of a model whose images must have at least ``smallest`` pixels a side.

    Raises:
        InvalidValueError: an argument is out of its range.
    """
    for name, value, least in (
        ("num_classes", num_classes, 1),
        ("in_channels", in_channels, 1),
        ("image_size", image_size, smallest),
    ):
        if value < least:
            raise InvalidValueError(f"{name} must be an integer >= {least}, got {value}.")
