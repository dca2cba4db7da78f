"""SeaweedFS: the object store and the Iceberg REST catalog, in one process."""

import json

import httpx

from settings import Settings
from stack.local.files import write_private
from stack.local.http_probe import PROBE_TIMEOUT_S
from stack.local.priority import TABLES
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The store; ready when its catalog has given out a token and lists the warehouse."""
    ports = settings.ports
    data = settings.home / "data" / "store"
    flags = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.config": settings.home / "conf" / "s3.json",
        "s3.allowUntrustedRemoteEndpoints": "false",
        "master.telemetry": "false",
        "admin.ui": "false",
        "webdav": "false",
        "tableBucket": settings.warehouse.removeprefix("s3://"),
        "bucket": settings.checkpoint_location.removeprefix("s3://"),
        "master.port": ports.store_master,
        "master.port.grpc": ports.store_master_grpc,
        "volume.port": ports.store_volume,
        "volume.port.grpc": ports.store_volume_grpc,
        "filer.port": ports.store_filer,
        "filer.port.grpc": ports.store_filer_grpc,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.store_s3_grpc,
        "s3.port.iceberg": ports.catalog,
        "s3.port.lance": 0,
    }
    return Service(
        name="store",
        stage=Stage.INFRASTRUCTURE,
        command=(
            str(settings.toolchain / "main" / "bin" / "weed"),
            "-logtostderr=true",
            "mini",
            *(f"-{name}={value}" for name, value in flags.items()),
        ),
        environment={
            "AWS_ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
        },
        address=f"{settings.s3_endpoint} (S3), {settings.catalog_uri} (Iceberg REST)",
        ports=(
            ports.s3,
            ports.catalog,
            ports.store_master,
            ports.store_master_grpc,
            ports.store_volume,
            ports.store_volume_grpc,
            ports.store_filer,
            ports.store_filer_grpc,
            ports.store_s3_grpc,
        ),
        nice=TABLES,
        is_ready=lambda: _catalog_answers(settings),
    )


def prepare(settings: Settings) -> None:
    """Declare the one S3 identity; with an identity declared, anonymous requests are refused."""
    credentials = {
        "accessKey": settings.s3_access_key.get_secret_value(),
        "secretKey": settings.s3_secret_key.get_secret_value(),
    }
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "lakehouse", "credentials": [credentials], "actions": actions}
    write_private(settings.home / "conf" / "s3.json", json.dumps({"identities": [identity]}))
    (settings.home / "data" / "store").mkdir(parents=True, exist_ok=True)


def _catalog_answers(settings: Settings) -> bool:
    credential = {
        "grant_type": "client_credentials",
        "client_id": settings.s3_access_key.get_secret_value(),
        "client_secret": settings.s3_secret_key.get_secret_value(),
        "scope": "catalog",
    }
    try:
        with httpx.Client(base_url=settings.catalog_uri, timeout=PROBE_TIMEOUT_S) as client:
            token = client.post("/v1/oauth/tokens", data=credential)
            if token.status_code != httpx.codes.OK:
                return False
            # the configuration is given out before the bucket of the warehouse is there
            bucket = settings.warehouse.removeprefix("s3://")
            answer = client.get(
                f"/v1/{bucket}/namespaces",
                headers={"Authorization": f"Bearer {token.json()['access_token']}"},
            )
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK
