"""What changed between two sets of settings, in the words of the job file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

_MOST: Final = 5
_LONGEST: Final = 80
_ABSENT: Final = object()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the settings that differ, by dotted path, with both values.

    Args:
        before: nested mappings of JSON values.
        now: the same, as it is now.

    Returns:
        For example "model.parameters.scoreThreshold: was 0.25, now 0.3"; at most five settings
        and the number of others; empty if nothing differs.
    """
    old, new = dict(_leaves(before)), dict(_leaves(now))
    changed = [
        f"{path}: was {_shown(old.get(path, _ABSENT))}, now {_shown(new.get(path, _ABSENT))}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path, _ABSENT) != new.get(path, _ABSENT)
    ]
    if len(changed) > _MOST:
        changed[_MOST:] = [f"and {len(changed) - _MOST} more"]
    return "; ".join(changed)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "not set"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
