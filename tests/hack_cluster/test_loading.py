"""Archives are read right and only what a node lacks is written; the way into containerd is an end-to-end test."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import loading, oci
from cluster.errors import ClusterError
from cluster.settings import Settings


def tar_of(*entries: tuple[str, bytes | str]) -> bytes:
    """Bytes make a file, text makes a symbolic link to that name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def written(layers: list[bytes], have: frozenset[str]) -> tuple[int, dict[str, bytes]]:
    """What write_archive made of layers of which some are there already: its result, and the tar's files."""
    described = [
        oci.Layer(digest, len(content), None if digest in have else io.BytesIO(content))
        for content in layers
        for digest in (oci.digest_of(content),)
    ]
    target = io.BytesIO()
    size = oci.write_archive(target, "docker.io/test/x:dev", b'{"os": "linux"}', described)
    target.seek(0)
    files = {}
    with tarfile.open(fileobj=target) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            files[member.name] = content.read()
    return size, files


@settings(max_examples=50)
@given(layers=st.lists(st.binary(max_size=64), max_size=6, unique=True), data=st.data())
def test_archive_names_every_layer_and_carries_those_that_are_lacking(layers: list[bytes], data: st.DataObject) -> None:
    digests = [oci.digest_of(layer) for layer in layers]
    have = data.draw(st.frozensets(st.sampled_from(digests))) if digests else frozenset()
    size, files = written(layers, have)
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    assert [layer["digest"] for layer in manifest["layers"]] == digests
    carried = {name.removeprefix("blobs/sha256/") for name in files} & {one.removeprefix("sha256:") for one in digests}
    assert carried == {one.removeprefix("sha256:") for one in digests if one not in have}
    assert size == sum(len(layer) for layer, digest in zip(layers, digests, strict=True) if digest not in have)
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert oci.digest_of(content) == name.removeprefix("blobs/").replace("/", ":")


def test_layer_that_is_a_link_is_followed_to_its_content() -> None:
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [], "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode()
    packed = tar_of(
        ("a/layer.tar", "../one.tar"),
        ("one.tar", b"1"),
        ("b/layer.tar", b"22"),
        ("c.json", b"{}"),
        ("manifest.json", manifest),
    )
    with tarfile.open(fileobj=io.BytesIO(packed)) as source:
        configuration, members = loading.read_docker_archive(source)
    assert configuration == b"{}"
    assert [(member.name, member.size) for member in members] == [("one.tar", 1), ("b/layer.tar", 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(tar_of(("index.json", b"{}")), "is not a docker-archive", id="another-format"),
        pytest.param(tar_of(("manifest.json", b'[{"RepoTags": []}]')), "without a name", id="no-name"),
        pytest.param(b"not a tar at all", "is not a docker-archive", id="not-a-tar"),
    ],
)
def test_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(ClusterError, match=message) as raised:
        loading.load(Settings(cache=tmp_path, state=tmp_path / "state"), [str(path)])
    assert "buildah push" in raised.value.next_step


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("localhost/neuron-serving/operator:dev", "docker.io/neuron-serving/operator:dev"),
        ("docker.io/neuron-serving/operator:dev", "docker.io/neuron-serving/operator:dev"),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
    ],
)
def test_node_knows_the_image_by_the_name_that_a_pod_writes(given_name: str, expected: str) -> None:
    assert loading.node_name(given_name) == expected
