"""Bundles in S3, or in anything that speaks its protocol, with botocore's standard credential chain.

Environment, shared files, web identity (IRSA), container credentials (EKS Pod Identity) and the instance's metadata are
all botocore's; so are AWS_ENDPOINT_URL_S3 and AWS_REGION. Retries are `streams`' work, for they must resume.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import botocore.session
from botocore import exceptions
from botocore.config import Config

from neuron_runtime.fetching.addresses import Address
from neuron_runtime.fetching.streams import OpenedObject, TransientError
from neuron_runtime.termination import FatalError, Reason

# What arrived of a chunk is lost when the connection breaks in it: smaller than it could be.
_CHUNK_BYTES = 2**16
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NotFound", "404"})
_REFUSED = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "XAdminUserNotFound",  # versitygw, with status 404, for a key it does not know
    }
)
_THROTTLED = frozenset({"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable"})
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.MetadataRetrievalError,
    exceptions.TokenRetrievalError,
)
_PASSING = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    exceptions.ResponseStreamingError,
)
_GRANT = (
    "Name a service account with IRSA or EKS Pod Identity (spec.pod.serviceAccountName) or a Secret "
    "(artifact.secretRef), and allow it s3:GetObject on the bundle's prefix and s3:ListBucket on the bucket."
)


class S3Source:
    def __init__(self, address: Address) -> None:
        self._address = address
        try:
            self._client = _client()
        except (exceptions.BotoCoreError, ValueError) as error:
            raise FatalError(
                Reason.INVALID_CONFIGURATION,
                f"The S3 client cannot be set up: {error}.",
                hint="Check the pod's AWS_* environment (AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_PROFILE).",
            ) from error

    def shown(self, relative: str) -> str:
        return self._address.shown_file(relative)

    @contextmanager
    def open(self, relative: str, offset: int) -> Iterator[OpenedObject]:
        span = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            key = self._address.object_path(relative)
            answer = self._client.get_object(Bucket=self._address.place, Key=key, **span)
            # Its own `with` gives the bare connection, not the stream that notices an early end.
            with closing(answer["Body"]) as body:
                yield OpenedObject(body.iter_chunks(_CHUNK_BYTES), offset, offset + int(answer["ContentLength"]))
        except exceptions.ClientError as error:
            raise self._refused(error, relative) from error
        except exceptions.BotoCoreError as error:
            raise self._failed(error, relative) from error

    def close(self) -> None:
        self._client.close()

    def _refused(self, error: exceptions.ClientError, relative: str) -> Exception:
        """The server answered, with an error. Its text is left out: it can repeat parts of the signed request."""
        shown = self.shown(relative)
        code = str(error.response.get("Error", {}).get("Code", "")) or "no code"
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        details = {"code": code, "status": str(status)}
        if code in _REFUSED or (status in (400, 401, 403) and code not in _THROTTLED):
            message = f"S3 refuses to give {shown}: {code} ({status})."
            return FatalError(Reason.ARTIFACT_UNAUTHORIZED, message, hint=_GRANT, details=details)
        if code in _MISSING or status == 404:
            what = (
                f"The bucket {self._address.place} does not exist" if code == "NoSuchBucket" else f"There is no {shown}"
            )
            hint = "Check the URI: s3://BUCKET/PREFIX/ is where model.json lies, or the .tar of a bundle."
            return FatalError(Reason.ARTIFACT_NOT_FOUND, f"{what} ({code}).", hint=hint, details=details)
        if code in _THROTTLED or status in (429, 500, 502, 503, 504):
            return TransientError(f"S3 answers {code} ({status})")
        if status == 416:
            hint = "The object changed while it was read: run the fetch again."
            return FatalError(Reason.ARTIFACT_CORRUPT, f"{shown} is shorter than before.", hint=hint)
        hint = "Check AWS_REGION and AWS_ENDPOINT_URL_S3 of the pod."
        message = f"S3 answers {code} ({status}) to {shown}."
        return FatalError(Reason.ARTIFACT_UNREACHABLE, message, hint=hint, details=details)

    def _failed(self, error: exceptions.BotoCoreError, relative: str) -> Exception:
        """No answer from S3 at all."""
        shown = self.shown(relative)
        if isinstance(error, _NO_CREDENTIALS):
            message = f"There are no AWS credentials with which to read {shown}: {_kind(error)}."
            return FatalError(Reason.ARTIFACT_UNAUTHORIZED, message, hint=_GRANT)
        if isinstance(error, exceptions.SSLError):
            message = f"The S3 endpoint's certificate cannot be verified ({_kind(error)})."
            hint = "Mount the authority's certificate and name it in AWS_CA_BUNDLE."
            return FatalError(Reason.ARTIFACT_UNREACHABLE, message, hint=hint)
        if isinstance(error, _PASSING):
            return TransientError(f"the S3 endpoint does not answer ({_kind(error)})")
        message = f"{shown} cannot be asked for: {_kind(error)}."
        hint = "Check the bucket's name and the pod's AWS_* environment."
        return FatalError(Reason.INVALID_CONFIGURATION, message, hint=hint)


def _client() -> Any:
    endpoint = next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
    host = (urlsplit(endpoint).hostname or "") if endpoint else "amazonaws.com"
    # Bucket names as host names resolve at AWS, but hardly at an S3 server inside a cluster.
    style: Literal["auto", "path"] = "auto" if host.endswith("amazonaws.com") else "path"
    session = botocore.session.Session()
    return session.create_client(
        "s3",
        # Without a region botocore refuses some endpoints; AWS itself redirects to the bucket's own.
        region_name=session.get_config_variable("region") or "us-east-1",
        config=Config(
            connect_timeout=10,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": style},
            # Parts of an object carry no checksum of their own; model.json's are checked for every file.
            response_checksum_validation="when_required",
            request_checksum_calculation="when_required",
        ),
    )


def _kind(error: Exception) -> str:
    return type(error).__name__
