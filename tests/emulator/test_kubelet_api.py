"""Our description of the kubelet's API, on the wire: bytes as protobuf defines them for the published field numbers."""

from typing import Any

import pytest

from emulator.kubelet_api import messages


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        pytest.param(
            messages["RegisterRequest"](
                version="v1beta1", endpoint="e", resource_name="r", options={"get_preferred_allocation_available": True}
            ),
            b"\x0a\x07v1beta1\x12\x01e\x1a\x01r\x22\x02\x10\x01",
            id="register",
        ),
        pytest.param(
            messages["ListAndWatchResponse"](devices=[{"ID": "a", "health": "Healthy"}]),
            b"\x0a\x0c\x0a\x01a\x12\x07Healthy",
            id="devices",
        ),
        pytest.param(
            messages["ContainerPreferredAllocationRequest"](
                available_deviceIDs=["a", "b"], must_include_deviceIDs=["a"], allocation_size=1
            ),
            b"\x0a\x01a\x0a\x01b\x12\x01a\x18\x01",
            id="preferred",
        ),
        pytest.param(
            messages["ContainerAllocateResponse"](
                envs={"K": "V"},
                mounts=[{"container_path": "/c", "host_path": "/h", "read_only": True}],
                devices=[{"container_path": "/d", "host_path": "/n", "permissions": "rw"}],
            ),
            b"\x0a\x06\x0a\x01K\x12\x01V\x12\x0a\x0a\x02/c\x12\x02/h\x18\x01\x1a\x0c\x0a\x02/d\x12\x02/n\x1a\x02rw",
            id="allocated",
        ),
    ],
)
def test_messages_are_encoded_as_the_kubelet_reads_them(message: Any, encoded: bytes) -> None:
    assert message.SerializeToString() == encoded
    assert type(message).FromString(encoded) == message


def test_fields_we_do_not_describe_are_passed_over() -> None:
    # Device.topology (3) and ContainerAllocateResponse.cdi_devices (5) exist in the published file.
    assert messages["Device"].FromString(b"\x0a\x01a\x1a\x02\x0a\x00").ID == "a"
