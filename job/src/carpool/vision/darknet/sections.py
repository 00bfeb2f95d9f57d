"""The text of a Darknet .cfg as sections of options that know their file and line.

Darknet itself takes what it cannot read as zero and ignores options it does not know. A network
read that way runs and gives wrong boxes, so this reader is strict: every option of a section is
read, or named as one that does not matter, or refused with its place. What must stay true: each
error says file:line, section, option, what was found and what is expected.

Grammar: research code of Darknet, `read_cfg` and `option_list.c` (github.com/AlexeyAB/darknet).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carpool.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_ALIASES = {"conv": "convolutional", "max": "maxpool", "network": "net"}
"""Section names that Darknet accepts for others."""


@dataclass(slots=True)
class Section:
    """One section, whose options are taken out one by one.

    Attributes:
        source: name of the file, for messages.
        line: line of the section's header, from 1.
        name: what stands in the brackets, aliases resolved.
        options: each option's values with their lines; more than one where the file repeats it.
    """

    source: str
    line: int
    name: str
    options: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def has(self, option: str) -> bool:
        """Whether the file gives the option."""
        return option in self.options

    def error(self, option: str, found: object, expected: str) -> ModelFormatError:
        """The error for an option with a value that cannot be used."""
        line = self.options[option][-1][1] if option in self.options else self.line
        return ModelFormatError(
            f"{self.source}:{line}: [{self.name}] {option}: found {found}, expected {expected}"
        )

    def text(self, option: str, default: str | None = None) -> str:
        """An option as text.

        Args:
            option: its name.
            default: what Darknet takes where it is absent; None if it must be there.

        Raises:
            ModelFormatError: it must be there and is not, or is there with different values.
        """
        self._taken.add(option)
        given = self.options.get(option, [])
        if len({value for value, _ in given}) > 1:
            first, line = given[0]
            raise self.error(
                option, repr(given[-1][0]), f"one value ({first!r} stands on line {line})"
            )
        value = given[0][0] if given else default
        if value is None:
            raise self.error(option, "nothing", "a value")
        return value

    def choice(self, option: str, default: str, choices: Collection[str]) -> str:
        """An option that is one of a few words.

        Raises:
            ModelFormatError: it is another word.
        """
        value = self.text(option, default)
        if value not in choices:
            raise self.error(option, repr(value), f"one of {', '.join(sorted(choices))}")
        return value

    def integer(self, option: str, default: int | None, low: int, high: int | None = None) -> int:
        """An option that is an integer from `low` to `high`, both included.

        Raises:
            ModelFormatError: it is none, or out of range, or absent without a default.
        """
        value = self.text(option, None if default is None else str(default))
        expected = f"an integer from {low}" + ("" if high is None else f" to {high}")
        expected = str(low) if low == high else expected
        number = _integer(value)
        if number is None or number < low or (high is not None and number > high):
            raise self.error(option, repr(value), expected)
        return number

    def flag(self, option: str) -> bool:
        """An option that is 0 (also where it is absent) or 1.

        Raises:
            ModelFormatError: it is something else.
        """
        return self.integer(option, 0, 0, 1) == 1

    def number(self, option: str, default: float, low: float) -> float:
        """An option that is a finite number, at least `low`.

        Raises:
            ModelFormatError: it is none, or too small.
        """
        value = self.text(option, str(default))
        number = _number(value)
        if number is None or number < low:
            raise self.error(option, repr(value), f"a number from {low:g}")
        return number

    def integers(self, option: str) -> tuple[int, ...]:
        """An option that is a list of integers, separated by commas; it must be there.

        Raises:
            ModelFormatError: it is absent, or an element is no integer.
        """
        value = self.text(option)
        found = [_integer(part) for part in value.split(",")]
        if None in found:
            raise self.error(option, repr(value), "integers separated by commas")
        return tuple(number for number in found if number is not None)

    def numbers(self, option: str) -> tuple[float, ...]:
        """An option that is a list of positive numbers, separated by commas; it must be there.

        Raises:
            ModelFormatError: it is absent, or an element is no positive number.
        """
        value = self.text(option)
        found = [_number(part) for part in value.split(",")]
        if any(number is None or number <= 0 for number in found):
            raise self.error(option, repr(value), "positive numbers separated by commas")
        return tuple(number for number in found if number is not None)

    def finish(self, ignored: Collection[str], neutral: Mapping[str, str]) -> None:
        """Refuse what was not taken.

        Args:
            ignored: options that have no influence on the network's output.
            neutral: options that would have, with the only value that is supported.

        Raises:
            ModelFormatError: an option is left that is in neither, or has another value.
        """
        for option, given in self.options.items():
            if option in self._taken or option in ignored:
                continue
            for value, _ in given:
                if option not in neutral:
                    raise self.error(option, repr(value), "none: this option is not supported")
                if not _equal(value, neutral[option]):
                    raise self.error(
                        option, repr(value), f"{neutral[option]}, all that is supported"
                    )


def read_sections(text: str, source: str) -> list[Section]:
    """Split the text of a .cfg into its sections.

    Comments begin with # or ; at the start of a line, or with # after a value. As in Darknet, white
    space counts nowhere.

    Args:
        text: content of the file.
        source: name of the file, for messages.

    Raises:
        ModelFormatError: a line is neither header, option, comment nor empty; or an option stands
            before the first header.
    """
    sections: list[Section] = []
    for line, raw in enumerate(text.splitlines(), start=1):
        content = "".join(raw.partition("#")[0].split())
        if not content or content.startswith(";"):
            continue
        if content.startswith("["):
            if not content.endswith("]") or len(content) < 3:
                raise ModelFormatError(
                    f"{source}:{line}: found {raw.strip()!r}, expected a section like [net]"
                )
            name = content[1:-1]
            sections.append(Section(source, line, _ALIASES.get(name, name)))
            continue
        option, equals, value = content.partition("=")
        if not (option and equals and value):
            raise ModelFormatError(
                f"{source}:{line}: found {raw.strip()!r}, expected option=value or [section]"
            )
        if not sections:
            raise ModelFormatError(
                f"{source}:{line}: found {raw.strip()!r} before any section, expected [net] first"
            )
        sections[-1].options.setdefault(option, []).append((value, line))
    return sections


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _equal(found: str, neutral: str) -> bool:
    """Whether two values are the same, 1.0 and 1 included."""
    return found == neutral or (_number(found) is not None and _number(found) == _number(neutral))
