"""Object storage that speaks S3: listing and fetching.

Objects are fetched whole into a scratch folder, one at a time, and read from there: to learn a
file's dialect, look at its line ends and split it takes several passes. Credentials, region and
endpoint are those of the AWS tools: AWS_* variables (AWS_ENDPOINT_URL for a store that is not
Amazon's), ~/.aws, the role of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vitrina.errors import MissingExtra, SourceError

if TYPE_CHECKING:
    pass

SCHEME: Final = "s3://"
NOT_THERE: Final = ("404", "NoSuchKey", "NotFound")


def is_object(address: str) -> bool:
    """Whether there is one object of exactly this name."""
    bucket, key = _split(address)
    if not key or key.endswith("/"):
        return False
    with _client(address) as client:
        found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return any(entry["Key"] == key for entry in found.get("Contents", []))


def list_objects(folder: str, depth: int | None) -> list[str]:
    """The addresses of all objects below a folder; how deep they lie does not matter here."""
    bucket, key = _split(folder)
    with _client(folder) as client:
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{key}/" if key else ""
        )
        return [
            f"{SCHEME}{bucket}/{entry['Key']}"
            for page in pages
            for entry in page.get("Contents", [])
            if not entry["Key"].endswith("/")
        ]


def fetch(address: str, copy: Path) -> None:
    """Download one object to `copy`. Raises SourceError."""
    bucket, key = _split(address)
    with _client(address) as client:
        client.download_file(bucket, key, str(copy))


def stamp(address: str) -> tuple[int, int]:
    """Size in bytes and time of change (nanoseconds since 1970) of one object."""
    bucket, key = _split(address)
    with _client(address) as client:
        found = client.head_object(Bucket=bucket, Key=key)
    return found["ContentLength"], int(found["LastModified"].timestamp() * 10**9)


def _split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    return bucket, key


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client, whose failures become sentences."""
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise MissingExtra("boto3", "s3") from error
    try:
        yield boto3.client("s3")
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise SourceError(
            f"{address} cannot be read: {error}. Check the address, the credentials (AWS_* "
            "variables or ~/.aws), and AWS_ENDPOINT_URL if the store is not Amazon's. The lake "
            "was left as it was."
        ) from error
