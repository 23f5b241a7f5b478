"""Fetching from a real TLS web server: redirects, ranges, broken connections, certificates, and what is never said."""

import io
import logging
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle_files import write_bundle
from integration.web_server import SIGNATURE, WebServer
from neuron_runtime.artifacts import load_bundle
from neuron_runtime.fetching.transfer import Request, fetch
from neuron_runtime.termination import FatalError, Reason

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with WebServer(tmp_path / "served", tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
        yield server


def get(web: WebServer, folder: Path, path: str, max_bytes: int | None = None) -> str:
    request = Request(f"{web.url}/{path}", folder / "dest", max_bytes=max_bytes, timeout_seconds=240.0)
    return fetch(request).digest


def refusal(web: WebServer, folder: Path, path: str, max_bytes: int | None = None) -> FatalError:
    with pytest.raises(FatalError) as caught:
        get(web, folder, path, max_bytes)
    assert not (folder / "dest" / "model.json").exists()
    return caught.value


@pytest.mark.parametrize("manner", ["plain", "moved", "flaky", "cut", "wholly"])
def test_a_bundle_arrives_whole_however_the_server_behaves(web: WebServer, tmp_path: Path, manner: str) -> None:
    digest = write_bundle(tmp_path / "served")
    assert get(web, tmp_path, f"{manner}/") == digest
    assert load_bundle(tmp_path / "dest").digest == digest


def test_a_broken_download_is_continued_not_repeated(web: WebServer, tmp_path: Path) -> None:
    write_bundle(tmp_path / "served")
    get(web, tmp_path, "cut/")
    assert [span for path, span in web.requests if path == "/cut/parts/batch-4.pt"] == [None, "bytes=1500000-"]


def test_a_broken_tar_download_is_continued_too(web: WebServer, tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "bundle")
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "m.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bundle", "doubler")
    assert get(web, tmp_path, "cut/m.tar.gz") == digest
    assert len(web.requests) == 2


def test_a_signed_address_is_used_whole_and_shown_without_its_signature(
    web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = write_bundle(tmp_path / "served")
    with caplog.at_level(logging.INFO, "neuron_runtime"):
        assert get(web, tmp_path, f"signed/?{SIGNATURE}") == digest
    shown = [str(vars(record)) for record in caplog.records if record.name.startswith("neuron_runtime")]
    assert any("/signed/" in line for line in shown)
    assert "s3cr3t" not in "".join(shown)
    assert "s3cr3t" not in str(refusal(web, tmp_path / "other", "signed/?X-Signature=s3cr3t-but-expired"))


@pytest.mark.parametrize(
    ("path", "reason", "said"),
    [
        pytest.param("plain/nothing/", Reason.ARTIFACT_NOT_FOUND, "nothing/model.json answers 404", id="404"),
        pytest.param("private/", Reason.ARTIFACT_UNAUTHORIZED, "answers 403", id="403"),
        pytest.param("teapot/", Reason.ARTIFACT_UNREACHABLE, "answers 418", id="418"),
        pytest.param("downgrade/", Reason.INVALID_CONFIGURATION, "plain http", id="redirect to http"),
        pytest.param("loop/", Reason.ARTIFACT_UNREACHABLE, "redirects more than 5", id="redirect loop"),
    ],
)
def test_a_refusal_is_told_at_once_in_its_own_words(
    web: WebServer, tmp_path: Path, path: str, reason: Reason, said: str
) -> None:
    write_bundle(tmp_path / "served")
    error = refusal(web, tmp_path, path)
    assert error.reason is reason
    assert said in error.message
    assert len(web.requests) <= 5


def test_a_file_that_is_missing_is_named(web: WebServer, tmp_path: Path) -> None:
    write_bundle(tmp_path / "served")
    (tmp_path / "served" / "parts" / "batch-4.pt").unlink()
    assert "/plain/parts/batch-4.pt answers 404" in refusal(web, tmp_path, "plain/").message


def test_a_page_instead_of_a_manifest_is_corrupt(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.json").write_text("<html>please log in</html>")
    error = refusal(web, tmp_path, "plain/")
    assert error.reason is Reason.ARTIFACT_CORRUPT
    assert "log in" not in str(error)


def test_an_endless_file_is_cut_off_at_its_size(web: WebServer, tmp_path: Path) -> None:
    write_bundle(tmp_path / "served")
    with (tmp_path / "served" / "batch-1.pt").open("ab") as file:
        file.write(b"\0" * 10_000_000)
    assert "more than 70000" in refusal(web, tmp_path, "plain/").message
    assert sum(path.stat().st_size for path in tmp_path.rglob(".partial/*") if path.is_file()) < 70_000


def test_a_certificate_that_cannot_be_verified_is_not_tried_again(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "served")
    monkeypatch.delenv("SSL_CERT_FILE")
    error = refusal(web, tmp_path, "plain/")
    assert error.reason is Reason.ARTIFACT_UNREACHABLE
    assert "certificate" in error.message
    assert "SSL_CERT_FILE" in error.hint


def test_a_host_that_is_not_there_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="did not arrive within 1 seconds") as caught:
        fetch(Request("https://127.0.0.1:1/x/", tmp_path, timeout_seconds=1.0))
    assert caught.value.reason is Reason.ARTIFACT_UNREACHABLE


def test_an_unknown_host_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"https://no-such-host\.invalid/x/model\.json"):
        fetch(Request("https://no-such-host.invalid/x/", tmp_path, timeout_seconds=1.0))


def test_a_tar_bomb_is_stopped_at_the_limit(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "m.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 30_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert refusal(web, tmp_path, "plain/m.tar.gz", max_bytes=1_000_000).reason is Reason.ARTIFACT_TOO_LARGE
