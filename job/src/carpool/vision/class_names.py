"""Class names as text: one a line, in the order of their ids."""

from __future__ import annotations

from carpool.errors import ModelFormatError


def parse_names(text: str, source: str) -> tuple[str, ...]:
    """Read class names.

    Args:
        text: a name a line; empty lines at the end do not count.
        source: where the text is from, for messages.

    Raises:
        ModelFormatError: a line is empty, or repeats another; the message names it.
    """
    names: list[str] = []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        name = line.strip()
        if not name or name in names:
            shown = f"{name!r} again" if name else "an empty line"
            raise ModelFormatError(
                f"{source}:{number}: found {shown}, expected a class name, each once"
            )
        names.append(name)
    return tuple(names)
