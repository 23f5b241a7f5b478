"""The command line: `python -m cluster up`, with hack/ on PYTHONPATH. Every command is safe to repeat.

Decides which target a command speaks to, takes the lock for those that change something, and prints errors.
"""

import argparse
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster import (
    binaries,
    bringup,
    components,
    emulator_files,
    loading,
    packages,
    pause_image,
    preflight,
    status,
    targets,
    teardown,
)
from cluster.errors import ClusterError
from cluster.progress import say
from cluster.settings import Settings, from_environment


def up(settings: Settings, arguments: argparse.Namespace) -> None:
    if targets.chosen() == "kind":
        binaries.build(settings, binaries.CLIENTS)
        targets.kind_up(settings)
    elif targets.chosen() == "current":
        targets.use_current(settings, binaries.build(settings, binaries.CLIENTS) / "kubectl")
    else:
        preflight.check(settings)
        packages.ensure(packages.FOR_CLUSTER)
        folder = binaries.build(settings)
        emulator_files.prepare(settings)
        bringup.up(settings, folder)
        say(f"up: kubeconfig {settings.admin_kubeconfig}")


def down(settings: Settings, arguments: argparse.Namespace) -> None:
    if targets.chosen() == "kind":
        targets.kind_down(settings)
    elif targets.chosen() == "current":
        raise ClusterError("CLUSTER=current is not this tool's cluster to take down", "remove what you installed there")
    elif os.geteuid() != 0:
        raise ClusterError(f"taking the cluster down takes root, and this is user {os.geteuid()}", "run it as root")
    else:
        was_there = teardown.down(settings)
        say("down: nothing of the cluster is left" if was_there else "down: there was no cluster")


def show_status(settings: Settings, arguments: argparse.Namespace) -> None:
    if targets.chosen() != "local":
        print(targets.word(settings))
        return
    folder = binaries.binaries_directory(settings)
    print(status.word(settings, folder) if arguments.quiet else status.report(settings, folder))


def logs(settings: Settings, arguments: argparse.Namespace) -> None:
    status.show_logs(settings, arguments.component, lines=arguments.lines, follow=arguments.follow)


def load(settings: Settings, arguments: argparse.Namespace) -> None:
    if targets.chosen() == "kind":
        targets.kind_load(arguments.images)
    elif targets.chosen() == "current":
        raise ClusterError(
            "images cannot be loaded into somebody else's nodes",
            "push them to a registry that the cluster pulls from, and set image.repository and runtime.image",
        )
    else:
        packages.ensure(packages.FOR_IMAGES)
        loading.load(settings, arguments.images)


def stop(settings: Settings, arguments: argparse.Namespace) -> None:
    name = _known(settings, arguments.component)
    was_running = components.stop(settings, name, grace_s=0 if arguments.kill else 10)
    say(f"{name}: {'stopped' if was_running else 'was not running'}")


def start(settings: Settings, arguments: argparse.Namespace) -> None:
    name = _known(settings, arguments.component)
    plan = {one.name: one for one in bringup.plan(settings, binaries.binaries_directory(settings))}
    say(f"{name}: {'started' if components.start(settings, plan[name]) else 'runs already'}")


def show_binaries(settings: Settings, arguments: argparse.Namespace) -> None:
    left = binaries.missing(settings, binaries.BINARIES if targets.chosen() == "local" else binaries.CLIENTS)
    if left:
        names = ", ".join(binary.name for binary in left)
        raise ClusterError(f"not built yet: {names}", "run `make cluster-up`, for another CLUSTER with that set")
    print(binaries.binaries_directory(settings))


def show_kubeconfig(settings: Settings, arguments: argparse.Namespace) -> None:
    path = targets.kubeconfig(settings)
    if not path.exists():
        raise ClusterError(f"there is no {path}", "run `python -m cluster up` first")
    print(path)


def build(settings: Settings, arguments: argparse.Namespace) -> None:
    packages.ensure(packages.FOR_INTEGRATION)
    binaries.build(settings)
    if shutil.which("gcc"):
        pause_image.pause_archive(settings)


Command = Callable[[Settings, argparse.Namespace], None]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cluster", description="A real Kubernetes on this machine.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, text: str, *, changes: bool = False) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run, changes=changes)
        return one

    command("up", up, "build what is missing, then start everything", changes=True)
    command("down", down, "stop everything and leave nothing behind", changes=True)
    command("status", show_status, "what runs, what does not").add_argument(
        "--quiet", action="store_true", help="one word: up, partly or down"
    )
    show = command("logs", logs, "the end of every log, or of one")
    show.add_argument("component", nargs="?")
    show.add_argument("-n", "--lines", type=int, default=20)
    show.add_argument("-f", "--follow", action="store_true")
    bring = command("load", load, "bring images into every node", changes=True)
    bring.add_argument("images", nargs="+", metavar="IMAGE")
    halt = command("stop", stop, "end one process of the cluster", changes=True)
    halt.add_argument("component")
    halt.add_argument("--kill", action="store_true", help="SIGKILL at once")
    command("start", start, "start one process of the cluster again", changes=True).add_argument("component")
    command("build", build, "build the programs, and install what the integration tests need", changes=True)
    command("bin", show_binaries, "print the folder of the programs")
    command("kubeconfig", show_kubeconfig, "print the path of the kubeconfig")
    return top


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """One change at a time: two `up` at once would start everything twice."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    with settings.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another cluster command is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(settings: Settings, name: str) -> str:
    names = [one.name for one in bringup.plan(settings, binaries.binaries_directory(settings))]
    if name not in names:
        raise ClusterError(f"no component is called {name}", f"one of: {', '.join(names)}")
    if not settings.before.exists():
        raise ClusterError("the cluster is down", "run `python -m cluster up` first")
    return name


def main() -> int:
    arguments = parser().parse_args()
    settings = from_environment(os.environ)
    # Some ways of becoming root leave out the folders of the programs that only root needs.
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    try:
        if arguments.changes:
            with _locked(settings):
                arguments.run(settings, arguments)
        else:
            arguments.run(settings, arguments)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
