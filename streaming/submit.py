"""Command that submits jobs: ``python -m streaming.submit '{"family": "traffic", "restore_from": null, ...}'``.

Each argument is a JSON object: ``family``, ``restore_from`` (path of a savepoint or checkpoint, or null) and
``resume`` (see :mod:`streaming.resume`, or null). A measurement may give the family another name (``called``) and
choose ``sinks``. One line of JSON per submitted job goes to stdout: ``{"family": ..., "job_id": ...}``.
"""

import json
import sys
from dataclasses import replace

from contracts import family
from settings import load_settings
from streaming.job import submit
from streaming.resume import Resume


def main(arguments: list[str]) -> None:
    """Submit the job of each argument in turn."""
    settings = load_settings()
    for argument in arguments:
        wanted = json.loads(argument)
        resume = wanted["resume"]
        declared = family(wanted["family"])
        job_id = submit(
            replace(declared, name=wanted.get("called", declared.name)),
            settings,
            restore_from=wanted["restore_from"],
            resume=None if resume is None else Resume.from_json(resume),
            sinks=wanted.get("sinks"),
        )
        sys.stdout.write(json.dumps({"family": wanted["family"], "job_id": job_id}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
