"""What can go wrong while the cluster is raised or taken down: each error says what, where and what to do next.

`__main__` prints them and exits 1; nothing else catches them. Never raised for a bug in this package.
"""


class ClusterError(Exception):
    """A cause that the person at the keyboard can act on."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.next_step}"
