"""Opening a function in the host: without PySpark, and with a reason where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pyspark import cloudpickle

from carpool.errors import HandlerError
from carpool.udf.opening import open_function


def test_a_closure_is_opened_without_importing_pyspark(tmp_path):
    three = 3

    class Model:
        def __call__(self, x: int) -> int:
            return x * three

    (tmp_path / "pickled").write_bytes(cloudpickle.dumps(Model))
    program = (
        "import sys; from pathlib import Path; from carpool.udf.opening import open_function\n"
        "print(open_function(Path(sys.argv[1]).read_bytes())()(14), 'pyspark' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pickled")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == "42 False\n"


def test_where_neither_pyspark_nor_cloudpickle_is_installed_the_error_names_them(tmp_path):
    (tmp_path / "pickled").write_bytes(cloudpickle.dumps(lambda: 1))
    program = (
        "import sys; from pathlib import Path\n"
        "import carpool.udf.opening as opening\n"
        "opening.find_spec = lambda name: None\n"
        "sys.modules['cloudpickle'] = None\n"
        "opening.open_function(Path(sys.argv[1]).read_bytes())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pickled")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "neither pyspark nor cloudpickle" in told.stderr


def test_what_cannot_be_opened_is_named(tmp_path: Path):
    with pytest.raises(HandlerError, match=r"cannot be opened in the model host.*truncated"):
        open_function(cloudpickle.dumps(lambda: 1)[:20])
