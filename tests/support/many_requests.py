"""Many requests to the API server, several at once: each thread has a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from support.control_plane.client import ApiClient
from support.control_plane.plane import ControlPlane

_CLIENTS = 4

Call = Callable[[ApiClient, Any], Any]


@contextmanager
def many_requests(plane: ControlPlane) -> Iterator[Callable[[Call, Iterable[Any]], None]]:
    """Gives a function that calls once for each of some things, in no particular order."""
    clients = [plane.user(f"carpool-many-{number}", "system:masters") for number in range(_CLIENTS)]
    with ThreadPoolExecutor(_CLIENTS) as threads:

        def each(call: Call, things: Iterable[Any]) -> None:
            listed = list(things)

            def work(number: int) -> None:
                for thing in listed[number::_CLIENTS]:
                    call(clients[number], thing)

            for _ in threads.map(work, range(_CLIENTS)):
                pass  # raises what a call has raised

        yield each
    for client in clients:
        client.close()
