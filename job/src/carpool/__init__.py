"""Many Spark tasks, one model: batch DNN inference on Spark and Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carpool.udf.function import predict_batch_udf

__all__ = ["__version__", "predict_batch_udf"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what needs Spark when it is asked for: importing `carpool` alone costs nothing."""
    if name == "predict_batch_udf":
        from carpool.udf.function import predict_batch_udf  # noqa: PLC0415 - see above

        return predict_batch_udf
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
