"""Opening a pickled function without importing PySpark.

Functions are pickled by the copy of cloudpickle that PySpark brings, so the pickle asks for
`pyspark.cloudpickle`, and importing that imports all of PySpark. The copy is one module that needs
nothing of PySpark; here it is loaded from its place, by the very version that pickled. Where there
is no PySpark, the package `cloudpickle` does.
"""

from __future__ import annotations

import io
import pickle
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import PurePath
from types import ModuleType
from typing import Any

from carpool.errors import HandlerError

_THEIRS = "pyspark.cloudpickle"


def open_function(pickled: bytes) -> Any:
    """Give the object that was pickled by `pyspark.cloudpickle`.

    Raises:
        HandlerError: it cannot be opened here; the message says why.
    """
    try:
        return _Unpickler(io.BytesIO(pickled)).load()
    except HandlerError:
        raise
    except Exception as error:
        raise HandlerError(
            "make_predict_fn cannot be opened in the model host, which has no Spark context, "
            f"broadcast variables or accumulators: {type(error).__name__}: {error}"
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == _THEIRS or module.startswith(f"{_THEIRS}."):
            found: Any = _cloudpickle()
            for part in name.split("."):
                found = getattr(found, part)
            return found
        return super().find_class(module, name)


@cache
def _cloudpickle() -> ModuleType:
    try:
        spark = find_spec("pyspark")  # finds the package without running it
    except ValueError:  # it is half imported
        spark = None
    for folder in spark.submodule_search_locations or () if spark else ():
        spec = PathFinder.find_spec("cloudpickle", [str(PurePath(folder, "cloudpickle"))])
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    try:
        return import_module("cloudpickle.cloudpickle")
    except ImportError as error:
        raise HandlerError(
            "the model host has neither pyspark nor cloudpickle, one of which opens the function; "
            "install cloudpickle"
        ) from error
