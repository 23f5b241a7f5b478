"""The Neuron runtime's status codes and the words its failures use (AWS: NRT_STATUS, nrt_status.rst).

Raised by the emulated runtime only. The sentences follow messages seen in public issues: aws-neuron-sdk#369
("Could not load the model status=4 message=Allocation Failure") and the NxD release notes ("Failed to execute
the model status=1003 message=Numerical Error"). Messages of other codes are the code's name: not documented.
"""

STATUS_NAMES = {
    1: "NRT_FAILURE",
    2: "NRT_INVALID",
    4: "NRT_RESOURCE",
    5: "NRT_TIMEOUT",
    6: "NRT_HW_ERROR",
    7: "NRT_QUEUE_FULL",
    9: "NRT_LOAD_NOT_ENOUGH_NC",
    10: "NRT_UNSUPPORTED_NEFF_VERSION",
    11: "NRT_FAIL_HOST_MEM_ALLOC",
    13: "NRT_UNINITIALIZED",
    101: "NRT_EXEC_UNIT_UNRECOVERABLE",
    1002: "NRT_EXEC_BAD_INPUT",
    1003: "NRT_EXEC_COMPLETED_WITH_NUM_ERR",
    1004: "NRT_EXEC_COMPLETED_WITH_ERR",
    1005: "NRT_EXEC_NC_BUSY",
    1006: "NRT_EXEC_OOB",
    1200: "NRT_EXEC_HW_ERR_COLLECTIVES",
    1201: "NRT_EXEC_HW_ERR_HBM_UE",
    1202: "NRT_EXEC_HW_ERR_NC_UE",
    1203: "NRT_EXEC_HW_ERR_DMA_ABORT",
    1204: "NRT_EXEC_SW_NQ_OVERFLOW",
    1205: "NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE",
}
_MESSAGES = {4: "Allocation Failure", 1003: "Numerical Error", 1006: "Execution Out-Of-Bounds Memory Access"}

# Which counters of neuron-monitor's report a failed execution moves: (execution_summary key, error_summary key).
# The split by kind is our reading of the keys' names; AWS documents the keys, not the mapping.
_COUNTED = {
    2: ("incorrect_input", "generic"),
    5: ("timed_out", "generic"),
    6: ("completed_with_err", "hardware"),
    7: ("failed_to_queue", "transient"),
    101: ("completed_with_err", "hardware"),
    1002: ("incorrect_input", "generic"),
    1003: ("completed_with_num_err", "numerical"),
    1004: ("completed_with_err", "generic"),
    1005: ("failed_to_queue", "transient"),
    1006: ("completed_with_err", "model"),
}


class NrtError(RuntimeError):
    """A call into the runtime failed; `status` is the NRT_STATUS number."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def name_of(status: int) -> str:
    return STATUS_NAMES.get(status, "NRT_UNKNOWN")


def load_error(status: int) -> NrtError:
    return NrtError(status, f"Could not load the model status={status} message={_message(status)}")


def execution_error(status: int) -> NrtError:
    return NrtError(status, f"Failed to execute the model status={status} message={_message(status)}")


def initialization_error(status: int, log_line: str) -> NrtError:
    """The exception text is the real one; the log line, which silicon only prints, is repeated in it for readers."""
    return NrtError(
        status,
        "The PyTorch Neuron Runtime could not be initialized. Neuron Driver issues are logged to your system logs."
        f" [{name_of(status)} in nrt_init() status={status}] {log_line}",
    )


def counters_of(status: int) -> tuple[str, str]:
    hardware = 1200 <= status <= 1205 and status != 1204
    return _COUNTED.get(status, ("completed_with_err", "hardware" if hardware else "runtime"))


def _message(status: int) -> str:
    return _MESSAGES.get(status, name_of(status))
