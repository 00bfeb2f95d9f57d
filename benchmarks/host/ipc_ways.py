"""Ways of an item from one process to another and of its boxes back; each the best of its kind.

Each way is two functions: `serve` answers requests until told to end, `ask` makes the function that
makes one request and waits for the answer. Nobody computes, and nobody copies an item but where the
way itself has to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.host.hosts import Serving
from benchmarks.host.idle_handler import ROWS

Item = NDArray[np.uint8]
Ask = Callable[[Item], None]
_METHOD = "/carpool.Benchmark/Predict"
_REPLY = ROWS.tobytes()


def ask_carpool(host: Serving, *, write: bool = False, wait: bool = True) -> Ask:
    """Carpool's host: items lie in shared memory; they are decoded there, or written there.

    A request fills its slot.

    Args:
        host: to be asked.
        write: copy an item into its slot. Decoding in place costs what decoding anywhere costs, so
            it is modelled by writing nothing.
        wait: for the answer. Otherwise as tasks do it: go on as far as the credits reach, and take
            what has been answered meanwhile.
    """
    client = host.client()

    def ask(item: Item) -> None:
        slot = client.acquire()
        if write:
            slot.items[0] = item
        client.submit(slot, len(slot.items))
        for done in client.drain() if wait else client.completed():
            assert len(done.rows[-1]) == len(ROWS)

    return ask


def items_of_a_request(host: Serving) -> int:
    """Items that a client may send at a time."""
    with host.client() as client:
        return len(client.acquire().items)


def serve_pipe(address: Path) -> None:
    """Arrays over a connection of multiprocessing: they are pickled, written, read, unpickled."""
    with (
        Listener(str(address), family="AF_UNIX") as listener,
        listener.accept() as connection,
        suppress(EOFError),
    ):
        while connection.recv() is not None:
            connection.send(ROWS)


def ask_pipe(address: Path) -> Ask:
    """The other end."""
    connection = Client(str(address), family="AF_UNIX")

    def ask(item: Item) -> None:
        connection.send(item)
        assert len(connection.recv()) == len(ROWS)

    return ask


def serve_socket(address: Path, size: int) -> None:
    """A Unix stream socket: raw bytes into a buffer that is there already."""
    item = np.empty(size, np.uint8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            while _read(connection, memoryview(item)):
                connection.sendall(_REPLY)


def ask_socket(address: Path) -> Ask:
    """The other end."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(address))
    reply = bytearray(len(_REPLY))

    def ask(item: Item) -> None:
        connection.sendall(memoryview(item).cast("B"))
        assert _read(connection, memoryview(reply))

    return ask


def _read(connection: socket.socket, into: memoryview) -> bool:
    while into:
        count = connection.recv_into(into)
        if not count:
            return False
        into = into[count:]
    return True


def serve_grpc(address: Path) -> None:
    """GRPC over a Unix socket with plain bytes: what most model servers are spoken to by."""
    handler = grpc.unary_unary_rpc_method_handler(
        lambda _item, _context: _REPLY,
        request_deserializer=lambda raw: np.frombuffer(raw, np.uint8),
        response_serializer=None,
    )
    service, method = _METHOD.strip("/").split("/")
    server = grpc.server(futures.ThreadPoolExecutor(1), options=_unlimited())
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    server.add_insecure_port(f"unix://{address}")
    server.start()
    server.wait_for_termination()


def ask_grpc(address: Path) -> Ask:
    """The other end."""
    channel = grpc.insecure_channel(f"unix://{address}", options=_unlimited())
    call = channel.unary_unary(
        _METHOD,
        request_serializer=lambda item: item.tobytes(),
        response_deserializer=lambda raw: np.frombuffer(raw, np.float32).reshape(-1, 6),
    )

    def ask(item: Item) -> None:
        assert len(call(item)) == len(ROWS)

    return ask


def _unlimited() -> list[tuple[str, int]]:
    return [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
