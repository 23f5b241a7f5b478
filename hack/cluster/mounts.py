"""What is mounted where, from the kernel's own table. Used by nodes and teardown; mounts nothing itself.

Not `Path.is_mount`: that compares devices, and a folder bound onto itself stays on its device.
"""

from pathlib import Path


def mounts_below(table: str, folder: Path) -> tuple[str, ...]:
    """Mount points at or below the folder, in the order of the table; the kernel writes a space as \\040."""
    points = (line.split()[1].encode().decode("unicode_escape") for line in table.splitlines())
    return tuple(point for point in points if Path(point).is_relative_to(folder))


def current_below(folder: Path) -> tuple[str, ...]:
    return mounts_below(Path("/proc/self/mounts").read_text(), folder)


def is_mounted(path: Path) -> bool:
    return str(path) in current_below(path)
