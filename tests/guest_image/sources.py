"""Sources of an image, small and all the tests' own."""

from pathlib import Path

from stoker_guest_image.sources import Sources


def write_sources(directory: Path) -> Sources:
    """Writes sources of an image with a file each."""
    sources = Sources(
        image=directory / "image",
        agent=directory / "agent",
        runtimes=directory / "runtimes",
        ttrpc=directory / "stoker_ttrpc",
        messages=directory / "guest.binpb",
        builder=directory / "builder",
    )
    for file in (
        sources.recipe,
        sources.initramfs_init,
        sources.files / "etc" / "hostname",
        sources.agent / "main.py",
        sources.runtimes / "python3" / "main.py",
        sources.ttrpc / "__init__.py",
        sources.messages,
        sources.builder / "build.py",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name}\n")
    return sources
