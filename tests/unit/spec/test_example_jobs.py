from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from carpool.spec import check_runnable, dump_job, json_schema, load_job, parse_job

FOLDER = Path(__file__).resolve().parents[3] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def test_the_examples_that_the_documents_name_are_there():
    assert {path.name for path in EXAMPLES} >= {
        "cluster-gpu.yaml",
        "darknet-video.yaml",
        "detection-only.yaml",
        "local-oracle.yaml",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_and_can_be_run(path):
    job = load_job(path)
    check_runnable(job)
    assert parse_job(dump_job(job), "dump") == job


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_editors_find_nothing_wrong_with_an_example(path):
    # Read by plain PyYAML: an example must not depend on how Carpool reads YAML.
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [
        error.message for error in Draft202012Validator(json_schema()).iter_errors(document)
    ] == []
