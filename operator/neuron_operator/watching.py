"""kopf, embedded: it lists and watches, and does nothing else.

`process.py` runs `watch` beside the workers. All of kopf's settings are here, each checked by name. kopf's own stream
of a resource is wrapped: the feed is told what it delivers, and a stream that fails starts again.
"""

import asyncio
import faulthandler
import inspect
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import aiohttp
import kopf
from kopf._cogs.clients import api as kopf_api
from kopf._cogs.clients import errors as kopf_errors
from kopf._cogs.clients import watching as kopf_watching
from pydantic_core import from_json

from neuron_operator.access import LONGEST_PAUSE_S, Access, serves_models
from neuron_operator.cluster import RESOURCES, ApiCluster, Ref
from neuron_operator.errors import ApiError, ForbiddenError, NotFoundError
from neuron_operator.handlers import Feed
from neuron_operator.indices import API_SERVICE, HPA, Body, Listing, key_of
from neuron_operator.metrics import Metrics
from neuron_operator.names import KIND, LABEL_AUTOMANAGED, LABEL_ELECTOR, LABEL_MODEL
from neuron_operator.scope import LEASE, NODE, OF_MODELS, Stream
from neuron_operator.workqueue import backoff_s

logger = logging.getLogger(__name__)

POLL_CRD_S: Final = 1.0
LONGEST_END_S: Final = 10.0
# A watch that lived this long before it failed starts again at once, like one that never failed.
GOOD_WATCH_S: Final = 60.0
# A service account's token lives for an hour; logging in again this often costs one read of a file.
LOGIN_AGAIN: Final = timedelta(minutes=5)
# Whoever is refused with a token asks for another at once, and gets the same as long as there is no newer one.
LOGIN_PAUSE_S: Final = 2.0
SELECTORS: Final[Mapping[str, str]] = {
    **dict.fromkeys(OF_MODELS, LABEL_MODEL), KIND: "", NODE: "", HPA: "", LEASE: LABEL_ELECTOR,
    API_SERVICE: LABEL_AUTOMANAGED,
}  # fmt: skip
KINDS: Final[Mapping[str, str]] = {RESOURCES[kind][1]: kind for kind in SELECTORS}
# What ends one watch: an ERROR event, an answer of the API server, a broken connection, a line that is no event.
WATCH_FAILURES: Final = (
    kopf_watching.WatchingError, kopf_errors.APIError, ApiError, aiohttp.ClientError, OSError, TimeoutError, ValueError,
    KeyError,
)  # fmt: skip
# What aiohttp says in the middle of an answer when the new login of another stream has closed the connections.
CLOSED: Final = "Connection closed."

# Of the API server, to say how far a watch has come; not an object.
BOOKMARK: Final = "BOOKMARK"

Event = kopf_watching.Bookmark | kopf.RawEvent


class FastJson:
    """In place of the module that kopf reads each line of a watch with, in half the time."""

    loads = staticmethod(from_json)


class RefusedError(kopf_errors.APIClientError):
    """403 in a single namespace, which kopf itself would ask for again and again, and complain about each time."""


async def watch(
    cluster: ApiCluster, feed: Feed, metrics: Metrics, identity: str, take_signals: Callable[[], None]
) -> None:
    """kopf, embedded: it only watches. Starts once the API server knows our kind."""
    await _wait_for_crd(cluster, feed.scope.asked_namespaces)
    with wrapped_streams(Streams(feed, metrics, Access(cluster, feed), cluster.get)):
        await _run_kopf(cluster, feed, identity, take_signals)


async def _run_kopf(cluster: ApiCluster, feed: Feed, identity: str, take_signals: Callable[[], None]) -> None:
    registry = kopf.OperatorRegistry()
    _watch_kinds(registry, feed.scope.kinds)
    logged_in_at = float("-inf")

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        nonlocal logged_in_at
        await asyncio.sleep(logged_in_at + LOGIN_PAUSE_S - _now())
        logged_in_at = _now()
        found = await cluster.credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
            token=found.token,
            proxy_url=found.proxy,
            expiration=datetime.now(UTC) + LOGIN_AGAIN if found.token else None,
        )

    others, namespaces = asyncio.all_tasks(), feed.scope.all_namespaces
    # Left to itself, kopf makes an identity of the user's name, which an arbitrary uid of OpenShift does not have.
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        identity=cast(Any, identity),
    )
    # kopf has put its own handlers in place of ours; stopping its way takes five seconds.
    take_signals()
    for task in tasks:
        task.add_done_callback(_end_soon)
    await kopf.run_tasks(tasks, ignored=others)


