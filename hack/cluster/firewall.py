"""The machine's firewall: a wall around the pod and service ranges, and the way back to the rules of before.

`wall_commands` and `removal_commands` are pure; bringup and teardown run what they say. Only chains that
Kubernetes, its network plugins or this tool name are ever touched: rules that somebody else adds while the cluster
runs stay, which is why the rules of before are compared with and never restored whole.
"""

import itertools
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from cluster.commands import attempt, run
from cluster.settings import BRIDGE_PREFIX, POD_RANGE, SERVICE_RANGE

Family = Literal["iptables", "ip6tables"]
FAMILIES: tuple[Family, ...] = ("iptables", "ip6tables")
FORWARD_CHAIN = "NEURON-FORWARD"
OUTPUT_CHAIN = "NEURON-OUTPUT"
_OURS = re.compile(r"^(KUBE|CNI|NEURON)-")
_BUILT_IN = frozenset({"INPUT", "OUTPUT", "FORWARD", "PREROUTING", "POSTROUTING"})


def wall_commands() -> tuple[tuple[str, ...], ...]:
    """Pods talk to pods and to this machine; nothing of theirs goes out, and nothing for them comes in."""
    bridges = f"{BRIDGE_PREFIX}+"
    refuse = ("-j", "REJECT", "--reject-with", "icmp-admin-prohibited")
    forward = (
        ("-s", POD_RANGE, "-d", POD_RANGE, "-i", bridges, "-o", bridges, "-j", "ACCEPT"),
        ("-s", POD_RANGE, "!", "-o", bridges, *refuse),
        ("-d", POD_RANGE, "!", "-i", bridges, *refuse),
    )
    output = (
        ("-o", "lo", "-j", "RETURN"),
        ("-o", bridges, "-j", "RETURN"),
        ("-d", POD_RANGE, *refuse),
        ("-d", SERVICE_RANGE, *refuse),
    )
    chains = (("FORWARD", FORWARD_CHAIN, forward), ("OUTPUT", OUTPUT_CHAIN, output))
    return tuple(command for chain in chains for command in _chain_commands(*chain))


def _chain_commands(hook: str, chain: str, rules: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    yield ("iptables", "-t", "filter", "-N", chain)
    yield from (("iptables", "-t", "filter", "-A", chain, *rule) for rule in rules)
    yield ("iptables", "-t", "filter", "-I", hook, "-j", chain)


def removal_commands(family: Family, before: str, now: str) -> tuple[tuple[str, ...], ...]:
    """From two outputs of iptables-save: what takes out our chains and the jumps to them that were not there before.

    before                     now                                  result
    -----------------------    ----------------------------------   ---------------------------------
    (empty)                    -A OUTPUT -j KUBE-SERVICES            that rule deleted
    (empty)                    :KUBE-SERVICES                        chain emptied, then deleted
    -A OUTPUT -j KUBE-SERVICES the same                              nothing: it was not ours
    (empty)                    -A INPUT -p tcp -j DROP               nothing: somebody else's
    (empty)                    :INPUT (a table that was not there)   empty built-in chain deleted
    """
    had_chains, had_rules = _parse(before)
    has_chains, has_rules = _parse(now)
    had_tables = {table for table, _ in had_chains}
    jumps = [
        (family, "-t", table, "-D", *shlex.split(rule)[1:])
        for table, rule in has_rules
        if (table, rule) not in had_rules and _is_jump_to_ours(rule)
    ]
    chains = [(table, chain) for table, chain in has_chains if _OURS.match(chain) and (table, chain) not in had_chains]
    left_rules = {
        (table, shlex.split(rule)[1])
        for table, rule in has_rules
        if not _is_jump_to_ours(rule) and not _OURS.match(shlex.split(rule)[1])
    }
    built_in = [
        (table, chain)
        for table, chain in has_chains
        if chain in _BUILT_IN and table not in had_tables and not any(table == used for used, _ in left_rules)
    ]
    return (
        *jumps,
        *((family, "-t", table, "-F", chain) for table, chain in chains),
        *((family, "-t", table, "-X", chain) for table, chain in chains),
        *((family, "-t", table, "-X", chain) for table, chain in built_in),
    )


def new_tables(family: Family, before: str, now: str) -> tuple[tuple[str, str], ...]:
    """Tables that came with the cluster, as nft names them: (ip, filter)."""
    had = {table for table, _ in _parse(before)[0]}
    prefix = "ip" if family == "iptables" else "ip6"
    return tuple(dict.fromkeys((prefix, table) for table, _ in _parse(now)[0] if table not in had))


def _is_jump_to_ours(rule: str) -> bool:
    words = shlex.split(rule)
    from_built_in = not _OURS.match(words[1])
    return from_built_in and any(
        flag in ("-j", "-g") and _OURS.match(target) for flag, target in itertools.pairwise(words)
    )


def _parse(saved: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(table, chain) and (table, rule) pairs in the order of the text."""
    chains: list[tuple[str, str]] = []
    rules: list[tuple[str, str]] = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            chains.append((table, line[1:].split()[0]))
        elif line.startswith("-A"):
            rules.append((table, line))
    return chains, rules


def has_foreign_cluster(saved: str) -> bool:
    """Whether a kube-proxy that we did not start keeps its rules on this machine."""
    return any(chain == "KUBE-SERVICES" for _, chain in _parse(saved)[0])


def save(family: Family) -> str:
    return run(f"{family}-save")


def restore(before: Mapping[Family, str]) -> None:
    for family in FAMILIES:
        now = save(family)
        for command in removal_commands(family, before[family], now):
            # A chain that somebody else's rule uses by now stays; everything else is ours to remove.
            attempt(*command)
        for prefix, table in new_tables(family, before[family], now):
            _drop_empty_table(prefix, table)


def _drop_empty_table(prefix: str, table: str) -> None:
    """iptables on nftables leaves empty tables behind. Without the nft program they stay, and do nothing."""
    if shutil.which("nft") is None:
        return
    listed = attempt("nft", "list", "table", prefix, table)
    if listed.returncode == 0 and listed.stdout.count("{") == 1:
        attempt("nft", "delete", "table", prefix, table)


def raise_wall() -> None:
    """Safe to repeat: a standing wall is left alone, a half-built one is taken down first."""
    if is_standing(save("iptables")):
        return
    lower_wall()
    for command in wall_commands():
        run(*command)


def is_standing(now: str) -> bool:
    """Whether every chain and rule of the wall is there; iptables-save shows as many lines as it took commands."""
    lines = [line for line in now.splitlines() if FORWARD_CHAIN in line or OUTPUT_CHAIN in line]
    return len(lines) == len(wall_commands())


def lower_wall() -> None:
    now = save("iptables")
    own = "\n".join(line for line in now.splitlines() if line.startswith("*") or "NEURON-" in line)
    for command in removal_commands("iptables", "*filter\n:INPUT\n*nat\n:INPUT", own):
        run(*command)
