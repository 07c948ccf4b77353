"""Archives, good and bad."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Sequence

MIB = 1024 * 1024


def zip_of(files: dict[str, bytes], *, links: Sequence[tuple[str, str]] = ()) -> bytes:
    """A zip archive of files and symbolic links."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in links:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return packed.getvalue()


def tar_of(*entries: tarfile.TarInfo) -> bytes:
    """A gzipped tar archive of entries without content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for entry in entries:
            archive.addfile(entry)
    return packed.getvalue()


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """An entry of a tar archive."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


GOOD_ZIP = zip_of({"main.py": b"def handler(event, context):\n    return event\n"})

UNSAFE = {
    "nothing that is an archive": b"plain text",
    "an archive without files": zip_of({}),
    "a corrupt zip": GOOD_ZIP[: len(GOOD_ZIP) // 2],
    "a zip that climbs": zip_of({"../outside.py": b""}),
    "a zip with an absolute path": zip_of({"/etc/passwd": b""}),
    "a zip with a link that leaves": zip_of({}, links=[("link", "../../etc/passwd")]),
    "a zip that is a bomb": zip_of({"zeros": bytes(200 * MIB)}),
    "a corrupt tar": gzip.compress(b"x" * 2000),
    "a broken gzip": tar_of(tar_entry("main.py"))[:-20],
    "a tar that climbs": tar_of(tar_entry("../outside.py")),
    "a tar with a link that leaves": tar_of(tar_entry("link", tarfile.SYMTYPE, "/etc/passwd")),
    "a tar with a hard link that leaves": tar_of(tar_entry("link", tarfile.LNKTYPE, "../../etc/passwd")),
    "a tar with a device": tar_of(tar_entry("null", tarfile.CHRTYPE)),
}
"""What must not be unpacked, by what is wrong with it."""
