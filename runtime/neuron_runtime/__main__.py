"""`neuron-runtime COMMAND …`: finds the command and runs it. Each is imported only when it is asked for, because
`fetch` runs in an init container that has neither a server nor torch to import."""

import importlib
import sys

from neuron_runtime import logs

COMMANDS = {
    "serve": ("neuron_runtime.serving", "answer inference requests over HTTP"),
    "fetch": ("neuron_runtime.fetching", "bring a model bundle from s3://, https:// or pvc:// to a directory"),
    "inspect": ("neuron_runtime.inspecting", "show what a model bundle holds, and check it"),
    "pack": ("neuron_runtime.packing", "make a model bundle from a compiled TorchScript file"),
    "bench": ("neuron_runtime.benchmarking", "measure how fast a server answers, and say who was the limit"),
    "simulate-batching": ("neuron_runtime.simulating", "show what the batch policy decides for a trace of arrivals"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        ["usage: neuron-runtime COMMAND [options]", "", *lines, "", "neuron-runtime COMMAND --help says more."]
    )


def main() -> int:
    name, *rest = sys.argv[1:] or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        told = f"neuron-runtime: there is no command '{name}'\n\n" if name else ""
        print(f"{told}{usage()}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[name][0])
    code = int(module.run(rest))
    logs.finish()
    return code


if __name__ == "__main__":
    sys.exit(main())
