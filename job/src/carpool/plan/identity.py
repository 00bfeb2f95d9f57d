"""Names that follow from content: equal input gives equal names, on any machine, in any run.

Output files are named after these, so that a retried or resumed job finds what it has done, and a
changed file, range, model or parameter gives another name. What must stay true: an identity is a
function of its arguments alone, and changing how it is computed makes every old result unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from carpool.inputs.filesystem import InputFile
from carpool.inputs.video_decode import FrameRange

_DIGITS = 32


def fingerprint(facts: Mapping[str, Any]) -> str:
    """The identity of everything besides the input that results depend on.

    Args:
        facts: JSON values: the model's checksum, format, precision, handler, parameters, ….

    Returns:
        32 hexadecimal digits; independent of the order of keys.

    Raises:
        TypeError: a value is none of JSON's.
        ValueError: a number is not finite.
    """
    canonical = json.dumps(
        facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def video_id(file: InputFile, every_nth: int, model: str) -> str:
    """The identity of one video's results.

    Args:
        file: the file as planned; its URI, size and modification time count.
        every_nth: only each n-th frame is used.
        model: `fingerprint` of the model.
    """
    return fingerprint({"kind": "video", "every_nth": every_nth, "model": model, **_facts(file)})


def unit_id(file: InputFile, frames: FrameRange, every_nth: int, model: str) -> str:
    """The identity of one work unit's results: that of the video, and the range."""
    return fingerprint(
        {
            "kind": "unit",
            "every_nth": every_nth,
            "model": model,
            "first": frames.first,
            "stop": frames.stop,
            **_facts(file),
        }
    )


def unreadable_id(file: InputFile, model: str) -> str:
    """The identity of a file that gave no work unit."""
    return fingerprint({"kind": "unreadable", "model": model, **_facts(file)})


def _facts(file: InputFile) -> dict[str, Any]:
    return {"uri": file.uri, "size": file.size, "modified_ns": file.modified_ns}
