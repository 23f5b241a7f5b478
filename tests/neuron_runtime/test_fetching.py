"""One fetch from a claim to a directory: whole or not there, limits before bytes, interrupted runs continued."""

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle_files import write_bundle
from neuron_runtime.artifacts import load_bundle
from neuron_runtime.fetching.destination import Destination
from neuron_runtime.fetching.transfer import Request, fetch
from neuron_runtime.termination import FatalError, Reason

URI = "pvc://models/sentiment/"


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    (tmp_path / "claim").mkdir()
    return tmp_path / "claim"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


def request(claim: Path, dest: Path, uri: str = URI, **more: Any) -> Request:
    return Request(uri, dest, pvc_root=claim, timeout_seconds=60.0, **more)


def refusal(asked: Request) -> FatalError:
    with pytest.raises(FatalError) as caught:
        fetch(asked)
    return caught.value


def visible(dest: Path) -> set[str]:
    return {path.name for path in dest.iterdir() if not path.name.startswith(".")} if dest.exists() else set()


def test_a_bundle_arrives_whole_and_nothing_else_stays(claim: Path, dest: Path) -> None:
    digest = write_bundle(claim / "sentiment")
    bundle = fetch(request(claim, dest, digest=digest))
    assert bundle.digest == load_bundle(dest).digest == digest
    assert bundle.directory == dest
    assert visible(dest) == {"model.json", "batch-1.pt", "parts"}
    assert not (dest / ".partial").exists()


def test_a_complete_destination_is_left_alone_without_reading_the_source(claim: Path, dest: Path) -> None:
    digest = write_bundle(claim / "sentiment")
    fetch(request(claim, dest))
    (claim / "sentiment" / "model.json").unlink()
    assert fetch(request(claim, dest)).digest == digest
    assert fetch(request(claim, dest, "pvc://elsewhere/x/", digest=digest)).digest == digest


def test_another_address_replaces_what_is_there(claim: Path, dest: Path) -> None:
    write_bundle(claim / "sentiment")
    fetch(request(claim, dest))
    second = write_bundle(claim / "other", seed=2)
    assert fetch(request(claim, dest, "pvc://models/other/")).digest == second
    assert load_bundle(dest).digest == second


def test_a_damaged_destination_is_fetched_again(claim: Path, dest: Path) -> None:
    digest = write_bundle(claim / "sentiment")
    fetch(request(claim, dest))
    (dest / "batch-1.pt").write_bytes(b"damaged")
    assert fetch(request(claim, dest)).digest == digest
    assert load_bundle(dest).digest == digest


def test_an_interrupted_fetch_is_continued_from_what_is_there(claim: Path, dest: Path) -> None:
    write_bundle(claim / "sentiment")
    whole = (claim / "sentiment" / "parts" / "batch-4.pt").read_bytes()
    (dest / ".partial" / "parts").mkdir(parents=True)
    (dest / ".partial" / "parts" / "batch-4.pt").write_bytes(whole[:1_000_000])
    # The source no longer has what was already taken: only its rest is read.
    (claim / "sentiment" / "parts" / "batch-4.pt").write_bytes(b"\0" * 1_000_000 + whole[1_000_000:])
    fetch(request(claim, dest))
    assert (dest / "parts" / "batch-4.pt").read_bytes() == whole


@pytest.mark.parametrize("left", [b"of another version", b"x" * 3_000_000, b"y" * 4_000_000])
def test_what_another_version_left_is_thrown_away(claim: Path, dest: Path, left: bytes) -> None:
    write_bundle(claim / "sentiment")
    (dest / ".partial" / "parts").mkdir(parents=True)
    (dest / ".partial" / "parts" / "batch-4.pt").write_bytes(left)
    fetch(request(claim, dest))
    load_bundle(dest)


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    path.write_bytes(edit(path.read_bytes()))


@pytest.mark.parametrize(
    ("damage", "reason", "said"),
    [
        pytest.param(
            lambda d: change(d / "batch-1.pt", lambda b: b"\0" + b[1:]),
            Reason.ARTIFACT_CORRUPT,
            "pvc://models/sentiment/batch-1.pt has the sha256",
            id="bit flipped",
        ),
        pytest.param(
            lambda d: change(d / "batch-1.pt", lambda b: b[:-1]), Reason.ARTIFACT_CORRUPT, "69999 bytes", id="short"
        ),
        pytest.param(
            lambda d: change(d / "batch-1.pt", lambda b: b + b"x"), Reason.ARTIFACT_CORRUPT, "more than", id="long"
        ),
        pytest.param(
            lambda d: (d / "batch-1.pt").unlink(), Reason.ARTIFACT_NOT_FOUND, "no file pvc://", id="file missing"
        ),
        pytest.param(
            lambda d: (d / "model.json").unlink(), Reason.ARTIFACT_NOT_FOUND, "model.json", id="manifest missing"
        ),
        pytest.param(
            lambda d: (d / "model.json").write_text("<html>login</html>"),
            Reason.ARTIFACT_CORRUPT,
            "not a valid bundle manifest",
            id="not a manifest",
        ),
    ],
)
def test_a_damaged_source_leaves_nothing_to_load(
    claim: Path, dest: Path, damage: Callable[[Path], object], reason: Reason, said: str
) -> None:
    write_bundle(claim / "sentiment")
    damage(claim / "sentiment")
    error = refusal(request(claim, dest))
    assert error.reason is reason
    assert said in error.message
    assert "<html>" not in str(error)
    assert visible(dest) == set()


def test_a_wrong_digest_is_refused_before_any_file_is_read(claim: Path, dest: Path) -> None:
    write_bundle(claim / "sentiment")
    error = refusal(request(claim, dest, digest="sha256:" + "0" * 64))
    assert error.reason is Reason.ARTIFACT_CORRUPT
    assert list((dest / ".partial").iterdir()) == []


