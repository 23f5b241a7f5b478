"""The neuronx-cc options that change what a program computes (AWS: "Neuron Compiler CLI Reference Guide"). Pure.

Options that only tune speed or output are accepted and do nothing; an option that the compiler does not have is
refused, so that a typing error does not surface first on silicon.
"""

import shlex
from dataclasses import dataclass, replace

_CHOICES = {
    "--target": ("inf2", "trn1", "trn1n", "trn2"),
    "--model-type": ("transformer", "unet-inference", "generic"),
    "--auto-cast": ("none", "matmult", "all"),
    "--auto-cast-type": ("bf16", "fp16", "tf32", "fp8_e4m3"),
    "--optlevel": ("1", "2", "3"),
    "-O": ("1", "2", "3"),
    "--verbose": ("debug", "info", "warning", "error", "critical"),
    "--logical-nc-config": ("1", "2"),
    "-lnc": ("1", "2"),
}
_WITH_VALUE = ("--logfile", "--output", "--distribution-strategy", "--internal-hlo2tensorizer-options", "--framework")
_SWITCHES = (
    "--enable-fast-loading-neuron-binaries",
    "--enable-fast-context-switch",
    "--enable-saturate-infinity",
    "--enable-mixed-precision-accumulation",
)


@dataclass(frozen=True)
class CompilerOptions:
    auto_cast: str = "none"
    auto_cast_type: str = "bf16"
    target: str = "inf2"


def parse_compiler_args(given: str | list[str] | None) -> CompilerOptions:
    words = shlex.split(given) if isinstance(given, str) else [str(word) for word in given or []]
    options = CompilerOptions()
    waiting = [part for word in words for part in _split(word)]
    while waiting:
        option = waiting.pop(0)
        if option in _SWITCHES:
            continue
        if option not in _CHOICES and option not in _WITH_VALUE:
            raise ValueError(f"neuronx-cc has no option {option!r} (compiler_args={given!r})")
        if not waiting:
            raise ValueError(f"{option} needs a value (compiler_args={given!r})")
        options = _with(options, option, waiting.pop(0))
    return options


def _split(word: str) -> list[str]:
    if word.startswith("-O") and word[2:].isdigit():
        return ["-O", word[2:]]
    option, equals, value = word.partition("=")
    return [option, value] if equals and option.startswith("-") else [word]


def _with(options: CompilerOptions, option: str, value: str) -> CompilerOptions:
    choices = _CHOICES.get(option)
    if choices and value not in choices:
        raise ValueError(f"{option} {value!r} is not one of {', '.join(choices)}")
    if option == "--auto-cast":
        return replace(options, auto_cast=value)
    if option == "--auto-cast-type":
        return replace(options, auto_cast_type=value)
    return replace(options, target=value) if option == "--target" else options
