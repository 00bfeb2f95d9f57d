from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carpool.errors import SpecError
from carpool.host.config import HostConfig, ModelFiles, SimulatedDevice

FULL = HostConfig(
    handler="module:Class",
    parameters={"inputSize": [416, 416], "scoreThreshold": 0.5, "classes": None},
    model=ModelFiles(uri="/models/m.cfg", sha256="ab" * 32, files={"weights": "/models/m.weights"}),
    precision="Float16",
    max_batch=8,
    deterministic=True,
    backend="simulated",
    simulated=SimulatedDevice(base_ms=2, item_ms=0.5, bad_prefix="fb"),
    memory_fraction=0.5,
    without=("cuda_graphs", "overlap"),
    python_path=("/code", "/more"),
)


def test_a_written_configuration_is_read_back(tmp_path: Path) -> None:
    for config in (FULL, HostConfig(handler="module:Class")):
        config.write(tmp_path / "host.json")
        found = HostConfig.read(tmp_path / "host.json")
        assert found == config
        assert found.model_key == config.model_key
    assert [path.name for path in tmp_path.iterdir()] == ["host.json"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"handler": 5}, "handler is 5, expected str"),
        ({"handlr": "x"}, "unknown field handlr"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"max_batch": True}, "max_batch is True, expected int"),
        ({"precision": "Float8"}, "precision is 'Float8', expected one of Auto, Float32"),
        ({"backend": "abacus"}, "backend is 'abacus'"),
        ({"model": {"uri": 7}}, "model: uri is 7, expected str"),
        ({"model": {"files": {"weights": 7}}}, "files.weights is 7"),
        ({"model": "path"}, "model: expected an object"),
        ({"python_path": "/code"}, "python_path is '/code', expected a list"),
        ({"simulated": {"base_ms": "slow"}}, "base_ms is 'slow', expected float"),
        ({"expected_clients": 0}, "expected_clients is 0"),
        ({"watchdog_seconds": 0}, "watchdog_seconds is 0"),
        ({"simulated": {"depth": 0}}, "depth is 0"),
        ({"memory_fraction": 0}, "memory_fraction is 0"),
        ({"memory_fraction": 1.5}, "memory_fraction is 1.5"),
        ({"without": ["shared_batches"], "backend": "records"}, "cannot leave out"),
        ({"without": ["luck"]}, "without is 'luck', expected one of pinned_arenas"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps({"handler": "module:Class"} | changes))
    with pytest.raises(SpecError, match=said):
        HostConfig.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "host.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"host\.json"):
        HostConfig.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.json"):
        HostConfig.read(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"handler": "module:Other"},
        {"parameters": {}},
        {"model": ModelFiles(uri="/models/other.cfg")},
        {"precision": "Float32"},
        {"deterministic": False},
        {"max_batch": 4},
        {"device": "cuda:0"},
        {"threads": 2},
    ],
)
def test_what_changes_results_changes_the_key(changes: dict[str, Any]) -> None:
    assert replace(FULL, **changes).model_key != FULL.model_key


@pytest.mark.parametrize("changes", [{"expected_clients": 9}, {"python_path": ()}])
def test_what_changes_no_result_leaves_the_key(changes: dict[str, Any]) -> None:
    assert replace(FULL, **changes).model_key == FULL.model_key


def test_threads_and_batch_are_in_the_key_only_where_results_are_to_be_the_same() -> None:
    free = replace(FULL, deterministic=False)
    assert replace(free, threads=3, max_batch=2).model_key == free.model_key
