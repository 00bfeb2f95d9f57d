"""The mock of NVIDIA's library in the process of the tests, and a node for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from support.mock_nvml.library import build_library, load_library
from support.mock_nvml.node import MockNode


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_library(tmp_path_factory.mktemp("nvml"))
    load_library(folder)
    return folder


@pytest.fixture
def mock_node(
    nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MockNode]:
    """Four healthy GPUs; NVML is shut down at the end, whatever a test has left."""
    node = MockNode(tmp_path)
    monkeypatch.setenv("MOCK_NVML", str(node.path))
    yield node
    node.init = 0
    node.write()
    for _ in range(100):
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError_Uninitialized:
            return
