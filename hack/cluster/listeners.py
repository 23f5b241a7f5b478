"""Who listens on which TCP port of this machine: /proc/net/tcp joined with the open files of processes.

Used by preflight to name the program that holds a port. `parse` is pure.
"""

import dataclasses
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"


@dataclasses.dataclass(frozen=True)
class Listener:
    address: str
    port: int
    owner: str

    @property
    def is_on_every_address(self) -> bool:
        return self.address in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclasses.dataclass(frozen=True)
class Socket:
    address: str
    port: int
    inode: int


def parse(table: str) -> tuple[Socket, ...]:
    """Listening sockets of /proc/net/tcp or tcp6: addresses are hexadecimal words in the machine's byte order."""
    rows = (line.split() for line in table.splitlines()[1:])
    return tuple(
        Socket(_address(local.partition(":")[0]), int(local.partition(":")[2], 16), int(row[9]))
        for row in rows
        if row[3] == _LISTEN
        for local in (row[1],)
    )


def _address(hexadecimal: str) -> str:
    words = bytes.fromhex(hexadecimal)
    packed = b"".join(struct.pack("=I", struct.unpack(">I", words[at : at + 4])[0]) for at in range(0, len(words), 4))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def listening() -> tuple[Listener, ...]:
    sockets = tuple(
        one for name in ("tcp", "tcp6") for one in parse(_read(Path("/proc/net", name)) or "\n") if one.inode
    )
    owners = _owners({one.inode for one in sockets})
    return tuple(Listener(one.address, one.port, owners.get(one.inode, "an unknown process")) for one in sockets)


def _owners(inodes: set[int]) -> dict[int, str]:
    """Socket inode → "name (process 123)"."""
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for inode in _socket_inodes(process):
                if inode in inodes:
                    found[inode] = f"{_read(process / 'comm').strip()} (process {process.name})"
    return found


def _socket_inodes(process: Path) -> Iterator[int]:
    try:
        for handle in (process / "fd").iterdir():
            target = str(handle.readlink())
            if target.startswith("socket:["):
                yield int(target[8:-1])
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
