"""The demo's artifact store: an S3 server in the cluster and what is uploaded to it."""

import hashlib
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from demo.kube import Kube

NAMESPACE, SERVICE = "artifact-store", "svc/s3"
BUCKET = "models"
IMAGE = "docker.io/neuron-serving/versitygw:dev"
MANIFEST = Path(__file__).with_name("artifact-store.yaml")


def start(kube: Kube, image: str = IMAGE) -> None:
    """Create the store and the Secret with its credentials, and wait until it answers."""
    kube.apply(MANIFEST.read_text().replace(IMAGE, image))
    kube.kubectl("rollout", "status", "deployment/s3", "-n", NAMESPACE, "--timeout=120s")


def upload(kube: Kube, bundles: dict[str, Path]) -> int:
    """Put each bundle directory under s3://models/<key>/; returns the bytes sent. Bundles already there are left."""
    with kube.forward(SERVICE, 80, NAMESPACE) as url:
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="demo",
            aws_secret_access_key="demo-secret",  # noqa: S106 - the demo store's own, also in artifact-store.yaml
            region_name="us-east-1",
        )
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
        return sum(_upload(client, key, folder) for key, folder in bundles.items())


def _upload(client: S3Client, key: str, folder: Path) -> int:
    manifest = (folder / "model.json").read_bytes()
    if _stored_digest(client, f"{key}/model.json") == hashlib.sha256(manifest).hexdigest():
        return 0
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "model.json"]
    for path in files:
        client.put_object(Bucket=BUCKET, Key=f"{key}/{path.relative_to(folder)}", Body=path.read_bytes())
    # model.json last: whoever sees it finds all that it names.
    client.put_object(Bucket=BUCKET, Key=f"{key}/model.json", Body=manifest)
    return sum(path.stat().st_size for path in files) + len(manifest)


def _stored_digest(client: S3Client, key: str) -> str | None:
    try:
        return hashlib.sha256(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
    except ClientError:
        return None