def _watch_kinds(registry: kopf.OperatorRegistry, kinds: Iterable[str]) -> None:
    """kopf watches what somebody wants to hear of. All of it is heard on the streams before, so nothing comes here."""

    async def hear(**_: Any) -> None:
        raise AssertionError("no object is passed on to kopf")

    for kind in kinds:
        api_version, plural = RESOURCES[kind]
        resource = (*api_version.split("/"), plural)
        kopf.on.event(*resource, id=plural, registry=registry)(hear)


@dataclass
class Streams:
    """kopf's stream of a resource, list and watches: what it delivers goes to the feed, and what it leaves out too."""

    feed: Feed
    metrics: Metrics
    access: Access
    read: Callable[[Ref], Awaitable[Body]]
    original: Callable[..., AsyncIterator[Event]] = field(default=kopf_watching.continuous_watch)
    chance: random.Random = field(default_factory=random.SystemRandom)
    _failures: dict[Stream, int] = field(default_factory=dict)

    async def stream(
        self,
        *,
        resource: kopf.Resource,
        namespace: str | None,
        operator_pause_waiter: asyncio.Future[Any],
        **options: Any,
    ) -> AsyncIterator[Event]:
        """In place of kopf's own, which ends at 410 Gone and is called again at once by kopf, also when this one ends.

        kopf gets to know that a list has ended, and no object: what it would do with each, a worker, a memory and the
        search for changes since its last handling, is more work than all of ours, for nothing that we use.
        Without it, an ERROR other than 410 would end the whole of kopf, and what is deleted between a 410 and the next
        list would never be told. kopf takes either every kind in each namespace or every kind everywhere: what is not
        to be read is an empty list here, and silence.
        """
        stream = self.feed.scope.stream_for(KINDS[resource.plural], namespace)
        if stream is None:
            yield kopf_watching.Bookmark.LISTED
            await asyncio.wait([operator_pause_waiter])
            return
        await self.access.until_readable(stream)
        options |= {"resource": resource, "namespace": stream.namespace or None}
        began_at, listing = _now(), self.feed.begin_list(stream)
        try:
            original = self.original(operator_pause_waiter=operator_pause_waiter, **options)
            async with aclosing(cast(Any, original)) as events:
                async for event in events:
                    if event is kopf_watching.Bookmark.LISTED:
                        await self._prove(stream, listing)
                    self._take(stream, listing, event)
                    if isinstance(event, kopf_watching.Bookmark):
                        yield event
        except (*WATCH_FAILURES, RuntimeError) as failure:
            if isinstance(failure, RuntimeError) and str(failure) != CLOSED:
                raise
            if _now() - began_at > GOOD_WATCH_S:
                self._failures.pop(stream, None)
            await asyncio.sleep(self._failed(stream, failure))

    async def _prove(self, stream: Stream, listing: Listing) -> None:
        """What only the answer to a write of ours has told, and not the list, is there or gone for good."""
        for body in listing.unproven():
            try:
                self.feed.know(stream.kind, await self.read(Ref(stream.kind, *key_of(body))))
            except NotFoundError:
                self.feed.forget(stream.kind, body)

    def _take(self, stream: Stream, listing: Listing, event: Event) -> None:
        """Tell the feed; at the end of a list also of the deletions that nobody told."""
        self.feed.told(stream)
        if event is kopf_watching.Bookmark.LISTED:
            for body in listing.gone():
                self.feed.forget(stream.kind, body)
            self.feed.end_list(stream)
        elif isinstance(event, kopf_watching.Bookmark) or event["type"] == BOOKMARK:
            return
        elif event["type"] == "DELETED":
            self.feed.forget(stream.kind, event["object"])
        else:
            if event["type"] is None:
                listing.saw(event["object"])
            self.feed.know(stream.kind, event["object"])

    def _failed(self, stream: Stream, failure: Exception) -> float:
        """How long to wait before the next list."""
        is_refused = isinstance(failure, RefusedError)
        if is_refused:
            self.access.doubt(stream)
        self.metrics.watch_errors.labels(stream.kind).inc()
        self._failures[stream] = self._failures.get(stream, 0) + 1
        pause_s = min(backoff_s(self._failures[stream], self.chance.random()), LONGEST_PAUSE_S)
        where = f" in {stream.namespace}" if stream.namespace else ""
        # Whether it is all of the namespace that may not be read is asked next, and told once.
        level = logging.DEBUG if is_refused and self._failures[stream] == 1 else logging.WARNING
        message = "the watch of %s%s failed, next in %.1f s: %s"
        logger.log(level, message, RESOURCES[stream.kind][1], where, pause_s, failure)
        return pause_s


