"""Who listens where: the kernel's table is read right, and a socket of ours is found with our name."""

import os
import socket
import sys

import pytest

from cluster import listeners
from cluster.listeners import Listener, Socket

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0"


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample was taken on a little-endian machine")
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param("00000000:192B 00000000:0000 0A", (Socket("0.0.0.0", 6443, 77),), id="every-address"),
        pytest.param("0100007F:0947 00000000:0000 0A", (Socket("127.0.0.1", 2375, 77),), id="loopback"),
        pytest.param("0100F40A:192B 00000000:0000 0A", (Socket("10.244.0.1", 6443, 77),), id="bridge"),
        pytest.param("00000000000000000000000000000000:192B 0:0 0A", (Socket("::", 6443, 77),), id="version-six"),
        pytest.param("0100007F:0947 0100007F:1234 01", (), id="connected-not-listening"),
    ],
)
def test_table_of_the_kernel_is_read(row: str, expected: tuple[Socket, ...]) -> None:
    assert listeners.parse(f"{HEADER}   0: {row} {REST} 77 1 0 100 0 0 10 0\n") == expected


@pytest.mark.parametrize(("address", "expected"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False)])
def test_only_a_wildcard_is_every_address(address: str, expected: bool) -> None:
    assert Listener(address, 1, "x").is_on_every_address is expected


def test_own_socket_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        (found,) = [one for one in listeners.listening() if (one.address, one.port) == ("127.0.0.1", port)]
    assert f"(process {os.getpid()})" in found.owner
