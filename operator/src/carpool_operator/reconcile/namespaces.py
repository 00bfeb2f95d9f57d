"""Which namespaces' jobs are run: a list, those with certain labels, or all."""

from __future__ import annotations

from collections.abc import Mapping


class Namespaces:
    """The choice, and what is known of namespaces' labels where it depends on them."""

    def __init__(
        self, names: tuple[str, ...] = (), selector: Mapping[str, str] | None = None
    ) -> None:
        """Choose by names or by labels; all, if neither is given."""
        self._names = frozenset(names)
        self._selector = selector
        self._labelled: set[str] = set()

    @property
    def by_labels(self) -> bool:
        """Whether namespaces must be watched to know."""
        return self._selector is not None

    def served(self, namespace: str) -> bool:
        """Whether jobs of this namespace are run."""
        if self._selector is not None:
            return namespace in self._labelled
        return not self._names or namespace in self._names

    def seen(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Note a namespace's labels; whether that changes the choice."""
        chosen = self._selector is not None and self._selector.items() <= dict(labels).items()
        return self._note(namespace, chosen)

    def gone(self, namespace: str) -> bool:
        """Note that a namespace is no more; whether that changes the choice."""
        return self._note(namespace, chosen=False)

    def _note(self, namespace: str, chosen: bool) -> bool:
        changed = chosen != (namespace in self._labelled)
        (self._labelled.add if chosen else self._labelled.discard)(namespace)
        return changed
