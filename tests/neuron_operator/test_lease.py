"""What to do about the Lease, what counts as a sign of life, and what it tells people."""

from datetime import UTC, datetime
from typing import Any

import pytest

from neuron_operator.lease import Sighting, Step, decide, held_lease, released_lease, sighting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Body = dict[str, Any]


def lease(holder: str = "other", duration_s: int | None = 7, **spec: Any) -> Body:
    told = {"holderIdentity": holder, **({"leaseDurationSeconds": duration_s} if duration_s else {}), **spec}
    return {"metadata": {"name": "neuron-serving-operator", "resourceVersion": "1"}, "spec": told}


@pytest.mark.parametrize(
    ("found", "unchanged_s", "step", "look_again_s"),
    [
        pytest.param(None, 0, Step.CREATE, 1.0, id="no-lease"),
        pytest.param(lease("me"), 0, Step.RENEW, 1.0, id="ours"),
        pytest.param(lease("me"), 60, Step.RENEW, 1.0, id="ours-and-nobody-took-it-meanwhile"),
        pytest.param(lease(""), 0, Step.TAKE_OVER, 1.0, id="released"),
        pytest.param({"metadata": {}}, 0, Step.TAKE_OVER, 1.0, id="made-by-hand-without-a-spec"),
        pytest.param(lease(), 0, Step.WAIT, 1.0, id="just-seen-however-old-its-times-are"),
        pytest.param(lease(), 5.9, Step.WAIT, 1.0, id="not-over-for-long"),
        pytest.param(lease(), 6.75, Step.WAIT, 0.25, id="over-soon"),
        pytest.param(lease(), 7, Step.TAKE_OVER, 1.0, id="over"),
        pytest.param(lease(duration_s=15), 14, Step.WAIT, 1.0, id="of-a-holder-with-a-longer-duration"),
        pytest.param(lease(duration_s=None), 6, Step.WAIT, 1.0, id="without-a-duration"),
        pytest.param(lease(duration_s=None), 7, Step.TAKE_OVER, 1.0, id="without-a-duration-and-over"),
    ],
)
def test_what_to_do_about_the_lease(found: Body | None, unchanged_s: float, step: Step, look_again_s: float) -> None:
    decision = decide(Sighting(found, 100.0), "me", 100.0 + unchanged_s)
    assert (decision.step, decision.look_again_s) == (step, look_again_s)
    assert decision.reason


@pytest.mark.parametrize(
    ("found", "since_s"),
    [
        pytest.param(lease(renewTime="a"), 100.0, id="the-same"),
        pytest.param({**lease(renewTime="a"), "metadata": {"labels": {"a": "b"}}}, 100.0, id="only-a-label-is-new"),
        pytest.param(lease(renewTime="b"), 107.0, id="renewed"),
        pytest.param(lease("third", renewTime="a"), 107.0, id="another-holder"),
        pytest.param(None, 107.0, id="gone"),
    ],
)
def test_only_another_record_is_a_sign_of_life(found: Body | None, since_s: float) -> None:
    before = sighting(None, lease(renewTime="a"), 100.0)
    assert sighting(before, found, 107.0) == Sighting(found, since_s)


def test_the_lease_tells_people_who_leads_and_since_when() -> None:
    first = held_lease(None, "me", "system", NOW)
    assert first["metadata"]["namespace"] == "system"
    assert first["metadata"]["labels"] == {"neuron-serving.dev/elector": "operator"}
    moment = "2026-01-01T00:00:00.000000Z"
    told = {"holderIdentity": "me", "leaseDurationSeconds": 7, "acquireTime": moment, "renewTime": moment}
    assert first["spec"] == {**told, "leaseTransitions": 0}
    renewed = held_lease(first, "me", "system", NOW.replace(second=1))["spec"]
    assert renewed == {**told, "renewTime": "2026-01-01T00:00:01.000000Z", "leaseTransitions": 0}
    released = released_lease(first, NOW.replace(second=2))
    assert (released["spec"]["holderIdentity"], released["spec"]["leaseDurationSeconds"]) == ("", 1)
    taken = held_lease(released, "other", "system", NOW.replace(second=3))["spec"]
    assert (taken["holderIdentity"], taken["acquireTime"]) == ("other", "2026-01-01T00:00:03.000000Z")
    assert (taken["leaseDurationSeconds"], taken["leaseTransitions"]) == (7, 1)
