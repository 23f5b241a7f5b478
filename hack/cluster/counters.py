"""Removes the kernel's packet counters that kube-proxy makes for its rules and never takes away.

They belong to no table, so taking out the rules leaves them. There is no common program for them: this speaks the
kernel's own protocol (linux/netfilter/nfnetlink_acct.h). Called by teardown, after the rules that use them are gone.
"""

import os
import socket
import struct

# Kubernetes 1.36, pkg/proxy/metrics: the counters that kube-proxy names in its rules.
NAMES = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
_NETLINK_NETFILTER = 12
_DELETE = (7 << 8) | 3
_REQUEST_WITH_ANSWER = 0x1 | 0x4
_NAME_ATTRIBUTE = 1
_HEADER = struct.Struct("=IHHII")


def delete_request(name: str, sequence: int) -> bytes:
    """A netlink message: header, netfilter header, one attribute padded to four bytes."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _NAME_ATTRIBUTE) + text
    attribute += b"\0" * (-len(attribute) % 4)
    payload = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0) + attribute
    return _HEADER.pack(_HEADER.size + len(payload), _DELETE, _REQUEST_WITH_ANSWER, sequence, 0) + payload


def answer_code(message: bytes) -> int:
    """0 for done, otherwise the error number: the kernel answers with its negative."""
    (code,) = struct.unpack_from("=i", message, _HEADER.size)
    return -int(code)


def remove() -> dict[str, int]:
    """What the kernel said to each: 0, or ENOENT where the counter was never made."""
    codes = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(2.0)
            for sequence, name in enumerate(NAMES, start=1):
                kernel.sendto(delete_request(name, sequence), (0, 0))
                codes[name] = answer_code(kernel.recv(os.sysconf("SC_PAGESIZE")))
    except OSError:
        # A kernel without netfilter's netlink has no such counters.
        return codes
    return codes
