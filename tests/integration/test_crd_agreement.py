"""Pydantic and the API server judge alike, and neither changes what passes through it."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from carpool.errors import SpecError
from carpool.spec import GpuNode, dump_job, parse_job, validate_job
from support.control_plane.client import ApiClient, ApiError
from support.custom_resources import GPU_NODES, jobs, schema
from support.job_documents import job_document
from support.object_strategies import GPU_NODES as DRAWN_NODES
from support.object_strategies import JOBS, JSON
from support.schema_cases import ANY_KEY, REMOVED, cases_of, place, walk, written

NUMBERS = count()
UNHURRIED = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
    ],
)
# What the API server cannot know: it sees no size of a free-form object, and its floats take
# integers of more than 64 bits.
ONLY_PYDANTIC = ("characters long as JSON", "more than 64 bits")


def fresh(document: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The document under a name of its own; all other metadata is Kubernetes' business."""
    metadata = {"name": f"{prefix}-{next(NUMBERS)}"}
    return {**document, "metadata": metadata}


def stored(api: ApiClient, collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """What the API server gives back after it has kept the document, status included."""
    name = document["metadata"]["name"]
    made = api.post(collection, document, fieldValidation="Strict")
    try:
        if document.get("status") is not None:
            status = made | {"status": document["status"]}
            api.put(f"{collection}/{name}/status", status, fieldValidation="Strict")
        return api.get(f"{collection}/{name}")
    finally:
        api.delete(f"{collection}/{name}")


def same(sent: Any, kept: Any) -> bool:
    """Whether a value came back as it went.

    The API server writes a float without a fraction as an integer, with the fewest digits that
    name the same float64; beyond 2**53 that is another integer than the exact value.
    """
    if isinstance(sent, dict) and isinstance(kept, dict):
        return sent.keys() == kept.keys() and all(same(sent[key], kept[key]) for key in sent)
    if isinstance(sent, list) and isinstance(kept, list):
        return len(sent) == len(kept) and all(map(same, sent, kept))
    if isinstance(sent, float) and not isinstance(kept, bool):
        return isinstance(kept, int | float) and float(kept) == sent
    return type(sent) is type(kept) and bool(sent == kept)


@settings(UNHURRIED, max_examples=150)
@given(JOBS)
@example(job_document(spec__model__parameters={"large": 6.586311866419806e16, "id": 2**63 - 1}))
def test_job_survives_the_way_through_the_api_server(api: ApiClient, document):
    job = validate_job(fresh(document, "survives"), "drawn")
    # As the program would send it, with its defaults written out.
    sent = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    answer = stored(api, jobs("default"), sent)
    again = validate_job(answer, "stored")
    assert same(job.spec.model_dump(), again.spec.model_dump())
    assert again.status == job.status
    assert parse_job(dump_job(again), "dumped") == again


@settings(UNHURRIED, max_examples=50)
@given(JOBS)
def test_defaults_are_the_same_whoever_fills_them_in(api: ApiClient, document):
    document = fresh(document, "defaults")
    job = validate_job(document, "drawn")
    again = validate_job(stored(api, jobs("default"), document), "stored")
    assert same(job.spec.model_dump(), again.spec.model_dump())
    assert again.status == job.status


@settings(UNHURRIED, max_examples=50)
@given(DRAWN_NODES)
def test_gpu_node_survives_the_way_through_the_api_server(api: ApiClient, document):
    node = GpuNode.model_validate(fresh(document, "survives"), by_alias=True, by_name=False)
    sent = node.model_dump(mode="json", by_alias=True, exclude_none=True)
    answer = stored(api, GPU_NODES, sent)
    again = GpuNode.model_validate(answer, by_alias=True, by_name=False)
    assert again.status == node.status


# Every place of the spec, with values that it takes by itself, whatever the rules say.
PLACES = {
    path: [case.value for case in cases_of(path, node, "") if case.refusal is None] or [{}]
    for path, node in walk(schema("inferencejobs")["properties"]["spec"], ("spec",))
    if path != ("spec",)
}
ODD = st.sampled_from(
    [
        *(REMOVED, None, True, False, 0, -1, 1, 2, 10_000, 10_001, 2**31, 2**63, 2**64, 1.0, 2.5),
        *("", " ", "x", "X", "1", "a:B", "s3://a", "file://a", "a.pkl", "CPU", "GPU", "Video"),
        *("Images", "Darknet", "Python", "TorchExport", "2Gi", "500m", "\u212a", "a\u0000", "ü"),
        *([], [1], ["a"], ["a", None], {}, {"a": None}, {"a": 1}, {"spark.a": "1"}),
        *({"spark.master": "local"}, {"spark.archives": "a"}, {"spark.executor.cores": "1"}),
    ]
)


@st.composite
def mutated(draw) -> dict[str, Any]:
    """A valid job with some places changed, every fourth of them to something odd."""
    job = draw(st.just(job_document()) | JOBS)
    for path in draw(st.lists(st.sampled_from(list(PLACES)), min_size=1, max_size=3)):
        odd = draw(st.integers(0, 3)) == 0
        value = draw(ODD | JSON if odd else st.sampled_from(PLACES[path]))
        try:
            place(
                job, schema("inferencejobs"), path, value if value is REMOVED else deepcopy(value)
            )
        except (KeyError, TypeError, IndexError, AttributeError):
            assume(False)  # an earlier change took away what this one stands in
    return job


@settings(UNHURRIED, max_examples=600)
@given(mutated())
def test_what_the_api_server_accepts_pydantic_accepts_or_names_its_field(api, document):
    document = fresh(document, "mutated")
    try:
        answer = api.post(jobs("default"), document, dryRun="All")
    except ApiError:
        event("refused by the API server")
        return
    event("accepted by the API server")
    try:
        validate_job(answer, "answer")
    except SpecError as error:
        for line in str(error).splitlines():
            assert line.startswith("answer: spec."), line
            assert any(words in line for words in ONLY_PYDANTIC), line


@settings(UNHURRIED, max_examples=600)
@given(mutated())
def test_what_pydantic_accepts_the_api_server_accepts(api, document):
    document = fresh(document, "mutated")
    try:
        validate_job(document, "mutated")
    except SpecError:
        event("refused by pydantic")
        return
    event("accepted by pydantic")
    api.post(jobs("default"), document, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize("value", [None, {"a": None}, {"a": {"b": None}}, {"a": [None]}])
def test_null_inside_parameters_is_kept_and_elsewhere_absent(api: ApiClient, namespace, value):
    sent = job_document(spec__model__parameters=value, spec__tracking=None, spec__executors=None)
    answer = api.post(jobs(namespace), sent)
    assert answer["spec"]["executors"] == 1
    assert "tracking" not in answer["spec"]
    assert answer["spec"]["model"].get("parameters") == value
    assert validate_job(answer, "answer").spec == validate_job(sent, "sent").spec


def test_places_reach_into_lists_and_maps():
    names = {written(path) for path in PLACES}
    assert {"spec.input.uris[0]", f"spec.spark.conf.{ANY_KEY}", "spec.gpu.memory"} <= names
