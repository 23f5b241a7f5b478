"""The pause image: one static program in one layer, compiled and packed here, since nothing may be pulled.

Called by bringup and `build`. Kept in the cache under the hash of its source.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

from cluster import oci
from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.settings import PAUSE_IMAGE, SOURCE, Settings


def pause_archive(settings: Settings) -> Path:
    """The archive's path; it is made first where it is missing."""
    source = SOURCE / "pause.c"
    key = hashlib.sha256(source.read_bytes() + oci.architecture().encode()).hexdigest()[:12]
    archive = settings.image_archives / f"pause-{key}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as target:
            layer, configuration = _image(_compile(source))
            oci.write_archive(target, PAUSE_IMAGE, configuration, [layer])
        partial.replace(archive)
    return archive


def _compile(source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "pause"
        done = attempt("gcc", "-Os", "-static", "-s", "-o", str(program), str(source))
        if done.returncode != 0:
            raise ClusterError(f"gcc could not compile {source}:\n{done.stderr}", "apt-get install gcc libc6-dev")
        return program.read_bytes()


def _image(program: bytes) -> tuple[oci.Layer, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        entry = tarfile.TarInfo("pause")
        entry.size = len(program)
        entry.mode = 0o755
        layer.addfile(entry, io.BytesIO(program))
    content = buffer.getvalue()
    digest = oci.digest_of(content)
    configuration = {
        "architecture": oci.architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    return oci.Layer(digest, len(content), io.BytesIO(content)), json.dumps(configuration).encode()
