"""`neuron-runtime fetch` as a process against a real S3 server: credentials, errors, broken and restarted fetches."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundle_files import write_bundle
from integration.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from neuron_runtime.artifacts import load_bundle

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
BUCKET = "models"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.client.create_bucket(Bucket=BUCKET)
        yield server


@dataclass(frozen=True)
class Fetched:
    code: int
    out: str
    err: str
    message: Mapping[str, object]


def fetch(folder: Path, uri: str, *more: str, **environment: str) -> Fetched:
    """One run of the init container's command, to folder/dest. Nothing of this machine's AWS settings is seen."""
    message = folder / "termination-log"
    message.write_text("{}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    isolated = {"HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true", **environment}
    command = [sys.executable, "-m", "neuron_runtime", "fetch", uri, str(folder / "dest"), *more]
    ran = subprocess.run(
        [*command, "--termination-message-path", str(message)],
        env=kept | isolated,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Fetched(ran.returncode, ran.stdout, ran.stderr, json.loads(message.read_text()))


def access(s3: S3Server) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": s3.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }


def upload(s3: S3Server, folder: Path, prefix: str) -> str:
    digest = write_bundle(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            s3.client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder)}")
    return digest


def test_a_bundle_arrives_and_a_second_run_reads_nothing(s3: S3Server, tmp_path: Path) -> None:
    digest = upload(s3, tmp_path / "bundle", "whole/3")
    uri = f"s3://{BUCKET}/whole/3/"
    first = fetch(tmp_path, uri, "--digest", digest, **access(s3))
    assert (first.code, first.out.strip(), dict(first.message)) == (0, digest, {}), first.err
    assert load_bundle(tmp_path / "dest").digest == digest
    last = json.loads(first.err.splitlines()[-1])
    assert (last["message"], last["bytes"], last["uri"]) == ("fetched the bundle", 3_070_000, uri)
    second = fetch(tmp_path, uri, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    assert (second.code, second.out.strip()) == (0, digest), second.err


def test_a_tar_arrives_as_the_bundle(s3: S3Server, tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "bundle")
    subprocess.run(["tar", "-C", str(tmp_path / "bundle"), "-czf", str(tmp_path / "m.tar.gz"), "."], check=True)
    s3.client.upload_file(str(tmp_path / "m.tar.gz"), BUCKET, "m.tar.gz")
    fetched = fetch(tmp_path, f"s3://{BUCKET}/m.tar.gz", **access(s3))
    assert (fetched.code, fetched.out.strip()) == (0, digest), fetched.err


def test_an_interrupted_fetch_goes_on_with_a_range(s3: S3Server, tmp_path: Path) -> None:
    upload(s3, tmp_path / "bundle", "interrupted")
    partial = tmp_path / "dest" / ".partial" / "parts"
    partial.mkdir(parents=True)
    (partial / "batch-4.pt").write_bytes((tmp_path / "bundle" / "parts" / "batch-4.pt").read_bytes()[:2_999_000])
    fetched = fetch(tmp_path, f"s3://{BUCKET}/interrupted", **access(s3))
    assert fetched.code == 0, fetched.err
    taken = {line["uri"]: line["bytes"] for line in map(json.loads, fetched.err.splitlines())}
    assert taken[f"s3://{BUCKET}/interrupted/parts/batch-4.pt"] == 1000
    load_bundle(tmp_path / "dest")


@pytest.mark.parametrize(
    ("uri", "changed", "reason", "said"),
    [
        pytest.param("s3://models/nothing/", {}, "ArtifactNotFound", "There is no s3://models/nothing/", id="prefix"),
        pytest.param("s3://absent/x/", {}, "ArtifactNotFound", "bucket absent does not exist", id="bucket"),
        pytest.param(
            "s3://models/guarded/",
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            "ArtifactUnauthorized",
            "SignatureDoesNotMatch",
            id="wrong secret",
        ),
        pytest.param(
            "s3://models/guarded/",
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "ArtifactUnauthorized",
            "refuses to give",
            id="unknown key",
        ),
        pytest.param(
            "s3://models/guarded/",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "ArtifactUnauthorized",
            "no AWS credentials",
            id="no credentials",
        ),
        pytest.param(
            "s3://models/guarded/",
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "NEURON_RUNTIME_FETCH_TIMEOUT_SECONDS": "2"},
            "ArtifactUnreachable",
            "does not answer",
            id="no server",
        ),
        pytest.param(
            "s3://models/guarded/", {"NEURON_RUNTIME_DIGEST": "sha256:1"}, "InvalidConfiguration", "64", id="bad digest"
        ),
        pytest.param(
            "s3://models/guarded/",
            {"NEURON_RUNTIME_MAX_BYTES": "1000"},
            "ArtifactTooLarge",
            "limit is 1000",
            id="large",
        ),
        pytest.param("gs://models/x/", {}, "InvalidConfiguration", "no known scheme", id="scheme"),
    ],
)
def test_a_failure_says_what_where_and_what_next(
    s3: S3Server, tmp_path: Path, uri: str, changed: dict[str, str], reason: str, said: str
) -> None:
    upload(s3, tmp_path / "bundle", "guarded")
    fetched = fetch(tmp_path, uri, **{**access(s3), **changed})
    assert fetched.code == 1
    assert fetched.message["reason"] == reason
    assert said in str(fetched.message["message"])
    assert fetched.message["hint"]
    assert f"{reason}: " in fetched.err.splitlines()[-1]
    assert "Traceback" not in fetched.err
    for secret in (SECRET_KEY, "wrong-secret"):
        assert secret not in fetched.err + json.dumps(dict(fetched.message))
    assert not (tmp_path / "dest" / "model.json").exists()


def test_a_corrupt_object_is_refused_naming_it(s3: S3Server, tmp_path: Path) -> None:
    upload(s3, tmp_path / "bundle", "corrupt")
    s3.client.put_object(Bucket=BUCKET, Key="corrupt/batch-1.pt", Body=b"\0" * 70_000)
    fetched = fetch(tmp_path, f"s3://{BUCKET}/corrupt/", **access(s3))
    assert fetched.message["reason"] == "ArtifactCorrupt"
    assert f"s3://{BUCKET}/corrupt/batch-1.pt has the sha256" in str(fetched.message["message"])
    # Corrected, the same directory is completed.
    s3.client.upload_file(str(tmp_path / "bundle" / "batch-1.pt"), BUCKET, "corrupt/batch-1.pt")
    assert fetch(tmp_path, f"s3://{BUCKET}/corrupt/", **access(s3)).code == 0
