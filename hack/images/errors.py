"""What can go wrong while building or loading images, as one error whose text says what to do next."""


class ImageError(Exception):
    """A step failed; the message says which, why, and what to try."""
