"""The object store as a file system, for what is no table."""

from urllib.parse import urlsplit

from pyarrow import fs

from settings import Settings


def object_store(settings: Settings) -> fs.S3FileSystem:
    """The store of the platform; paths are ``bucket/key``. Opens no connection yet."""
    endpoint = urlsplit(settings.s3_endpoint)
    return fs.S3FileSystem(
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=settings.s3_region,
        allow_bucket_creation=True,
    )
