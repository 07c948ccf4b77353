"""Why an archive is refused."""

from enum import StrEnum


class Reason(StrEnum):
    """The rule that an archive breaks."""

    UNKNOWN_FORMAT = "UNKNOWN_FORMAT"
    """It is neither a zip, nor a tar.gz, nor an image."""
    CORRUPT = "CORRUPT"
    """It is damaged, cut off, or contradicts itself."""
    DIGEST = "DIGEST"
    """A part of an image is not what the image says it is."""
    UNSUPPORTED = "UNSUPPORTED"
    """It uses a feature that is not needed to pack code."""
    ENCRYPTED = "ENCRYPTED"
    """Its files can be read only with a password."""
    BAD_NAME = "BAD_NAME"
    """A name is not UTF-8, too long, or has characters that names of files should not have."""
    OUTSIDE = "OUTSIDE"
    """A file would land outside the directory it is unpacked to."""
    LINK = "LINK"
    """A link leads, or could lead, out of the tree, or to nothing it may lead to."""
    SPECIAL_FILE = "SPECIAL_FILE"
    """It holds a device, a pipe or a socket."""
    DUPLICATE = "DUPLICATE"
    """Two entries have the same path."""
    CONFLICT = "CONFLICT"
    """A path is a file in one entry and a directory in another."""
    TOO_MANY_ENTRIES = "TOO_MANY_ENTRIES"
    """It holds more files and directories than allowed."""
    TOO_LARGE = "TOO_LARGE"
    """It is larger unpacked than allowed."""
    RATIO = "RATIO"
    """It is so much larger unpacked than packed that it must be meant to fill disks."""
    EMPTY = "EMPTY"
    """It holds no file."""


class UnsafeArchive(Exception):
    """An archive breaks a rule. It should not be stored, and nothing of it stays unpacked."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Makes one.

        Args:
            reason: The rule.
            message: For a person: which entry, what is wrong with it, what is allowed.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message


def corrupt(what: str) -> UnsafeArchive:
    """The refusal of an archive that is damaged."""
    return UnsafeArchive(Reason.CORRUPT, f"the archive is damaged or cut off: {what}; pack it again")


def unsupported(what: str) -> UnsafeArchive:
    """The refusal of an archive that is made in a way that is not understood."""
    return UnsafeArchive(Reason.UNSUPPORTED, f"{what}, which is not supported; pack it with plain `zip` or `tar -z`")


def unsupported_image(what: str) -> UnsafeArchive:
    """The refusal of an image that is made in a way that is not understood."""
    return UnsafeArchive(Reason.UNSUPPORTED, f"{what}, which is not supported; save one image with `docker save`")


def shown(name: str | bytes) -> str:
    """A name as a message has it: printable, and not too long."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    printable = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:120])
    return f"`{printable}`" if len(text) <= 120 else f"`{printable}…`"
