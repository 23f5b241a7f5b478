"""What ends a run early."""


class BenchError(Exception):
    """A figure cannot be taken; the text says why."""
