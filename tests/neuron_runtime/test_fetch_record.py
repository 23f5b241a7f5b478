"""The note beside a fetched bundle: written by fetch, kept by one that finds the bundle there, not trusted blindly."""

import json
from pathlib import Path

import pytest

from bundle_files import write_bundle
from neuron_runtime.fetching.record import NAME, FetchRecord, read_record
from neuron_runtime.fetching.transfer import Request, fetch

RECORD = FetchRecord("a" * 64, "sha256:b", 1.5)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    RECORD.write(tmp_path)

    assert read_record(tmp_path) == RECORD


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'["uri", "sha256:b"]',
        b"null",
        b"[" * 4096,
        b"\xff\xfe",
        b'{"uri_sha256": "a", "digest": "b"}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": "soon"}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": null}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": -1}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": NaN}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": 1e999}',
        b'{"uri_sha256": "a", "digest": "b", "seconds": 1' + b"0" * 400 + b"}",
        b'{"uri_sha256": "a", "digest": "b", "seconds": 1, "more": "' + b"x" * 10_000 + b'"}',
    ],
    ids=range(15),
)
def test_an_odd_note_is_no_note(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)

    assert read_record(tmp_path) is None


def test_without_a_note_there_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / NAME).mkdir()
    assert read_record(tmp_path) is None


def test_a_fetch_notes_its_time_and_one_that_finds_the_bundle_leaves_the_note(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "claim" / "m")
    request = Request("pvc://claim/m/", tmp_path / "model", pvc_root=tmp_path / "claim")
    fetch(request)
    first = (tmp_path / "model" / NAME).read_text()
    fetch(request)

    record = read_record(tmp_path / "model")
    assert record is not None
    assert record.digest == digest
    assert json.loads(first)["seconds"] == record.seconds >= 0
