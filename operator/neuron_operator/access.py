"""Which of the watched namespaces may be read: found out with one question each, not with one for every kind.

A namespace that is not there, or has no role for us, is asked about ever more rarely, and read once it may be.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from neuron_operator.errors import ApiError, ForbiddenError
from neuron_operator.handlers import Feed
from neuron_operator.scope import Stream

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0


class ModelLists(Protocol):
    """What is asked of the API server."""

    async def serves_models(self, namespace: str = "") -> bool: ...


class Access:
    """Streams wait here before they ask for anything in a namespace."""

    def __init__(
        self, lists: ModelLists, feed: Feed, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._lists, self._feed, self._sleep = lists, feed, sleep
        self._readable = set[str]()
        self._asking = defaultdict[str, asyncio.Lock](asyncio.Lock)

    async def until_readable(self, stream: Stream) -> None:
        """Returns at once for what is not in one of the watched namespaces."""
        namespace, pause_s = stream.namespace, FIRST_PAUSE_S
        if namespace not in self._feed.scope.namespaces:
            return
        async with self._asking[namespace]:
            while namespace not in self._readable:
                refusal = await self._ask(namespace)
                if refusal is None:
                    self._readable.add(namespace)
                    break
                if pause_s == FIRST_PAUSE_S:
                    logger.warning("namespace=%s is left alone until it may be read: %s", namespace, refusal)
                self._feed.refuse(stream)
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            if pause_s > FIRST_PAUSE_S:
                logger.info("namespace=%s may be read", namespace)

    def doubt(self, stream: Stream) -> None:
        """Something in the stream's namespace may not be read: ask anew before the next list."""
        if stream.namespace in self._feed.scope.namespaces:
            self._readable.discard(stream.namespace)
            self._feed.refuse(stream)

    async def _ask(self, namespace: str) -> ForbiddenError | None:
        try:
            await self._lists.serves_models(namespace)
        except ForbiddenError as refusal:
            return refusal
        except ApiError:
            # The stream itself meets it next, and knows what to do about it.
            return None
        return None


async def serves_models(lists: ModelLists, namespaces: Iterable[str]) -> bool:
    """Whether the API server answers and knows our kind: asked in the first namespace that lets itself be read."""
    refusal = ForbiddenError("none of the watched namespaces can be read")
    for namespace in namespaces:
        try:
            return await lists.serves_models(namespace)
        except ForbiddenError as error:
            refusal = error
    raise refusal
