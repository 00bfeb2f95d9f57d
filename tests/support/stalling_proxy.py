"""A proxy before an S3 server that stalls uploads in the middle of their bodies.

Run in a pod, `python -m support.stalling_proxy PORT SERVER MATCH FREE FOLDER`: of the PUT requests
whose target holds MATCH the first FREE pass, and of each later one the server gets all of the head
and half of what comes first of the body. The proxy then makes a file in FOLDER, named `stalled-N`,
that holds the target, and waits for the client to hang up; so whoever watches the folder can kill
the writer while it writes. It speaks HTTP/1.1 as S3 clients do: one request after another.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

_BLOCK = 65536


class Rules:
    """Which requests stall; counts those that may pass."""

    def __init__(self, match: str, free: int, folder: Path) -> None:
        self._match = match
        self._free = free
        self._folder = folder
        self._stalled = 0
        self._lock = threading.Lock()

    def stalls(self, method: str, target: str) -> bool:
        """Whether this request is to be stalled."""
        if method != "PUT" or self._match not in target:
            return False
        with self._lock:
            self._free -= 1
            return self._free < 0

    def tell(self, target: str) -> None:
        """Make the file that says so."""
        with self._lock:
            self._stalled += 1
            draft = self._folder / f".{self._stalled}"
            draft.write_text(target)
            draft.rename(self._folder / f"stalled-{self._stalled}")


def read_head(source: BinaryIO) -> bytes:
    """Lines up to the empty one, that included: a request's head; nothing at end-of-file."""
    head = b""
    while line := source.readline():
        head += line
        if line == b"\r\n":
            return head
    return b""


def forward(source: BinaryIO, server: socket.socket, length: int) -> None:
    """Pass so many bytes on."""
    while length:
        block = source.read(min(length, _BLOCK))
        if not block:
            raise ConnectionError("the client hung up in the middle of a body")
        server.sendall(block)
        length -= len(block)


def forward_body(source: BinaryIO, server: socket.socket, head: bytes) -> None:
    """Pass a body on, of the length that the head says or in chunks (RFC 9112, section 7.1)."""
    headers = dict(line.partition(b":")[::2] for line in head.lower().splitlines()[1:])
    if b"transfer-encoding" not in headers:
        forward(source, server, int(headers.get(b"content-length", b"0")))
        return
    while size := source.readline():
        server.sendall(size)
        if int(size.partition(b";")[0], 16) == 0:
            server.sendall(read_head(source))  # trailers
            return
        forward(source, server, int(size.partition(b";")[0], 16) + len(b"\r\n"))


def pass_answers(server: socket.socket, client: socket.socket) -> None:
    """Pass on what the server says."""
    try:
        while block := server.recv(_BLOCK):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        return


def serve(client: socket.socket, server: socket.socket, rules: Rules) -> None:
    """Pass requests on until one stalls or the client hangs up."""
    source: BufferedReader = client.makefile("rb")
    while head := read_head(source):
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        server.sendall(head)
        if not rules.stalls(method, target):
            forward_body(source, server, head)
            continue
        begun = source.read1(_BLOCK)
        server.sendall(begun[: len(begun) // 2])
        rules.tell(target)
        while source.read(_BLOCK):
            pass
        return


def main(port: int, address: str, match: str, free: int, folder: Path) -> None:
    """Listen; a file `listening` says when."""
    rules = Rules(match, free, folder)
    host, _, server_port = address.partition(":")

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(server_port))) as server:
                threading.Thread(target=pass_answers, args=(server, self.request)).start()
                try:
                    serve(self.request, server, rules)
                finally:
                    server.shutdown(socket.SHUT_RDWR)

    with socketserver.ThreadingTCPServer(("", port), Connection) as listening:
        (folder / "listening").touch()
        listening.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
