"""How threads reach the event loop: a queue whose descriptor becomes readable."""

from __future__ import annotations

import os
from collections import deque
from typing import Any


class Mailbox:
    """Letters from any thread to the one that selects on `fileno()`."""

    def __init__(self) -> None:
        self._letters: deque[Any] = deque()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Readable while there are letters."""
        return self._event

    def post(self, letter: Any) -> None:
        """Leave a letter (any thread)."""
        self._letters.append(letter)
        os.eventfd_write(self._event, 1)

    def collect(self) -> list[Any]:
        """Take all letters, oldest first (the event loop)."""
        try:
            # Before the letters are taken: one posted in between leaves the descriptor readable.
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        letters: list[Any] = []
        while self._letters:
            letters.append(self._letters.popleft())
        return letters

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._event)
