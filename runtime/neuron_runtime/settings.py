"""Every setting of `serve`, once: the field's name is the flag and the environment variable, its description the help.

`--max-batch-size 8` and NEURON_RUNTIME_MAX_BATCH_SIZE=8 are the same; a flag wins over the environment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from neuron_runtime.termination import FatalError, Reason

ENV_PREFIX = "NEURON_RUNTIME_"
PROGRAM = "neuron-runtime serve"


class ServeSettings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        cli_prog_name=PROGRAM,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        protected_namespaces=(),
    )

    bundle: Path = Field(Path("/model"), description="Directory of the model bundle (model.json and its files).")
    engine: Literal["torch_neuronx", "cpu", "simulated"] = Field(
        "torch_neuronx",
        description="What runs the programs: torch_neuronx on NeuronCores, cpu for TorchScript on the CPU, simulated "
        "for a device that only takes time and needs no bundle.",
    )
    cores: int = Field(
        0,
        ge=0,
        le=128,
        description="Workers to run, each on a NeuronCore of its own. 0: every visible core; 1 on the cpu engine.",
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - a pod is reached by its IP
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    model_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="Name clients use for the model. Default: the name in model.json.",
    )
    max_batch_size: int | None = Field(
        None, ge=1, le=4096, description="Largest batch to use; larger buckets are not loaded. Default: no limit."
    )
    in_flight: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Calls in flight on each core; a full batch may wait behind a single one. Default: 2, or what the "
        "simulated row shows.",
    )
    batch_window_microseconds: int = Field(
        500,
        ge=0,
        le=1_000_000,
        description="Longest wait of a request for company on the last idle core, and only while recent arrivals make "
        "it pay: a lone client never waits. 0: never wait.",
    )
    queue_capacity_rows: int = Field(
        0,
        ge=0,
        description="Rows that may wait for a core; more are refused with 429. 0: 32 full batches per worker, at least "
        "256 rows.",
    )
    queue_capacity_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Memory that waiting rows may take. Where rows are large, as images are, fewer of them may wait "
        "than queue_capacity_rows says: as many as fit, and at least one full batch per worker.",
    )
    max_rows_per_request: int = Field(1024, ge=1, description="Rows one request may hold; more are refused with 413.")
    request_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Time for one request, queue included; then 504. A client may ask for less with the header "
        "X-Request-Timeout-Seconds.",
    )
    drain_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="How long new requests are still answered after SIGTERM, with Connection: close, before the "
        "listener closes. 0 closes it at once.",
    )
    refuse_payload_seconds: float = Field(
        300.0,
        ge=0,
        le=86400,
        description="How long exactly the same input is refused after it took two workers down. 0: not at all.",
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1, description="Largest request body; more is refused with 413.")
    header_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Time for the head of a request to arrive, from its first byte; then 408 and the connection's end.",
    )
    body_timeout_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="Time for the body of a request to arrive; then 408 and the connection's end. Also the time a "
        "client has to take a reply that is ready.",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Client connections open at once. Beyond it the one that has been idle for longest is closed for "
        "each new one. While all of them are busy a new one gets 503, except for probes and /metrics.",
    )
    max_image_pixels: int = Field(
        50_000_000,
        ge=1,
        description="Largest image that is decoded, in pixels; more is refused with 413. Decoding takes 3 to 8 bytes "
        "of memory a pixel in each of as many threads as there are CPUs, at most 16.",
    )
    accept_token_ids: bool = Field(
        default=False,
        description="Take token ids in /v1/embeddings as they are, special tokens included. By default they are "
        "refused: popular clients make them with another model's tokenizer.",
    )
    load_timeout_seconds: float = Field(
        1800.0, gt=0, description="A worker that loads for longer is taken as hung and replaced."
    )
    execution_timeout_seconds: float = Field(
        60.0, gt=0, description="A worker that executes for longer without any result is taken as hung and replaced."
    )
    degraded_exit_seconds: float = Field(
        600.0,
        ge=0,
        description="How long to serve on with the cores that are left after one was given up as broken; then what is "
        "in flight is answered and the process exits with HardwareError. The kubelet starts the container again in "
        "place, which is enough where the fault was passing, and the operator shows the reason where it was not. 0: "
        "serve on as long as a core is left.",
    )
    neuron_monitor: Literal["auto", "off"] = Field(
        "auto",
        description="auto runs neuron-monitor where it is installed and exports its figures; off where a DaemonSet "
        "exports the same names.",
    )
    verify: bool = Field(default=True, description="Check every file of the bundle against its sha256 before loading.")
    simulated_service_ms: float = Field(2.3, gt=0, description="Simulated engine: time of one batch on a core.")
    simulated_row: str | None = Field(
        None,
        description="Simulated engine: take cores, batch, calls in flight and time from a row of AWS's published "
        "Inf2 results (neuron_runtime/data/inf2-benchmarks.csv), such as resnet18 or resnet18:real-time.",
    )
    access_log_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the requests with a line in the access log: 0 for none, 1 for all. A traceparent header "
        "decides as OpenTelemetry's TraceIdRatioBased does, else the request's id. Failures (500 and above) are logged "
        "in any case.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least severe log lines to write. The access log has its own setting and needs info or debug.",
    )
    termination_message_path: Path = Field(
        Path("/dev/termination-log"), description="Where the reason is written when the process gives up."
    )

    @classmethod
    def load(cls, argv: Sequence[str]) -> Self:
        """From flags and environment; FatalError (InvalidConfiguration) says which value is wrong and why."""
        try:
            return cls(_cli_parse_args=list(argv))
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}" for problem in error.errors()
            )
            raise FatalError(
                Reason.INVALID_CONFIGURATION,
                f"the configuration is not valid: {told}",
                hint=f"every setting is a flag or a variable {ENV_PREFIX}…; see neuron-runtime serve --help",
            ) from error
        except SettingsError as error:
            raise FatalError(
                Reason.INVALID_CONFIGURATION, str(error), hint="see neuron-runtime serve --help"
            ) from error
