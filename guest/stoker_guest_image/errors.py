"""What a person is told when there is no image."""


class ImageError(Exception):
    """The image cannot be built; the message says why and what to do."""
