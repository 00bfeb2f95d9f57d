"""Where in an archive something was found, and the errors that name it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from carpool.errors import ModelFormatError, ModelUnsafe

_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a model file.

    Attributes:
        file: name of the model file.
        entry: entry of the archive; empty for the archive itself.
        path: path of a value inside the entry, such as "graph.nodes[3].target".
    """

    file: str
    entry: str = ""
    path: str = ""

    def inside(self, entry: str) -> Place:
        """The place of an entry of this archive."""
        return replace(self, entry=entry, path="")

    def field(self, name: str) -> Place:
        """The place of a field of this value."""
        return replace(self, path=f"{self.path}.{name}" if self.path else name)

    def element(self, key: int | str) -> Place:
        """The place of an element of this list or mapping."""
        return replace(self, path=f"{self.path}[{shown(key)}]")

    def unsafe(self, found: str, advice: str = "") -> ModelUnsafe:
        """The error for what is not known to be safe."""
        return ModelUnsafe(f"{self}: {found}{f'; {advice}' if advice else ''}")

    def malformed(self, found: str, advice: str = "") -> ModelFormatError:
        """The error for what is broken, or of a kind that cannot be used."""
        return ModelFormatError(f"{self}: {found}{f'; {advice}' if advice else ''}")

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.entry, self.path) if part)


def shown(value: object) -> str:
    """A value from an untrusted file for a message: printable and short."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
