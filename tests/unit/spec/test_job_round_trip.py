"""Whatever the schema admits is a job, and every job survives the way through YAML."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from carpool.spec import InferenceJob, dump_job, parse_job, validate_job
from support.job_documents import job_document
from support.object_strategies import FREE_FORM, JOBS


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(JOBS)
def test_job_survives_the_way_through_yaml(document):
    job = validate_job(document, "drawn")
    text = dump_job(job)
    assert parse_job(text, "dumped") == job
    assert dump_job(parse_job(text, "dumped")) == text


@settings(max_examples=50, deadline=None)
@given(FREE_FORM)
def test_parameters_survive_exactly(parameters):
    job = validate_job(job_document(spec__model__parameters=parameters), "drawn")
    again = parse_job(dump_job(job), "dumped")
    assert repr(again.spec.model.parameters) == repr(parameters)


def test_models_rebuild_from_their_own_dump():
    job = validate_job(job_document(), "f")
    assert InferenceJob.model_validate(job.model_dump()) == job
    assert InferenceJob.model_validate(job.model_dump(by_alias=False)) == job
