"""What an error of the Neuron runtime means: whose fault it is and what to do about the worker. Pure.

torch_neuronx raises plain RuntimeErrors whose text holds the status, so the text is all there is to go by. Codes and
names: Neuron documentation, "NRT API Reference Guide" and "Neuron Runtime Troubleshooting on Inf2 and Trn1".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from neuron_runtime.termination import Reason


class Action(StrEnum):
    """What is done after the error. The engine retries, the pool does the rest."""

    FAIL = "fail"  # nothing is known about it: the request has failed, the core is fine
    REFUSE = "refuse"  # the input is at fault; the core is fine
    RETRY = "retry"  # transient: the same call may succeed; if it goes on, a new process may help
    RESTART = "restart"  # the process is at fault; a new one may work
    GIVE_UP = "give-up"  # the core or device is broken; restarting does not help
    EXIT = "exit"  # nothing in this container can run the program


@dataclass(frozen=True)
class NrtError:
    """One row of the table. `reason` is the termination message's reason when this happens at load."""

    code: int | None
    name: str
    action: Action
    reason: Reason
    hint: str


_REPLACE_NODE = "the device reports a hardware fault; drain and replace this node"
_LOAD = "check that the model was compiled for this instance family and that it fits the core's memory"
_SMALLER = "the program does not fit the core's device memory: use a smaller batch, fewer buckets or bf16 casting"
_INPUT = "the input does not match the program"
_TABLE = (
    NrtError(2, "NRT_INVALID", Action.RESTART, Reason.MODEL_LOAD_FAILED, _LOAD),
    NrtError(4, "NRT_RESOURCE", Action.RESTART, Reason.OUT_OF_DEVICE_MEMORY, _SMALLER),
    NrtError(5, "NRT_TIMEOUT", Action.RESTART, Reason.HARDWARE_ERROR, "see the node's kernel log"),
    NrtError(6, "NRT_HW_ERROR", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(7, "NRT_QUEUE_FULL", Action.RETRY, Reason.MODEL_LOAD_FAILED, "lower the calls in flight per core"),
    NrtError(9, "NRT_LOAD_NOT_ENOUGH_NC", Action.RESTART, Reason.NEURON_CORES_BUSY, "the program needs more cores"),
    NrtError(
        10,
        "NRT_UNSUPPORTED_NEFF_VERSION",
        Action.EXIT,
        Reason.COMPILER_VERSION_MISMATCH,
        "compile the model again with a compiler that matches this image's Neuron runtime",
    ),
    NrtError(11, "NRT_FAIL_HOST_MEM_ALLOC", Action.RESTART, Reason.OUT_OF_MEMORY, "raise the container's memory limit"),
    NrtError(13, "NRT_UNINITIALIZED", Action.RESTART, Reason.MODEL_LOAD_FAILED, "see the worker's log"),
    NrtError(101, "NRT_EXEC_UNIT_UNRECOVERABLE", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(1002, "NRT_EXEC_BAD_INPUT", Action.REFUSE, Reason.MODEL_LOAD_FAILED, _INPUT),
    NrtError(1003, "NRT_EXEC_COMPLETED_WITH_NUM_ERR", Action.REFUSE, Reason.MODEL_LOAD_FAILED, "the input gives NaN"),
    NrtError(1004, "NRT_EXEC_COMPLETED_WITH_ERR", Action.RETRY, Reason.MODEL_LOAD_FAILED, _LOAD),
    NrtError(1005, "NRT_EXEC_NC_BUSY", Action.RETRY, Reason.NEURON_CORES_BUSY, "another process uses this core"),
    NrtError(1006, "NRT_EXEC_OOB", Action.REFUSE, Reason.MODEL_LOAD_FAILED, "an index of the input is out of bounds"),
    NrtError(1200, "NRT_EXEC_HW_ERR_COLLECTIVES", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(1201, "NRT_EXEC_HW_ERR_HBM_UE", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(1202, "NRT_EXEC_HW_ERR_NC_UE", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(1203, "NRT_EXEC_HW_ERR_DMA_ABORT", Action.GIVE_UP, Reason.HARDWARE_ERROR, _REPLACE_NODE),
    NrtError(
        1204,
        "NRT_EXEC_SW_NQ_OVERFLOW",
        Action.RESTART,
        Reason.MODEL_LOAD_FAILED,
        "set NEURON_RT_ENABLE_DGE_NOTIFICATIONS=0 in the pod's environment",
    ),
    NrtError(
        1205,
        "NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE",
        Action.GIVE_UP,
        Reason.HARDWARE_ERROR,
        "reload the driver or reboot the node",
    ),
)
BY_CODE: Mapping[int, NrtError] = {row.code: row for row in _TABLE if row.code is not None}

CORES_BUSY = NrtError(
    None,
    "NeuronCore(s) not available",
    Action.RESTART,
    Reason.NEURON_CORES_BUSY,
    "another process owns the core, often a pod that is still ending; the kubelet starts this one again",
)
WITHOUT_IMPORT = NrtError(
    None,
    "Unknown builtin op: neuron",
    Action.EXIT,
    Reason.MODEL_LOAD_FAILED,
    "the program was compiled for Neuron but torch_neuronx is not loaded; serve it with the torch_neuronx engine",
)
UNKNOWN = NrtError(None, "unknown", Action.FAIL, Reason.MODEL_LOAD_FAILED, _LOAD)

BY_NAME: Mapping[str, NrtError] = {row.name: row for row in (*_TABLE, CORES_BUSY, WITHOUT_IMPORT)}

_BUSY = re.compile(r"NeuronCore\(s\) not available|nrt_allocate_neuron_cores.*not available", re.IGNORECASE)
_NAME = re.compile(r"\bNRT_[A-Z_]+\b")
_CODE = re.compile(
    r"\bNRT\b.{0,80}?\((\d{1,4})\)|\bnrt_\w+.{0,80}?\b(?:status|error|code|returned)\b\D{0,12}(\d{1,4})\b|"
    r"\bstatus(?:_code| code)?\s*[=:]?\s*(\d{1,4})\b",
    re.IGNORECASE | re.DOTALL,
)


def by_name(name: str) -> NrtError:
    """The row that `classify` has named before."""
    return BY_NAME.get(name, UNKNOWN)


def classify(text: str) -> NrtError:
    """The table's row for an error text; UNKNOWN when nothing in it is recognized."""
    if _BUSY.search(text):
        return CORES_BUSY
    if "Unknown builtin op: neuron" in text:
        return WITHOUT_IMPORT
    for name in _NAME.findall(text):
        if name in BY_NAME:
            return BY_NAME[name]
    for match in _CODE.finditer(text):
        code = int(next(group for group in match.groups() if group))
        if code in BY_CODE:
            return BY_CODE[code]
    return UNKNOWN
