"""Finds instance types by name, and what someone who wrote an unknown name may have meant. Pure."""

import re
from difflib import get_close_matches

from neuron_operator.catalog.instances import CATALOG
from neuron_operator.catalog.model import InstanceType

_BY_NAME = {instance.name: instance for instance in CATALOG}
OFFERED = tuple(instance for instance in CATALOG if instance.is_offered)


def find(name: str) -> InstanceType | None:
    return _BY_NAME.get(name)


def suggestions(unknown: str) -> list[str]:
    """At most two offered types: the next larger sizes of the family that was named, else the closest spellings.

    inf2.6xlarge exists nowhere but looks like Inf1's 6xlarge; who wrote it needs to hear of 8xlarge and 24xlarge.
    """
    family, _, size = unknown.partition(".")
    siblings = sorted((instance for instance in OFFERED if instance.family == family), key=lambda found: found.size)
    multiplier = re.fullmatch(r"(\d*)xlarge", size)
    if siblings and multiplier:
        wanted = int(multiplier.group(1) or 1)
        larger = [instance for instance in siblings if instance.size > wanted]
        return [instance.name for instance in (larger[:2] if len(larger) > 1 else siblings[-2:])]
    return get_close_matches(unknown, [instance.name for instance in OFFERED], n=2, cutoff=0.75)
