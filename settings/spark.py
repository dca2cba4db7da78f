"""Where Spark runs: what ``LAKEHOUSE_SPARK_MASTER`` can say, and what Kubernetes needs beside it."""

import re
from enum import StrEnum

from pydantic import BaseModel

_HOST = r"(?:[\w.-]+|\[[0-9a-fA-F:]+\])"


class SparkMode(StrEnum):
    """Where the driver and the executors of a session are."""

    LOCAL = "local"
    """All in this process's JVM."""
    STANDALONE = "spark"
    """The driver here, executors on the workers of a standalone master."""
    KUBERNETES = "k8s"
    """The driver here, which is a pod of the cluster; executors in pods that it asks the API server for."""
    CONNECT = "sc"
    """All behind a Spark Connect server."""


_FORMS = {
    SparkMode.LOCAL: r"local(?:\[(?:\*|[1-9]\d*)\])?",
    SparkMode.STANDALONE: rf"spark://{_HOST}:\d+(?:,{_HOST}:\d+)*",
    SparkMode.KUBERNETES: rf"k8s://https?://{_HOST}(?::\d+)?(?:/\S*)?",
    SparkMode.CONNECT: rf"sc://{_HOST}(?::\d+)?(?:/\S*)?",
}


class KubernetesSettings(BaseModel):
    """What executors on Kubernetes are started with: ``LAKEHOUSE_SPARK_KUBERNETES__<NAME>``."""

    image: str = ""
    """Image of the executors: Spark of the version in ``locks/main.txt``."""
    namespace: str = "default"
    service_account: str = "default"
    driver_pod: str = ""
    """Name of the pod that the driver runs in: executors go when it goes."""


def spark_mode(master: str) -> SparkMode:
    """Tell where a session with this master runs.

    Raises:
        ValueError: it is none; the message lists what can be said, and not ``master``, which may hold a token.
    """
    for mode, form in _FORMS.items():
        if re.fullmatch(form, master):
            return mode
    raise ValueError(
        "Spark runs at local[N] or local[*], spark://HOST:PORT (a standalone master), k8s://https://HOST:PORT "
        "(Kubernetes' API server) or sc://HOST:PORT (a Spark Connect server)"
    )
