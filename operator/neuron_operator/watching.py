"""kopf, embedded: it watches and keeps the indices filled, and does nothing else.

`process.py` runs `watch` beside the workers. All of kopf's settings are here, each checked by name.
"""

import asyncio
import faulthandler
import logging
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import kopf

from neuron_operator.cluster import RESOURCES, ApiCluster
from neuron_operator.errors import ApiError
from neuron_operator.handlers import WATCHED, Feed, register
from neuron_operator.names import KIND, LABEL_MODEL

logger = logging.getLogger(__name__)

POLL_CRD_S: Final = 1.0
LONGEST_END_S: Final = 10.0
# A service account's token lives for an hour; logging in again this often costs one read of a file.
LOGIN_AGAIN: Final = timedelta(minutes=5)


async def watch(
    cluster: ApiCluster, feed: Feed, started: asyncio.Event, identity: str, take_signals: Callable[[], None]
) -> None:
    """kopf, embedded: it only watches. Starts once the API server knows our kind."""
    await _wait_for_crd(cluster)
    registry = kopf.OperatorRegistry()
    register(registry, feed)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await cluster.credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
            token=found.token,
            expiration=datetime.now(UTC) + LOGIN_AGAIN if found.token else None,
        )

    others = asyncio.all_tasks()
    # Left to itself, kopf makes an identity of the user's name, which an arbitrary uid of OpenShift does not have.
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=True,
        ready_flag=started,
        identity=cast(Any, identity),
    )
    # kopf has put its own handlers in place of ours; stopping its way takes five seconds.
    take_signals()
    for task in tasks:
        task.add_done_callback(_end_soon)
    await kopf.run_tasks(tasks, ignored=others)


def _end_soon(_: asyncio.Task[Any]) -> None:
    """When a watch fails, kopf may take the credentials from the others, which then ask for them forever and can't be
    canceled: a process that neither works nor ends would not be replaced, so it ends in any case, with a failure."""
    faulthandler.dump_traceback_later(LONGEST_END_S, exit=True)


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    _set(settings.posting, enabled=False)
    _set(settings.scanning, disabled=True)
    _set(settings.networking, request_timeout=30.0, connect_timeout=10.0, enforce_retry_after=True)
    # Bookmarks come once a minute, so a stream that says nothing for longer is dead.
    _set(settings.watching, server_timeout=540, client_timeout=570, connect_timeout=10.0, chunk_size=500)
    _set(settings.queueing, idle_timeout=1.0, exit_timeout=0.5)
    for kind in WATCHED:
        if kind not in (KIND, "Node"):
            api_version, plural = RESOURCES[kind]
            settings.watching.label_selectors[f"{api_version}/{plural}"] = LABEL_MODEL
    return settings


def _set(group: Any, **values: Any) -> None:
    """kopf's settings are plain dataclasses, where a misspelled name is silently a new attribute."""
    assert is_dataclass(group), f"{group!r} is not one of kopf's settings"
    known = {field.name for field in fields(group)}
    for name, value in values.items():
        assert name in known, f"kopf has no setting {type(group).__name__}.{name}"
        setattr(group, name, value)


async def _wait_for_crd(cluster: ApiCluster) -> None:
    told = False
    while True:
        try:
            if await cluster.serves_models():
                return
            problem = "the API server does not know NeuronModels: install the CRD"
        except ApiError as error:
            problem = str(error)
        if not told:
            logger.warning("waiting: %s", problem)
        told = True
        await asyncio.sleep(POLL_CRD_S)