@contextmanager
def wrapped_streams(streams: Streams) -> Iterator[None]:
    """kopf offers no place to put a stream or a refusal into, so its functions are replaced while it runs;
    pyproject.toml pins kopf to the minor version whose functions these are."""
    stream, check = kopf_watching.continuous_watch, kopf_errors.check_response
    json = cast(Any, kopf_api).json
    expected = {"settings", "resource", "namespace", "operator_pause_waiter"}
    assert set(inspect.signature(stream).parameters) == expected, "kopf's stream takes other arguments now"
    assert set(inspect.signature(check).parameters) == {"response"}, "kopf checks responses in another way now"

    assert "json.loads(line." in inspect.getsource(kopf_api.stream), (
        "kopf reads the lines of a watch in another way now"
    )

    async def check_response(response: aiohttp.ClientResponse) -> None:
        try:
            await check(response)
        except kopf_errors.APIForbiddenError as error:
            if "/namespaces/" not in response.url.path:
                raise
            raise RefusedError(error.message, status=error.status, headers=error.headers) from error

    cast(Any, kopf_watching).continuous_watch, cast(Any, kopf_errors).check_response = streams.stream, check_response
    cast(Any, kopf_api).json = FastJson
    try:
        yield
    finally:
        cast(Any, kopf_watching).continuous_watch, cast(Any, kopf_errors).check_response = stream, check
        cast(Any, kopf_api).json = json


def _end_soon(_: asyncio.Task[Any]) -> None:
    """A part of kopf that fails, which a watch does not do any more, may take the credentials from the others: they ask
    for them forever and can't be canceled. A process that neither works nor ends would not be replaced, so it ends in
    any case, with a failure."""
    faulthandler.dump_traceback_later(LONGEST_END_S, exit=True)


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    _set(settings.posting, enabled=False)
    _set(settings.scanning, disabled=True)
    # The streams start again whatever happens, so a long row of ever longer pauses only delays the end of an outage.
    _set(settings.networking, error_backoffs=(1, 1, 2, 3, 5), enforce_retry_after=True)
    _set(settings.networking, request_timeout=30.0, connect_timeout=10.0)
    # Bookmarks come once a minute, so a stream that says nothing for longer is dead; kopf gives up on it after 70 s.
    _set(settings.watching, server_timeout=540, client_timeout=570, connect_timeout=10.0, chunk_size=500)
    _set(settings.queueing, idle_timeout=1.0, exit_timeout=0.5)
    for kind, selector in SELECTORS.items():
        if selector:
            api_version, plural = RESOURCES[kind]
            settings.watching.label_selectors[f"{api_version}/{plural}"] = selector
    return settings


def _set(group: Any, **values: Any) -> None:
    """kopf's settings are plain dataclasses, where a misspelled name is silently a new attribute."""
    assert is_dataclass(group), f"{group!r} is not one of kopf's settings"
    known = {field.name for field in fields(group)}
    for name, value in values.items():
        assert name in known, f"kopf has no setting {type(group).__name__}.{name}"
        setattr(group, name, value)


async def _wait_for_crd(cluster: ApiCluster, namespaces: Sequence[str]) -> None:
    told, refusals = False, 0
    while True:
        try:
            if await serves_models(cluster, namespaces):
                return
            problem = "the API server does not know NeuronModels: install the CRD"
        except ApiError as error:
            problem, refusals = str(error), refusals + isinstance(error, ForbiddenError)
        if not told:
            logger.warning("waiting: %s", problem)
        told = True
        # A definition may come at any moment; rights that are not granted, or are granted on demand, are no such hurry.
        await asyncio.sleep(min(POLL_CRD_S * 2**refusals, LONGEST_PAUSE_S))


def _now() -> float:
    return asyncio.get_running_loop().time()
