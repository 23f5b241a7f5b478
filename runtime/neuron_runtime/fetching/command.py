"""The command `neuron-runtime fetch`, as the init container runs it: flags or environment in, one line on failure, and
the termination message by which the operator learns why. Called by __main__.
"""

import argparse
import os
import re
import signal
import sys
import types
from collections.abc import Mapping
from pathlib import Path

from neuron_runtime import logs
from neuron_runtime.fetching.transfer import Request, fetch
from neuron_runtime.termination import FatalError, Reason, TerminationMessage

PREFIX = "NEURON_RUNTIME_"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_SIGTERM_EXIT = 128 + signal.SIGTERM


def run(argv: list[str]) -> int:
    options = _parse(argv, os.environ)
    logs.set_up(options.log_level if options.log_level in _LOG_LEVELS else "info")
    # As process 1 of a container nothing ends us by default, and the pod's deletion would wait its grace period.
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        bundle = fetch(_request(options))
    except FatalError as error:
        TerminationMessage.from_error(error).write(options.termination_message_path)
        sys.stderr.write(f"neuron-runtime fetch: {error}\n")
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    sys.stdout.write(f"{bundle.digest}\n")
    return 0


def _end(_number: int, _frame: types.FrameType | None) -> None:
    sys.exit(_SIGTERM_EXIT)


def _parse(argv: list[str], environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="neuron-runtime fetch",
        description="Brings a model bundle to a directory and verifies every file. An interrupted fetch is continued, "
        "a complete one left alone.",
        epilog=f"Each option is also an environment variable: --max-bytes is {PREFIX}MAX_BYTES.",
    )
    parser.add_argument(
        "uri",
        help="https://HOST/PATH/ that holds model.json, s3://BUCKET/PREFIX/, pvc://CLAIM/PATH/, or a .tar(.gz) there",
    )
    parser.add_argument("dest", type=Path, help="directory for the bundle; may be a mount")

    def option(flag: str, text: str, default: str | None = None, variable: str | None = None) -> None:
        name = PREFIX + (variable or flag.removeprefix("--").replace("-", "_").upper())
        parser.add_argument(flag, default=environment.get(name) or default, help=text)

    option("--digest", "sha256:HEX that model.json must have")
    option("--max-bytes", "refuse a bundle that is larger (default: no limit)")
    option("--pvc-root", "where the claim of a pvc:// address is mounted (default /mnt/pvc)", "/mnt/pvc")
    option("--timeout-seconds", "give up after this time in all (default 1500)", "1500", "FETCH_TIMEOUT_SECONDS")
    option("--termination-message-path", "where a failure is explained in JSON", "/dev/termination-log")
    option("--log-level", "debug, info, warning or error", "info")
    options = parser.parse_args(argv)
    options.termination_message_path = Path(options.termination_message_path)
    return options


def _request(options: argparse.Namespace) -> Request:
    if options.log_level not in _LOG_LEVELS:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"--log-level is {options.log_level!r}, not one of {', '.join(_LOG_LEVELS)}.",
            hint="Correct NEURON_RUNTIME_LOG_LEVEL in spec.pod.env.",
        )
    if options.digest is not None and not _DIGEST.fullmatch(options.digest):
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            "The digest is not sha256: and 64 hexadecimal digits.",
            hint="Use the digest that neuron-runtime pack or inspect prints.",
        )
    return Request(
        uri=options.uri,
        destination=options.dest,
        digest=options.digest,
        max_bytes=None if options.max_bytes is None else int(_number("--max-bytes", options.max_bytes)),
        pvc_root=Path(options.pvc_root),
        timeout_seconds=_number("--timeout-seconds", options.timeout_seconds),
    )


def _number(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise FatalError(
            Reason.INVALID_CONFIGURATION, f"{flag} is {text!r}, not a positive number.", hint="Give a plain number."
        )
    return value
