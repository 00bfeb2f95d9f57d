"""The command line: exit codes and what it says when something is wrong."""

from __future__ import annotations

import json

import pytest
import yaml

from carpool.cli.main import main
from support.job_documents import job_document


@pytest.fixture
def job_file(tmp_path):
    def write(**changes):
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(job_document(**changes)))
        return path

    return write


def test_a_valid_job_is_said_to_be_valid(job_file, capsys):
    assert main(["validate", str(job_file())]) == 0
    assert "is valid" in capsys.readouterr().out


def test_a_wrong_field_is_named_and_exits_with_1(job_file, capsys):
    path = job_file(spec__executors="two")
    assert main(["validate", str(path)]) == 1
    assert f"{path}: spec.executors: expected" in capsys.readouterr().err


def test_a_wrong_command_line_exits_with_1_not_with_partially_succeeded(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == 1
    assert "FILE" in capsys.readouterr().err


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["spec"]


def test_results_of_a_folder_without_any_say_so(tmp_path, capsys):
    assert main(["results", str(tmp_path / "nothing")]) == 1
    assert "holds no results" in capsys.readouterr().err


def test_a_job_that_cannot_run_yet_is_refused_before_anything_is_written(
    job_file, tmp_path, capsys
):
    path = job_file(spec__input__kind="Images", spec__output__uri=str(tmp_path / "out"))
    assert main(["run", str(path), "-o", "json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["reason"] == "InvalidSpec"
    assert "spec.input.kind" in captured.err
    assert not (tmp_path / "out").exists()
