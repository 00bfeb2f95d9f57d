from __future__ import annotations

import pytest

from carpool.errors import SpecError
from carpool.spec import check_runnable, validate_job
from support.job_documents import job_document


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"spec__input__kind": "Images"},
            ["smallest: spec.input.kind: Images is not built yet; use Video"],
        ),
        (
            {"spec__input__kind": "Parquet"},
            ["smallest: spec.input.kind: Parquet is not built yet; use Video"],
        ),
    ],
)
def test_valid_job_that_cannot_run_yet_is_refused_by_field(changes, expected):
    job = validate_job(job_document(**changes), "f")
    with pytest.raises(SpecError) as caught:
        check_runnable(job)
    assert str(caught.value).split("\n") == expected


def test_what_is_built_passes():
    check_runnable(validate_job(job_document(), "f"))
