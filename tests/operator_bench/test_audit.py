"""What is counted from the audit log, without an API server."""

from datetime import UTC, datetime
from typing import Any

from operator_bench.audit import asked, last_creation, resource_of


def entry(
    verb: str, resource: str, code: int = 200, at: str = "2026-01-02T03:04:05.000000Z", **more: str
) -> dict[str, Any]:
    return {
        "verb": verb,
        "objectRef": {"resource": resource, **more},
        "responseStatus": {"code": code},
        "stageTimestamp": at,
        "requestURI": "/apis",
    }


DISCOVERY = {**entry("get", ""), "objectRef": None, "requestURI": "/version"}


def test_writes_events_and_reads_are_told_apart_and_the_lease_and_watches_are_left_out() -> None:
    found = asked(
        [
            entry("patch", "deployments"),
            entry("patch", "neuronmodels", subresource="status"),
            entry("create", "events"),
            entry("get", "events"),
            entry("list", "pods"),
            entry("watch", "pods"),
            entry("update", "leases"),
            entry("get", "leases"),
            DISCOVERY,
        ]
    )
    assert (found.writes, found.events, found.reads, found.conflicts) == (2, 1, 3, 0)


def test_a_write_that_lost_is_a_write_and_a_conflict() -> None:
    found = asked([entry("patch", "deployments", 409), entry("patch", "deployments")])
    assert (found.writes, found.conflicts) == (2, 1)


def test_the_most_frequent_requests_are_named_first() -> None:
    found = asked([entry("patch", "services"), *[entry("patch", "neuronmodels", subresource="status")] * 1200])
    assert found.told == "1,200 patch neuronmodels/status, 1 patch services"


def test_what_is_no_resource_is_known_by_its_path() -> None:
    assert resource_of(DISCOVERY) == "/version"


def test_the_last_creation_is_that_of_a_child() -> None:
    created = [
        entry("patch", "services", 201, "2026-01-02T03:04:06.500000Z"),
        entry("patch", "controllerrevisions", 201, "2026-01-02T03:04:05.500000Z"),
        entry("create", "events", 201, "2026-01-02T03:04:09.000000Z"),
        entry("patch", "deployments", 200, "2026-01-02T03:04:08.000000Z"),
    ]
    assert last_creation(created) == datetime(2026, 1, 2, 3, 4, 6, 500_000, tzinfo=UTC)
    assert last_creation([]) is None
