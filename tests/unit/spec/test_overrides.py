from __future__ import annotations

from typing import Any

import pytest

from carpool.errors import SpecError
from carpool.spec import apply_overrides, validate_job
from support.job_documents import job_document


def overridden(*overrides: str, **changes: Any) -> dict[str, Any]:
    return apply_overrides(job_document(**changes), overrides)["spec"]


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("spark.executor.cores=4", ("spark", "executor", "cores"), 4),
        ("spec.spark.executor.cores=4", ("spark", "executor", "cores"), 4),
        ("output.mode=Overwrite", ("output", "mode"), "Overwrite"),
        ("output.uri=a=b", ("output", "uri"), "a=b"),
        ("input.uris=[a, b]", ("input", "uris"), ["a", "b"]),
        ("tracking={}", ("tracking",), {}),
        ("suspend=true", ("suspend",), True),
        ("model.parameters.scoreThreshold=1e-3", ("model", "parameters", "scoreThreshold"), 0.001),
        ("model.parameters.a.b=[1]", ("model", "parameters", "a", "b"), [1]),
        # A shell eats quotes, so a field that takes a string gets one.
        ("host.cpu=2", ("host", "cpu"), "2"),
        ("host.cpu='2'", ("host", "cpu"), "2"),
        ("output.uri=on", ("output", "uri"), "on"),
        # The keys of these maps have dots themselves.
        ("spark.conf.spark.task.maxFailures=8", ("spark", "conf", "spark.task.maxFailures"), "8"),
        (
            "gpu.nodeSelector.nvidia.com/gpu.product=L4",
            ("gpu", "nodeSelector", "nvidia.com/gpu.product"),
            "L4",
        ),
    ],
)
def test_override_sets_a_field(override, path, expected):
    found: Any = overridden(override)
    for name in path:
        found = found[name]
    assert found == expected
    assert type(found) is type(expected)


def test_empty_value_removes_the_field():
    assert "tracking" not in overridden("tracking=", spec__tracking={"algorithm": "ByteTrack"})
    assert "tracking" not in overridden("tracking=null", spec__tracking={})


def test_last_override_of_a_field_wins():
    assert overridden("executors=2", "executors=3")["executors"] == 3


def test_document_itself_is_not_changed():
    document = job_document()
    apply_overrides(document, ["model.uri=other.cfg"])
    assert document == job_document()


def test_unknown_path_is_refused_like_an_unknown_field():
    document = apply_overrides(job_document(), ["spark.executer.cores=4"])
    with pytest.raises(
        SpecError, match=r"f: spec\.spark\.executer: unknown field; did you mean executor\?"
    ):
        validate_job(document, "f")


def test_value_of_the_wrong_type_is_refused_like_one_in_the_file():
    document = apply_overrides(job_document(), ["spark.executor.cores=four"])
    with pytest.raises(SpecError, match=r'expected an integer from 1 to 256, found "four"'):
        validate_job(document, "f")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "executors",
            "--set executors: expected PATH=VALUE, such as spark.executor.cores=4",
        ),
        ("=3", "--set =3: expected PATH=VALUE, such as spark.executor.cores=4"),
        ("spark..x=3", "--set spark..x=3: expected PATH=VALUE, such as spark.executor.cores=4"),
        (
            "input.uris.0=a",
            "--set input.uris.0=a: spec.input.uris is a list without fields: set it whole",
        ),
        (
            "model.uri.x=a",
            "--set model.uri.x=a: spec.model.uri is a single value without fields: set it whole",
        ),
        ("model.uri=a\n---\nb", "--set model.uri: expected one value, found 2 YAML documents"),
    ],
)
def test_senseless_override_is_refused(override, expected):
    with pytest.raises(SpecError) as caught:
        overridden(override)
    assert str(caught.value) == expected


def test_value_that_is_no_yaml_is_refused_with_its_path():
    with pytest.raises(SpecError, match=r"--set input\.uris:1:\d+: "):
        overridden("input.uris=[a")
