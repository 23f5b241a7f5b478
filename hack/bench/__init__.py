"""The figures of docs/benchmarks.md: what this runtime costs, side by side with bare devices, echoes and other servers.

`python -m bench` measures and prints them. Nothing here gates anything: a figure that is not met is a line in a table.
"""
