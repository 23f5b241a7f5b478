"""What ends a figure early."""


class BenchError(Exception):
    """A figure cannot be taken; the text says why and what to do."""
