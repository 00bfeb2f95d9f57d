"""How threads reach the event loop: a queue whose descriptor wakes it, if it sleeps.

What must stay true: no letter stays unread while the event loop sleeps. It says that it is about
to, and looks for letters after that; a thread leaves its letter, and looks whether it sleeps after
that. So at least one of the two sees the other, and mostly nobody has to call the kernel.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any


class Mailbox:
    """Letters from any thread to the one that waits for `fileno()`."""

    def __init__(self) -> None:
        self._letters: deque[Any] = deque()
        self._asleep = False
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Written to when there is a letter for one who sleeps; an edge, nobody reads from it."""
        return self._event

    def post(self, letter: Any) -> None:
        """Leave a letter (any thread)."""
        self._letters.append(letter)
        if self._asleep:
            self._asleep = False  # whoever comes now need not wake it as well
            os.eventfd_write(self._event, 1)

    def may_sleep(self) -> bool:
        """Whether there is nothing to read; then the next letter is told of (the event loop)."""
        self._asleep = True
        return not self._letters

    def collect(self) -> list[Any]:
        """Take all letters, oldest first (the event loop, awake)."""
        self._asleep = False
        letters: list[Any] = []
        while self._letters:
            letters.append(self._letters.popleft())
        return letters

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._event)
