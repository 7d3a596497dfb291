"""What goes wrong when an image is decoded."""


class DecodeError(Exception):
    """An image cannot be read; says what is wrong with it, and what to send instead."""
