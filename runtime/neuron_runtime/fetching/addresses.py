"""Which address an artifact has: its scheme checked, its spoken form without secrets. Pure.

`shown` is the only form that may reach a log or a message: no query (presigned addresses carry signatures there), no
user information.
"""

import ipaddress
import posixpath
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from neuron_runtime.artifacts import MANIFEST_NAME
from neuron_runtime.termination import FatalError, Reason

SCHEMES = ("https", "s3", "pvc")
NOT_YET = ("hf", "oci")
_ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz")
_CLUSTER_ENDINGS = (".svc", ".svc.cluster.local")


@dataclass(frozen=True)
class Address:
    """`place` is the host, bucket or claim; `path` has no slash at either end."""

    scheme: str
    place: str
    path: str
    query: str
    is_archive: bool

    @property
    def shown(self) -> str:
        return f"{self.scheme}://{self.place}/{self.path}" + ("" if self.is_archive or not self.path else "/")

    def shown_file(self, relative: str) -> str:
        return self.shown + relative

    def object_path(self, relative: str) -> str:
        """Path of a file of the bundle, or of the archive itself ("")."""
        return self.path if self.is_archive else posixpath.join(self.path, relative)


def parse_address(uri: str) -> Address:
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError as error:
        raise _invalid(f"The artifact's URI cannot be read: {error}.", "Check it for stray characters.") from None
    scheme = parts.scheme.lower()
    shown_scheme = f"{scheme}://" if scheme else "nothing"
    if scheme in NOT_YET:
        raise _invalid(
            f"{scheme}:// artifacts are not supported yet.", f"Put the bundle where {_schemes()} reaches it."
        )
    if scheme not in (*SCHEMES, "http"):
        raise _invalid(
            f"The artifact's URI starts with {shown_scheme}, which is no known scheme.", f"Use {_schemes()}."
        )
    if parts.username is not None or parts.password is not None:
        raise _invalid(
            "The artifact's URI holds a user name or password.",
            "Take them out: URIs are shown in status and logs. For S3 name a Secret (artifact.secretRef) or a service "
            "account; for https use a presigned address or a server inside the cluster.",
        )
    if not parts.hostname:
        raise _invalid(f"The artifact's {scheme}:// URI names no {_place_word(scheme)}.", f"Write {_form(scheme)}.")
    place = parts.netloc if scheme in ("s3", "pvc") else _host_and_port(parts.hostname, port)
    path = _path(parts, scheme)
    check_transport(scheme, parts.hostname, f"{scheme}://{place}")
    return Address(scheme, place, path, parts.query, path.endswith(_ARCHIVE_ENDINGS))


def check_transport(scheme: str, host: str, shown: str) -> None:
    """Plain http only where no one else's network is crossed: the pod itself, and Services of the same cluster."""
    if scheme != "http":
        return
    if host == "localhost" or host.endswith(_CLUSTER_ENDINGS) or _is_loopback(host):
        return
    raise _invalid(
        f"{shown} is plain http, which anyone on the way can change.",
        "Use https. Plain http is accepted from a Service of the cluster (name.namespace.svc) and from localhost.",
    )


def _path(parts: SplitResult, scheme: str) -> str:
    path = parts.path.strip("/")
    if path == MANIFEST_NAME or path.endswith(f"/{MANIFEST_NAME}"):
        path = path.removesuffix(MANIFEST_NAME).strip("/")
    if scheme in ("s3", "pvc") and (parts.query or parts.fragment):
        raise _invalid(f"A {scheme}:// URI has no query or fragment.", f"Write {_form(scheme)}.")
    if ".." in unquote(path).split("/"):
        raise _invalid("The artifact's URI climbs with '..'.", f"Write {_form(scheme)}.")
    return path


def _host_and_port(host: str, port: int | None) -> str:
    literal = f"[{host}]" if ":" in host else host
    return literal if port is None else f"{literal}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES[:-1]) + f" or {SCHEMES[-1]}://"


def _place_word(scheme: str) -> str:
    return {"s3": "bucket", "pvc": "claim"}.get(scheme, "host")


def _form(scheme: str) -> str:
    forms = {"s3": "s3://BUCKET/PREFIX/", "pvc": "pvc://CLAIM/PATH/"}
    return forms.get(scheme, "https://HOST/PATH/ (which holds model.json) or https://HOST/PATH/MODEL.tar.gz")


def _invalid(message: str, hint: str) -> FatalError:
    return FatalError(Reason.INVALID_CONFIGURATION, message, hint=hint)
