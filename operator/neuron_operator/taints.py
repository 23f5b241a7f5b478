"""Which taints of a node keep a pod off it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

KEEP_OFF: Final = ("NoSchedule", "NoExecute")


def untolerated(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The taints that none of the tolerations answers; PreferNoSchedule keeps nobody off."""
    return [
        taint
        for taint in taints
        if taint.get("effect") in KEEP_OFF and not any(_tolerates(toleration, taint) for toleration in tolerations)
    ]


def in_words(taint: Mapping[str, Any]) -> str:
    """As kubectl writes a taint: key=value:effect."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    return (
        toleration.get("key", "") in ("", taint["key"])
        and toleration.get("effect", "") in ("", taint["effect"])
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
    )
