"""Brings images from buildah's store, or from an archive, into every node: only the layers a node lacks travel.

The command behind `load`. Archives are kept in the cache under the image's id, so that a fresh cluster gets them
without asking buildah again. A layer is named by the digest of its uncompressed content, on both sides.
"""

import dataclasses
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cluster import nodes, oci
from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.progress import say
from cluster.settings import NODES, Node, Settings


@dataclasses.dataclass(frozen=True)
class Archive:
    """A docker-archive on disk: what `buildah push … docker-archive:` writes, with uncompressed layers."""

    path: Path
    name: str


def load(settings: Settings, images: Collection[str]) -> None:
    for image in images:
        started = time.monotonic()
        archive = _archive_of(settings, image)
        with ThreadPoolExecutor() as pool:
            results = list(pool.map(lambda node, one=archive: import_missing(settings, node, one), NODES))
        sizes = ", ".join(
            f"{node.name} {size / 1e6:.1f} MB" if size is not None else f"{node.name} has it"
            for node, size in zip(NODES, results, strict=True)
        )
        say(f"{archive.name}: {sizes} in {time.monotonic() - started:.1f} s")


def import_missing(settings: Settings, node: Node, archive: Archive) -> int | None:
    """Bytes of layers that went in, or None when the node has exactly this image under this name already."""
    with tarfile.open(archive.path) as source:
        configuration, members = read_docker_archive(source)
        if _current_configuration(settings, node, archive.name) == oci.digest_of(configuration):
            return None
        have = frozenset(_ctr(settings, node, "content", "ls", "-q").split())
        with _importing(settings, node, archive) as target:
            return oci.write_archive(target, archive.name, configuration, _layers(source, configuration, members, have))


def read_docker_archive(source: tarfile.TarFile) -> tuple[bytes, tuple[tarfile.TarInfo, ...]]:
    """The image's configuration, and the tar members of its layers, lowest first."""
    manifest = json.loads(_read(source, "manifest.json"))[0]
    return _read(source, manifest["Config"]), tuple(_member(source, name) for name in manifest["Layers"])


def _layers(
    source: tarfile.TarFile, configuration: bytes, members: tuple[tarfile.TarInfo, ...], have: frozenset[str]
) -> Iterator[oci.Layer]:
    digests = json.loads(configuration)["rootfs"]["diff_ids"]
    for digest, member in zip(digests, members, strict=True):
        content = None if digest in have else source.extractfile(member)
        yield oci.Layer(digest, member.size, content)


def _member(source: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """A layer that occurs twice may be a link to its first copy, relative to where the link lies."""
    member = source.getmember(name)
    while member.issym():
        member = source.getmember(posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname)))
    return member


def _read(source: tarfile.TarFile, name: str) -> bytes:
    file = source.extractfile(name)
    assert file is not None, f"{name} is a file in every docker-archive"
    return file.read()


def _archive_of(settings: Settings, image: str) -> Archive:
    path = Path(image)
    if path.is_file():
        return Archive(path, _name_in(path))
    found = attempt("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", image)
    if found.returncode != 0:
        raise ClusterError(
            f"{image} is neither a file nor an image in buildah's store",
            "build it first: `python -m images build operator` or `… runtime`",
        )
    return Archive(_pushed(settings, image, found.stdout.strip()), node_name(image))


def node_name(image: str) -> str:
    """buildah calls a local image localhost/…; a pod's `image: x/y:dev` means docker.io/x/y:dev."""
    return image if not image.startswith("localhost/") else f"docker.io/{image.removeprefix('localhost/')}"


def _name_in(path: Path) -> str:
    try:
        with tarfile.open(path) as source:
            tags = json.loads(_read(source, "manifest.json"))[0]["RepoTags"]
    except (KeyError, TypeError, ValueError, tarfile.TarError) as error:
        raise ClusterError(f"{path} is not a docker-archive", f"buildah push IMAGE docker-archive:{path}") from error
    if not tags:
        raise ClusterError(f"{path} holds an image without a name", f"buildah push IMAGE docker-archive:{path}:NAME")
    return node_name(tags[0])


def _pushed(settings: Settings, image: str, identifier: str) -> Path:
    """The archive of this very image; archives of the name's earlier images are dropped."""
    folder = settings.image_archives / node_name(image).replace("/", "_").replace(":", "_")
    archive = folder / f"{identifier[:12]}.tar"
    if not archive.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        partial = folder / f".{os.getpid()}"
        done = attempt("buildah", "push", "--quiet", image, f"docker-archive:{partial}")
        if done.returncode != 0:
            raise ClusterError(f"buildah could not write {image}: {done.stderr[-500:]}", "is the disk full? `df -h`")
        partial.replace(archive)
    return archive


def _current_configuration(settings: Settings, node: Node, name: str) -> str | None:
    """The digest of the image's configuration as this node has it under that name."""
    rows = (line.split() for line in _ctr(settings, node, "images", "ls", f"name=={name}").splitlines()[1:])
    manifest = next((row[2] for row in rows if row[0] == name), None)
    if manifest is None:
        return None
    digest: str = json.loads(_ctr(settings, node, "content", "get", manifest))["config"]["digest"]
    return digest


def _ctr(settings: Settings, node: Node, *arguments: str) -> str:
    done = attempt("ctr", *arguments, environment=nodes.environment_for_node_tools(settings, node))
    if done.returncode != 0:
        raise ClusterError(
            f"containerd of {node.name} did not answer `ctr {' '.join(arguments)}`: {done.stderr[-500:]}",
            "is the cluster up? `python -m cluster status`; if not, `python -m cluster up`",
        )
    return done.stdout


@contextmanager
def _importing(settings: Settings, node: Node, archive: Archive) -> Iterator[IO[bytes]]:
    """A pipe into `ctr images import`; its failure, seen at the end, is ours."""
    process = subprocess.Popen(
        ["ctr", "images", "import", "-"],
        env=nodes.environment_for_node_tools(settings, node),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdin
    except BrokenPipeError:
        pass
    finally:
        process.stdin.close()
        output = process.stdout.read().decode(errors="replace")
        code = process.wait()
    if code != 0:
        raise ClusterError(
            f"containerd of {node.name} did not take {archive.name}: {output[-500:]}",
            f"python -m cluster logs {node.name}-containerd",
        )
