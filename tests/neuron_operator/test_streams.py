"""kopf's stream of one resource as we wrap it: deletions that nobody told, failures that it outlives."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, cast

import kopf
import pytest
from aiohttp import ClientResponse, ClientResponseError, RequestInfo
from kopf._cogs.clients import errors as kopf_errors
from kopf._cogs.clients import watching as kopf_watching
from multidict import CIMultiDict, CIMultiDictProxy
from prometheus_client import CollectorRegistry
from yarl import URL

from fakes.cluster import FakeCluster
from neuron_operator import errors
from neuron_operator.access import Access
from neuron_operator.cluster import Ref
from neuron_operator.handlers import Feed
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.nodes import NodeWatch
from neuron_operator.scope import Scope
from neuron_operator.watching import KINDS, Event, RefusedError, Streams, wrapped_streams
from neuron_operator.workqueue import WorkQueue

SERVICES = kopf.Resource(group="", version="v1", plural="services")
LISTED = kopf_watching.Bookmark.LISTED


class NoChance(random.Random):
    def random(self) -> float:
        return 0.0


def service(version: int, name: str = "sentiment", namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version), "uid": name}}


def event(kind: str | None, version: int, name: str = "sentiment", namespace: str = "shop") -> Event:
    return cast(Event, {"type": kind, "object": service(version, name, namespace)})


class ToldFeed(Feed):
    """Keeps what it is told, in short."""

    story: list[str]

    def know(self, kind: str, body: Mapping[str, Any]) -> None:
        self.story.append(f"knows {body['metadata']['name']}")
        super().know(kind, body)

    def forget(self, kind: str, body: Mapping[str, Any]) -> None:
        self.story.append(f"forgets {body['metadata']['name']}")
        super().forget(kind, body)


class Script:
    """In place of kopf's stream: each call goes through the next round, whose exceptions it raises."""

    def __init__(
        self, *rounds: Sequence[Event | BaseException | Callable[[], object]], scope: Scope | None = None
    ) -> None:
        self._rounds = list(rounds)
        self.refusals: dict[str, int] = {}
        self.asked: list[str] = []
        self.listed: list[str | None] = []
        self.unsynced: list[list[str]] = []
        self.indices, self.queue = Indices(), WorkQueue[Key]()
        self.feed = ToldFeed(self.indices, self.queue, NodeWatch(FakeCluster(), self.indices, self.queue), scope)
        self.metrics = Metrics(CollectorRegistry())
        self.pauses_s: list[float] = []
        access = Access(self, self.feed, self._pause)
        self.on_the_server: dict[str, dict[str, Any] | errors.ApiError] = {}
        self.streams = Streams(self.feed, self.metrics, access, self._read, self._play, NoChance())

    async def _pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.unsynced.append(self.feed.unsynced())

    async def serves_models(self, namespace: str = "") -> bool:
        """What Access asks of the API server."""
        self.asked.append(namespace)
        if self.refusals.get(namespace, 0) > 0:
            self.refusals[namespace] -= 1
            raise errors.ForbiddenError(f"no role in {namespace}")
        return True

    async def _read(self, ref: Ref) -> dict[str, Any]:
        """What a list leaves open is asked of the API server."""
        found = self.on_the_server.get(ref.name, errors.NotFoundError(f"no {ref.kind} {ref.name}", 404))
        if isinstance(found, errors.ApiError):
            raise found
        return found

    async def _play(self, *, resource: kopf.Resource, namespace: str | None, **_: Any) -> AsyncIterator[Event]:
        assert resource.plural in KINDS
        self.listed.append(namespace)
        for step in self._rounds.pop(0):
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
            else:
                yield step

    async def next_round(self, namespace: str | None = None) -> list[str]:
        """What the feed is told, and kopf: that a list has ended, and nothing else."""
        self.feed.story = story = []
        waiter = asyncio.get_running_loop().create_future()
        async for step in self.streams.stream(resource=SERVICES, namespace=namespace, operator_pause_waiter=waiter):
            assert step is LISTED
            story.append("listed")
        return story

    def errors(self) -> float:
        value = self.metrics.registry.get_sample_value(
            "neuron_serving_operator_watch_errors_total", {"kind": "Service"}
        )
        return value or 0.0


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param(
            [event(None, 7), LISTED, event("MODIFIED", 8)],
            ["knows sentiment", "listed", "knows sentiment"],
            id="still-there",
        ),
        pytest.param([LISTED, event("ADDED", 9, "b")], ["forgets sentiment", "listed", "knows b"], id="gone"),
        pytest.param([event(None, 7, "b"), LISTED], ["knows b", "forgets sentiment", "listed"], id="replaced"),
        pytest.param(
            [LISTED, event("DELETED", 9)], ["forgets sentiment", "listed", "forgets sentiment"], id="told-twice"
        ),
        pytest.param([event("BOOKMARK", 9, "")], [], id="a-bookmark"),
        pytest.param([event(None, 7, "b")], ["knows b"], id="a-list-cut-short"),
        pytest.param([], [], id="no-list"),
    ],
)
async def test_what_a_new_list_lacks_is_forgotten(steps: list[Event | BaseException], told: list[str]) -> None:
    script = Script(steps)
    script.indices.put("Service", service(5))
    assert await script.next_round() == told