def test_a_bundle_over_the_limit_is_refused_before_any_file_is_read(claim: Path, dest: Path) -> None:
    write_bundle(claim / "sentiment")
    error = refusal(request(claim, dest, max_bytes=3_069_999))
    assert error.reason is Reason.ARTIFACT_TOO_LARGE
    assert error.details == {"bytes": "3070000", "maxBytes": "3069999"}
    assert list((dest / ".partial").iterdir()) == []
    fetch(request(claim, dest, max_bytes=3_070_000))


def test_a_disk_without_room_is_told_before_it_is_filled(dest: Path) -> None:
    dest.mkdir()
    with pytest.raises(FatalError, match=r"needs .* more bytes") as caught:
        Destination(dest, URI).require_space(2**62, URI)
    assert caught.value.reason is Reason.DISK_FULL


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_told_and_left_empty(dest: Path, number: int) -> None:
    destination = Destination(dest, URI)
    destination.prepare()
    (dest / ".partial" / "half").write_bytes(b"x")
    with pytest.raises(FatalError) as caught, destination.writing():
        raise OSError(number, os.strerror(number))
    assert caught.value.reason is Reason.DISK_FULL
    assert not (dest / ".partial").exists()


def test_a_destination_that_cannot_be_written_is_a_configuration_error(claim: Path, tmp_path: Path) -> None:
    write_bundle(claim / "sentiment")
    (tmp_path / "file").write_text("in the way")
    error = refusal(request(claim, tmp_path / "file"))
    assert error.reason is Reason.INVALID_CONFIGURATION
    assert "65532" in error.hint


def test_a_link_that_leaves_the_claim_is_refused(claim: Path, dest: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(json.dumps({"token": "hunter2"}))
    (claim / "sentiment").mkdir()
    (claim / "sentiment" / "model.json").symlink_to(tmp_path / "secret")
    error = refusal(request(claim, dest))
    assert error.reason is Reason.INVALID_CONFIGURATION
    assert "hunter2" not in str(error)


def tar(path: Path, fill: Callable[[tarfile.TarFile], object]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        fill(archive)


@pytest.mark.parametrize("name", ["m.tar", "m.tar.gz"])
@pytest.mark.parametrize("inside", [".", "sentiment", "some/folder"])
def test_a_tar_of_a_bundle_arrives_as_the_bundle(
    claim: Path, dest: Path, tmp_path: Path, name: str, inside: str
) -> None:
    digest = write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "._model.json").write_text("what a Mac adds")
    tar(claim / name, lambda archive: archive.add(tmp_path / "bundle", inside))
    assert fetch(request(claim, dest, f"pvc://models/{name}", digest=digest)).digest == digest
    assert visible(dest) == {"model.json", "batch-1.pt", "parts"}
    assert not (dest / "._model.json").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def fill(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil"))

    return fill


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        pytest.param(member("../escaped"), Reason.ARTIFACT_CORRUPT, id="climbs"),
        pytest.param(member("a/../../escaped"), Reason.ARTIFACT_CORRUPT, id="climbs later"),
        pytest.param(member("/tmp/escaped"), Reason.ARTIFACT_CORRUPT, id="absolute"),
        pytest.param(member("x", tarfile.SYMTYPE, "/etc/passwd"), Reason.ARTIFACT_CORRUPT, id="symbolic link"),
        pytest.param(member("x", tarfile.LNKTYPE, "/etc/passwd"), Reason.ARTIFACT_CORRUPT, id="hard link"),
        pytest.param(member("x", tarfile.CHRTYPE), Reason.ARTIFACT_CORRUPT, id="device"),
        pytest.param(member("x", tarfile.FIFOTYPE), Reason.ARTIFACT_CORRUPT, id="pipe"),
        pytest.param(member("x"), Reason.ARTIFACT_NOT_FOUND, id="no manifest"),
    ],
)
def test_a_tar_is_refused_when_it_holds_more_than_plain_files_of_a_bundle(
    claim: Path, dest: Path, tmp_path: Path, fill: Callable[[tarfile.TarFile], None], reason: Reason
) -> None:
    tar(claim / "m.tar", fill)
    error = refusal(request(claim, dest, "pvc://models/m.tar"))
    assert error.reason is reason
    assert visible(dest) == set()
    assert not (dest / ".partial").exists()
    assert list(tmp_path.rglob("escaped")) == []


@pytest.mark.parametrize(
    "edit", [lambda b: b[: len(b) // 2], lambda b: b"not a tar at all", lambda b: b[:100] + b[200:]]
)
def test_a_broken_tar_is_corrupt(claim: Path, dest: Path, tmp_path: Path, edit: Callable[[bytes], bytes]) -> None:
    write_bundle(tmp_path / "bundle")
    tar(claim / "m.tar.gz", lambda archive: archive.add(tmp_path / "bundle", "."))
    change(claim / "m.tar.gz", edit)
    assert refusal(request(claim, dest, "pvc://models/m.tar.gz")).reason is Reason.ARTIFACT_CORRUPT


def test_a_tar_that_unpacks_to_more_than_the_limit_is_stopped(claim: Path, dest: Path) -> None:
    def bomb(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("zeros")
        info.size = 50_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))

    tar(claim / "m.tar.gz", bomb)
    assert (claim / "m.tar.gz").stat().st_size < 100_000
    error = refusal(request(claim, dest, "pvc://models/m.tar.gz", max_bytes=1_000_000))
    assert error.reason is Reason.ARTIFACT_TOO_LARGE
    assert not (dest / ".partial").exists()
