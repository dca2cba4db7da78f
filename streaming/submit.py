"""Command that submits jobs: ``python -m streaming.submit traffic weather=s3://flink/savepoints/…``.

Each argument is a family, with ``=<path>`` to continue from a savepoint or checkpoint. One line of JSON per
submitted job goes to stdout: ``{"family": …, "job_id": …}``.
"""

import json
import sys

from contracts import family
from settings import load_settings
from streaming.job import submit


def main(arguments: list[str]) -> None:
    """Submit the job of each argument in turn."""
    settings = load_settings()
    for argument in arguments:
        name, _, path = argument.partition("=")
        job_id = submit(family(name), settings, restore_from=path or None)
        sys.stdout.write(json.dumps({"family": name, "job_id": job_id}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
