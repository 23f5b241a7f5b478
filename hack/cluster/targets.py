"""Which Kubernetes the commands speak to: CLUSTER=local (the default), kind, or current.

`local` is this package's own cluster. `kind` hands over to the kind program where Docker runs; it is kept to these few
lines and is less tested. `current` uses a cluster that exists, after the person at the terminal agreed to it by name.
"""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.settings import Settings

KIND_NAME = "neuron-serving"
TARGETS = ("local", "kind", "current")


def chosen() -> str:
    target = os.environ.get("CLUSTER") or "local"
    if target not in TARGETS:
        raise ClusterError(f"CLUSTER={target} is not known", f"use one of: {', '.join(TARGETS)}")
    return target


def kubeconfig(settings: Settings) -> Path:
    """The file whose only context is the chosen cluster."""
    return settings.admin_kubeconfig if chosen() == "local" else settings.cache / f"{chosen()}.kubeconfig"


def kind_up(settings: Settings) -> None:
    if KIND_NAME in _run("kind", "get", "clusters").split():
        _run("kind", "export", "kubeconfig", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig(settings)))
        return
    _run("kind", "create", "cluster", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig(settings)), "--wait", "120s")


def kind_load(images: Collection[str]) -> None:
    _run("kind", "load", "docker-image", "--name", KIND_NAME, *images)


def kind_down(settings: Settings) -> None:
    _run("kind", "delete", "cluster", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig(settings)))
    kubeconfig(settings).unlink(missing_ok=True)


def use_current(settings: Settings, kubectl: Path) -> None:
    """Pins the current context in a file of its own: a later `kubectl config use-context` changes nothing here."""
    context = _run(str(kubectl), "config", "current-context").strip()
    _confirm(context)
    pinned = _run(str(kubectl), "config", "view", "--minify", "--flatten", f"--context={context}")
    kubeconfig(settings).parent.mkdir(parents=True, exist_ok=True)
    kubeconfig(settings).touch(mode=0o600)
    kubeconfig(settings).write_text(pinned)


def word(settings: Settings) -> str:
    """up or down, for the targets that are not this package's own; somebody else's cluster is always up."""
    if chosen() == "kind":
        return "up" if KIND_NAME in _run("kind", "get", "clusters").split() else "down"
    return "up"


def _confirm(context: str) -> None:
    if os.environ.get("CLUSTER_CONFIRM") == context:
        return
    if not sys.stdin.isatty():
        raise ClusterError(
            f"CLUSTER=current would use the context {context}, and nobody is at a terminal to agree",
            f"set CLUSTER_CONFIRM={context} if that is the cluster you mean",
        )
    if input(f"Use the cluster of context {context}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ClusterError(f"context {context} was declined", "choose another: kubectl config use-context NAME")


def _run(*command: str) -> str:
    try:
        done = attempt(*command)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed", f"install {command[0]}, or leave CLUSTER unset") from None
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-800:]}", "see the message above")
    return done.stdout
