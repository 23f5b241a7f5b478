"""What the operator notes on a Deployment about the template that it runs, to know it again after a restart. Pure.

The notes are annotations, written in the request that applies the template, so the two are never apart. A model that
neither upgrades nor rolls back by itself has none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuron_operator import names


@dataclass(frozen=True)
class Record:
    """Revisions by name; empty for none.

    `upgrade` is the one that an automatic upgrade is on its way to, `complete` the newest of which every replica was
    available, `given_up` the one that was rolled back from, for the `cause` in words.
    """

    upgrade: str = ""
    complete: str = ""
    given_up: str = ""
    cause: str = ""

    def annotations(self) -> dict[str, str]:
        """As they are written; what is empty is left out."""
        given = {
            names.ANNOTATION_UPGRADE: self.upgrade,
            names.ANNOTATION_COMPLETE: self.complete,
            names.ANNOTATION_GIVEN_UP: self.given_up,
            names.ANNOTATION_GIVEN_UP_BECAUSE: self.cause,
        }
        return {name: value for name, value in given.items() if value}


def recorded(deployment: Mapping[str, Any] | None) -> Record:
    """What is noted on the Deployment, if there is one."""
    noted = deployment["metadata"].get("annotations", {}) if deployment is not None else {}
    return Record(
        upgrade=noted.get(names.ANNOTATION_UPGRADE, ""),
        complete=noted.get(names.ANNOTATION_COMPLETE, ""),
        given_up=noted.get(names.ANNOTATION_GIVEN_UP, ""),
        cause=noted.get(names.ANNOTATION_GIVEN_UP_BECAUSE, ""),
    )
