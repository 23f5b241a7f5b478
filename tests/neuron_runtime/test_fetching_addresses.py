"""Addresses of artifacts: what is taken, what is refused with which words, what is never shown."""

import pytest

from neuron_runtime.fetching.addresses import parse_address
from neuron_runtime.termination import FatalError, Reason


@pytest.mark.parametrize(
    ("uri", "shown", "manifest"),
    [
        ("s3://models/sentiment/3/", "s3://models/sentiment/3/", "sentiment/3/model.json"),
        ("s3://models/sentiment/3", "s3://models/sentiment/3/", "sentiment/3/model.json"),
        ("s3://models", "s3://models/", "model.json"),
        ("s3://models/3/model.json", "s3://models/3/", "3/model.json"),
        ("https://host/a/model.json?sig=x", "https://host/a/", "a/model.json"),
        ("https://host:8443/a", "https://host:8443/a/", "a/model.json"),
        ("http://store.models.svc/a", "http://store.models.svc/a/", "a/model.json"),
        ("http://store.models.svc.cluster.local/a", "http://store.models.svc.cluster.local/a/", "a/model.json"),
        ("http://127.0.0.1:9/a", "http://127.0.0.1:9/a/", "a/model.json"),
        ("http://[::1]:9/a", "http://[::1]:9/a/", "a/model.json"),
        ("pvc://claim/sub/path", "pvc://claim/sub/path/", "sub/path/model.json"),
        ("HTTPS://host/a", "https://host/a/", "a/model.json"),
    ],
)
def test_a_directory_address_leads_to_its_manifest(uri: str, shown: str, manifest: str) -> None:
    address = parse_address(uri)
    assert (address.shown, address.object_path("model.json"), address.is_archive) == (shown, manifest, False)


@pytest.mark.parametrize("uri", ["s3://models/m.tar", "https://host/m.tar.gz?X-Amz-Signature=s", "pvc://claim/m.tgz"])
def test_an_archive_is_one_object(uri: str) -> None:
    address = parse_address(uri)
    assert address.is_archive
    assert address.shown == uri.partition("?")[0]
    assert address.object_path("") == uri.partition("?")[0].split("/", 3)[3]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        pytest.param("hf://org/model", "hf:// artifacts are not supported yet", id="not yet hf"),
        pytest.param("oci://registry/model", "oci:// artifacts are not supported yet", id="not yet oci"),
        pytest.param("ftp://host/x", "ftp://, which is no known scheme. Use https://, s3:// or pvc://", id="unknown"),
        pytest.param("/model", "starts with nothing", id="no scheme"),
        pytest.param("http://example.com/x", "plain http", id="plain http elsewhere"),
        pytest.param("http://svc/x", "plain http", id="plain http to a host called svc"),
        pytest.param("http://evil.svc.example.com/x", "plain http", id="plain http that only looks like a service"),
        pytest.param("https:///x", "names no host", id="no host"),
        pytest.param("s3:///x", "names no bucket", id="no bucket"),
        pytest.param("pvc:///x", "names no claim", id="no claim"),
        pytest.param("s3://models/x?versionId=1", "no query", id="query on s3"),
        pytest.param("pvc://claim/../other", "climbs", id="climbing"),
        pytest.param("https://host/%2e%2e/x", "climbs", id="climbing, escaped"),
        pytest.param("https://host:port/x", "cannot be read", id="bad port"),
        pytest.param("https://[::1/x", "cannot be read", id="bad address"),
    ],
)
def test_an_address_is_refused_with_the_reason_and_the_way_out(uri: str, said: str) -> None:
    with pytest.raises(FatalError) as caught:
        parse_address(uri)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert said in str(caught.value)


def test_secrets_in_an_address_are_neither_used_nor_repeated() -> None:
    with pytest.raises(FatalError) as caught:
        parse_address("https://user:hunter2@host/x?token=hunter2")
    assert "hunter2" not in str(caught.value)
    assert "user" not in caught.value.message.replace("user name", "")
    assert "hunter2" not in parse_address("https://host/x?token=hunter2").shown_file("model.json")