@pytest.mark.parametrize(
    ("on_the_server", "told"),
    [
        pytest.param(None, ["forgets young", "listed"], id="deleted-before-the-list"),
        pytest.param(service(6, "young"), ["knows young", "listed"], id="younger-than-the-list"),
        pytest.param(service(9, "young"), ["knows young", "listed"], id="made-anew"),
    ],
)
async def test_what_our_own_write_told_while_a_list_was_on_its_way_is_read(
    on_the_server: dict[str, Any] | None, told: list[str]
) -> None:
    """Deleted before the list was read, it is in no list and no watch tells of it."""
    script = Script([lambda: script.indices.put("Service", service(6, "young")), LISTED])
    if on_the_server is not None:
        script.on_the_server["young"] = on_the_server
    assert await script.next_round() == told
    known = script.indices.get("Service", Key("shop", "young"))
    assert (known and known["metadata"]["resourceVersion"]) == (
        on_the_server and on_the_server["metadata"]["resourceVersion"]
    )


async def test_a_list_that_cannot_be_proven_is_asked_for_again() -> None:
    script = Script([lambda: script.indices.put("Service", service(6, "young")), LISTED], [LISTED])
    script.on_the_server["young"] = errors.UnreachableError("no answer", 0)
    assert (await script.next_round(), script.errors()) == ([], 1)
    assert await script.next_round() == ["forgets young", "listed"]


