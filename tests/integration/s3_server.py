"""A real S3 server (versitygw) on the loopback interface, for tests that fetch from it."""

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from mypy_boto3_s3 import S3Client

from local_control_plane import binaries, free_port

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret-3b9f"
START_TIMEOUT_S = 120.0


class S3Server:
    """Runs while it is entered; its buckets are directories of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [str(binaries() / "versitygw"), "--quiet", "--port", f"127.0.0.1:{port}"]
        self.client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def __enter__(self) -> Self:
        (self.folder / "buckets").mkdir()
        arguments = ["--access", ACCESS_KEY, "--secret", SECRET_KEY, "posix", str(self.folder / "buckets")]
        with (self.folder / "versitygw.log").open("wb") as log:
            self._process = subprocess.Popen([*self._command, *arguments], stdout=log, stderr=log)
        self._wait_until_it_answers()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(60)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.client.list_buckets()
                return
            except BotoCoreError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "versitygw.log").read_text()) from None
                time.sleep(0.05)
