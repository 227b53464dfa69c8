"""Promises 1 and 2 at once, in the short form of `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.plan import SHORT, Plan
from tests.chaos.run import run


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_while_everything_breaks_each_accepted_job_ends_in_exactly_one_message(tmp_path: Path) -> None:
    result = await run(Plan(seed=11, **SHORT), tmp_path)
    print(result.table(), result.summary(), *result.verdict.remarks, sep="\n")

    assert result.verdict.complaints == []
    assert len(result.verdict.told_once) == result.verdict.accepted >= SHORT["jobs"]
    assert len({incident.kind for incident in result.incidents}) > 10, "enough was broken"
