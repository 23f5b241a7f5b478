"""The firewall goes back to the rules of before: ours go, whoever else's stay."""

import pytest

from cluster import firewall

EMPTY = ""
OTHERS = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER
COMMIT
"""
WITH_OURS = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:NEURON-FORWARD - [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -j NEURON-FORWARD
-A FORWARD -j DOCKER
-A KUBE-SERVICES -d 10.96.0.10/32 -j REJECT
-A NEURON-FORWARD -s 10.244.0.0/16 ! -o neuron-+ -j REJECT
COMMIT
"""
ADDED_LATER = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.9/32 -j DROP\nCOMMIT\n"
OTHER_CLUSTER = "*nat\n:KUBE-SERVICES - [0:0]\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(EMPTY, EMPTY, [], id="nothing-there"),
        pytest.param(OTHERS, OTHERS, [], id="only-others"),
        pytest.param(OTHER_CLUSTER, OTHER_CLUSTER, [], id="same-names-but-not-ours"),
        pytest.param(
            OTHERS,
            WITH_OURS,
            [
                "-t filter -D FORWARD -m comment --comment kubernetes service portals -j KUBE-SERVICES",
                "-t filter -D FORWARD -j NEURON-FORWARD",
                "-t filter -F KUBE-SERVICES",
                "-t filter -F NEURON-FORWARD",
                "-t filter -X KUBE-SERVICES",
                "-t filter -X NEURON-FORWARD",
            ],
            id="ours-beside-others",
        ),
        pytest.param(EMPTY, ADDED_LATER, [], id="rule-that-somebody-added-meanwhile"),
        pytest.param(
            EMPTY,
            "*nat\n:OUTPUT ACCEPT [0:0]\n:CNI-HOSTPORT-DNAT - [0:0]\n-A OUTPUT -j CNI-HOSTPORT-DNAT\nCOMMIT\n",
            [
                "-t nat -D OUTPUT -j CNI-HOSTPORT-DNAT",
                "-t nat -F CNI-HOSTPORT-DNAT",
                "-t nat -X CNI-HOSTPORT-DNAT",
                "-t nat -X OUTPUT",
            ],
            id="table-that-was-not-there",
        ),
    ],
)
def test_removal_takes_out_what_came_with_the_cluster(before: str, now: str, expected: list[str]) -> None:
    commands = firewall.removal_commands("iptables", before, now)
    assert [" ".join(command[1:]) for command in commands] == expected
    assert {command[0] for command in commands} <= {"iptables"}


def test_a_quoted_comment_stays_one_argument() -> None:
    first = firewall.removal_commands("ip6tables", OTHERS, WITH_OURS)[0]
    assert first[:4] == ("ip6tables", "-t", "filter", "-D")
    assert "kubernetes service portals" in first


@pytest.mark.parametrize(
    ("family", "before", "now", "expected"),
    [
        pytest.param("iptables", EMPTY, OTHERS, (("ip", "filter"),), id="new"),
        pytest.param("ip6tables", EMPTY, OTHERS, (("ip6", "filter"),), id="new-in-version-six"),
        pytest.param("iptables", OTHERS, OTHERS, (), id="was-there"),
    ],
)
def test_new_tables_are_named_as_nft_names_them(
    family: firewall.Family, before: str, now: str, expected: tuple[tuple[str, str], ...]
) -> None:
    assert firewall.new_tables(family, before, now) == expected


@pytest.mark.parametrize(("rules", "expected"), [(OTHERS, False), (OTHER_CLUSTER, True), (EMPTY, False)])
def test_another_cluster_is_recognized_by_its_chain(rules: str, expected: bool) -> None:
    assert firewall.has_foreign_cluster(rules) is expected


def test_wall_fills_a_chain_before_traffic_is_sent_through_it() -> None:
    commands = [" ".join(command[3:]) for command in firewall.wall_commands()]
    for hook, chain in (("FORWARD", firewall.FORWARD_CHAIN), ("OUTPUT", firewall.OUTPUT_CHAIN)):
        rules = [at for at, command in enumerate(commands) if command.startswith(f"-A {chain} ")]
        assert commands.index(f"-N {chain}") < min(rules)
        assert max(rules) < commands.index(f"-I {hook} -j {chain}")


def test_wall_is_taken_down_whole_by_its_own_removal() -> None:
    rules = [" ".join(command[3:]) for command in firewall.wall_commands()]
    chains = "".join(f":{rule[3:]} - [0:0]\n" for rule in rules if rule.startswith("-N"))
    appended = "".join(f"{rule.replace('-I', '-A')}\n" for rule in rules if not rule.startswith("-N"))
    before = "*filter\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    removed = [
        " ".join(command[3:]) for command in firewall.removal_commands("iptables", before, before + chains + appended)
    ]
    assert removed == [
        f"-D FORWARD -j {firewall.FORWARD_CHAIN}",
        f"-D OUTPUT -j {firewall.OUTPUT_CHAIN}",
        f"-F {firewall.FORWARD_CHAIN}",
        f"-F {firewall.OUTPUT_CHAIN}",
        f"-X {firewall.FORWARD_CHAIN}",
        f"-X {firewall.OUTPUT_CHAIN}",
    ]
