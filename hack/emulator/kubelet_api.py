"""The kubelet's device plugin API v1beta1 as message classes and gRPC stubs, described here field by field.

Built at import from a table instead of generated code: the wire format is what matters, and it is 40 lines. Field
names and numbers are those of k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto; fields that neither side uses
here (topology, CDI devices) are left out, as protobuf allows. Used by `device_plugin` and its tests.
"""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

VERSION = "v1beta1"
KUBELET_SOCKET = "kubelet.sock"
HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"

# Message: its fields in the order of their numbers, from 1. "[…]" is repeated, "{}" a map of strings.
_MESSAGES = {
    "Empty": "",
    "DevicePluginOptions": "pre_start_required:bool get_preferred_allocation_available:bool",
    "RegisterRequest": "version endpoint resource_name options:DevicePluginOptions",
    "Device": "ID health",
    "ListAndWatchResponse": "devices:[Device]",
    "ContainerPreferredAllocationRequest": (
        "available_deviceIDs:[string] must_include_deviceIDs:[string] allocation_size:int32"
    ),
    "PreferredAllocationRequest": "container_requests:[ContainerPreferredAllocationRequest]",
    "ContainerPreferredAllocationResponse": "deviceIDs:[string]",
    "PreferredAllocationResponse": "container_responses:[ContainerPreferredAllocationResponse]",
    "ContainerAllocateRequest": "devices_ids:[string]",
    "AllocateRequest": "container_requests:[ContainerAllocateRequest]",
    "Mount": "container_path host_path read_only:bool",
    "DeviceSpec": "container_path host_path permissions",
    "ContainerAllocateResponse": "envs:{} mounts:[Mount] devices:[DeviceSpec] annotations:{}",
    "AllocateResponse": "container_responses:[ContainerAllocateResponse]",
    "PreStartContainerRequest": "devices_ids:[string]",
    "PreStartContainerResponse": "",
}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _Field.TYPE_STRING, "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32}


def _describe_field(message: Any, field: str, number: int) -> None:
    name, _, kind = field.partition(":")
    described = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind == "{}":
        entry = message.nested_type.add(name=name.capitalize() + "Entry")
        entry.options.map_entry = True
        _describe_field(entry, "key", 1)
        _describe_field(entry, "value", 2)
        kind = f"[{message.name}.{entry.name}]"
    if kind.startswith("["):
        described.label = _Field.LABEL_REPEATED
        kind = kind.strip("[]")
    if (kind or "string") in _SCALARS:
        described.type = _SCALARS[kind or "string"]
    else:
        described.type, described.type_name = _Field.TYPE_MESSAGE, f".{VERSION}.{kind}"


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="deviceplugin_v1beta1.proto", package=VERSION, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields.split(), start=1):
            _describe_field(message, field, number)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{VERSION}.{name}")) for name in _MESSAGES
    }


messages: dict[str, Any] = _message_classes()

# Method: its name in Python, request and response message.
_PLUGIN_METHODS = {
    "GetDevicePluginOptions": ("get_device_plugin_options", "Empty", "DevicePluginOptions"),
    "ListAndWatch": ("list_and_watch", "Empty", "ListAndWatchResponse"),
    "GetPreferredAllocation": (
        "get_preferred_allocation",
        "PreferredAllocationRequest",
        "PreferredAllocationResponse",
    ),
    "Allocate": ("allocate", "AllocateRequest", "AllocateResponse"),
    "PreStartContainer": ("pre_start_container", "PreStartContainerRequest", "PreStartContainerResponse"),
}


def plugin_handler(servicer: object) -> grpc.GenericRpcHandler:
    """Serve an object that has the DevicePlugin service's methods; list_and_watch is a generator."""
    handlers = {}
    for method, (name, request, response) in _PLUGIN_METHODS.items():
        make = grpc.unary_stream_rpc_method_handler if method == "ListAndWatch" else grpc.unary_unary_rpc_method_handler
        handlers[method] = make(
            getattr(servicer, name),
            request_deserializer=messages[request].FromString,
            response_serializer=messages[response].SerializeToString,
        )
    return grpc.method_handlers_generic_handler(f"{VERSION}.DevicePlugin", handlers)


def plugin_call(channel: grpc.Channel, method: str) -> Callable[..., Any]:
    """The kubelet's side of one DevicePlugin method."""
    _, request, response = _PLUGIN_METHODS[method]
    make = channel.unary_stream if method == "ListAndWatch" else channel.unary_unary
    call: Callable[..., Any] = make(
        f"/{VERSION}.DevicePlugin/{method}",
        request_serializer=messages[request].SerializeToString,
        response_deserializer=messages[response].FromString,
    )
    return call


def register_call(channel: grpc.Channel) -> Callable[..., Any]:
    """The plugin's side of Registration.Register."""
    call: Callable[..., Any] = channel.unary_unary(
        f"/{VERSION}.Registration/Register",
        request_serializer=messages["RegisterRequest"].SerializeToString,
        response_deserializer=messages["Empty"].FromString,
    )
    return call


def registration_handler(register: Callable[[Any, Any], Any]) -> grpc.GenericRpcHandler:
    """The kubelet's side of Registration.Register, for tests."""
    handler = grpc.unary_unary_rpc_method_handler(
        register,
        request_deserializer=messages["RegisterRequest"].FromString,
        response_serializer=messages["Empty"].SerializeToString,
    )
    return grpc.method_handlers_generic_handler(f"{VERSION}.Registration", {"Register": handler})