FAILURES = [
    kopf_watching.WatchingError("etcd lost"),
    kopf_errors.APIServerError(None, status=500, headers={}),
    kopf_errors.APIForbiddenError(None, status=403, headers={}),
    ConnectionResetError("reset"),
    TimeoutError(),
    ValueError("no JSON"),
    KeyError("code"),
    RuntimeError("Connection closed."),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_stream_outlives_its_failure_and_counts_it(failure: Exception) -> None:
    script = Script([LISTED, failure], [LISTED])
    assert await script.next_round() == ["listed"]
    assert script.errors() == 1
    assert await script.next_round() == ["listed"]
    assert script.errors() == 1


async def test_a_stream_that_keeps_failing_starts_ever_later(caplog: pytest.LogCaptureFixture) -> None:
    rounds: list[list[Event | BaseException]] = [[kopf_watching.WatchingError("etcd lost")] for _ in range(3)]
    script = Script(*rounds)
    for _ in range(3):
        await script.next_round()
    assert [f"next in {pause} s" in m for pause, m in zip(("0.1", "0.2", "0.4"), caplog.messages, strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("passing", [asyncio.CancelledError(), RuntimeError("a bug")], ids=["canceled", "a-bug"])
async def test_what_is_no_failure_of_a_watch_is_passed_on(passing: BaseException) -> None:
    script = Script([passing])
    with pytest.raises(type(passing)):
        await script.next_round()
    assert script.errors() == 0


async def test_kopf_streams_through_ours_as_long_as_it_runs_and_no_longer() -> None:
    original, streams = kopf_watching.continuous_watch, Script().streams
    with wrapped_streams(streams):
        assert cast(Any, kopf_watching).continuous_watch == streams.stream
    assert kopf_watching.continuous_watch is original


TWO = Scope(("shop", "lab"), "lab", reads_nodes=False)
FORBIDDEN = RefusedError(None, status=403, headers={})


async def test_the_list_of_one_namespace_says_nothing_about_another() -> None:
    script = Script([event(None, 7, "b", "lab"), LISTED], [LISTED], scope=TWO)
    script.indices.put("Service", service(5))
    script.indices.put("Service", service(6, "a", "lab"))
    assert await script.next_round("lab") == ["knows b", "forgets a", "listed"]
    assert await script.next_round("shop") == ["forgets sentiment", "listed"]
    assert script.listed == ["lab", "shop"]


@pytest.mark.parametrize(
    ("scope", "plural", "asked", "listed"),
    [
        pytest.param(TWO, "leases", "lab", ["lab"], id="the-lease-in-its-namespace"),
        pytest.param(TWO, "leases", "shop", [], id="no-leases-elsewhere"),
        pytest.param(Scope((), "lab"), "leases", None, ["lab"], id="the-lease-of-a-whole-cluster"),
        pytest.param(TWO, "nodes", None, [], id="no-nodes"),
        pytest.param(Scope(("shop",), "lab"), "services", "lab", [], id="no-services-beside-the-lease"),
    ],
)
async def test_what_is_not_to_be_read_is_an_empty_list_and_never_asked_for(
    scope: Scope, plural: str, asked: str | None, listed: list[str]
) -> None:
    script = Script([LISTED], scope=scope)
    resource = kopf.Resource(group="", version="v1", plural=plural)
    waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stream = script.streams.stream(resource=resource, namespace=asked, operator_pause_waiter=waiter)
    assert await anext(stream) is LISTED
    assert script.listed == listed
    waiter.set_result(None)
    assert [step async for step in stream] == []


async def test_a_namespace_that_may_not_be_read_is_asked_about_ever_more_rarely_and_holds_up_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script([LISTED], scope=TWO)
    script.refusals["shop"] = 7
    for stream in script.feed.scope.streams:
        if stream.namespace == "lab":
            script.feed.end_list(stream)
    assert not script.feed.synced.is_set()
    assert await script.next_round("shop") == ["listed"]
    assert script.pauses_s == [1, 2, 4, 8, 16, 30, 30]
    assert script.unsynced == [[]] * 7
    assert script.feed.synced.is_set()
    assert [message for message in caplog.messages if "may not" in message or "no role" in message] == [
        "namespace=shop is left alone until it may be read: no role in shop"
    ]


async def test_streams_of_a_namespace_share_one_question() -> None:
    script = Script([LISTED], [LISTED], [LISTED], [LISTED], scope=TWO)
    script.refusals["shop"] = 1
    await asyncio.gather(*(script.next_round("shop") for _ in range(4)))
    assert script.asked == ["shop", "shop"]
    assert len(script.listed) == 4


async def test_a_namespace_that_is_lost_is_asked_about_before_its_next_list() -> None:
    script = Script([LISTED, FORBIDDEN], [LISTED], scope=TWO)
    await script.next_round("shop")
    script.refusals["shop"] = 2
    await script.next_round("shop")
    assert script.asked == ["shop"] * 4
    assert script.listed == ["shop", "shop"]


async def test_a_kind_that_is_refused_in_a_namespace_that_is_not_is_told_from_the_second_time_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script([FORBIDDEN], [FORBIDDEN], [LISTED], scope=TWO)
    for _ in range(3):
        await script.next_round("shop")
    assert [message.partition(",")[0] for message in caplog.messages] == ["the watch of services in shop failed"]
    assert script.asked == ["shop"] * 3


async def test_a_refusal_in_a_whole_cluster_asks_nothing_more() -> None:
    script = Script([kopf_errors.APIForbiddenError(None, status=403, headers={})], [LISTED])
    await script.next_round()
    await script.next_round()
    assert (script.asked, script.listed) == ([], [None, None])


class Refusal:
    """What the API server answers to somebody without rights."""

    status, headers = 403, CIMultiDict[str]()

    def __init__(self, path: str) -> None:
        self.url = URL("http://127.0.0.1").with_path(path)

    async def json(self) -> dict[str, Any]:
        return {"kind": "Status", "message": "services is forbidden", "code": 403}

    def raise_for_status(self) -> None:
        info = RequestInfo(self.url, "GET", CIMultiDictProxy(CIMultiDict[str]()), self.url)
        raise ClientResponseError(info, ())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/api/v1/namespaces/shop/services", RefusedError, id="in-a-namespace"),
        pytest.param("/api/v1/services", kopf_errors.APIForbiddenError, id="everywhere"),
        pytest.param("/apis/apps/v1", kopf_errors.APIForbiddenError, id="the-apis-there-are"),
    ],
)
async def test_kopf_repeats_no_request_that_is_refused_in_a_namespace(path: str, expected: type[Exception]) -> None:
    original = kopf_errors.check_response
    with wrapped_streams(Script().streams), pytest.raises(kopf_errors.APIClientError) as caught:
        await kopf_errors.check_response(cast(ClientResponse, Refusal(path)))
    assert type(caught.value) is expected
    assert "services is forbidden" in str(caught.value)
    assert kopf_errors.check_response is original
