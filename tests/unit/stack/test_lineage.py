"""Which job a savepoint or checkpoint is of, as Flink names it."""

import pytest

from stack.jobs.rewind import _is_of

JOB = "1a2de6b0c2635dd872f46d552806c7f9"
OTHER = "b93cef6acc3571d5d5b1e5ce3c963d57"


@pytest.mark.parametrize(
    "path",
    [f"s3://flink/savepoints/savepoint-{JOB[:6]}-f53ab8aba03e", f"s3://flink/checkpoints/{JOB}/chk-17"],
)
def test_a_restore_point_is_of_the_job_that_made_it(path: str) -> None:
    assert _is_of(path, [OTHER, JOB])
    assert not _is_of(path, [OTHER])
    assert _is_of(path, []), "what is not known is not refused"
