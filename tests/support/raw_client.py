"""A client of the host that keeps no rule but those a test wants kept: one packet at a time."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from carpool.host.arena import Arena, ArenaLayout, SlotFormat, create_arena
from carpool.host.config import HostConfig
from carpool.host.messages import Alive, Hello, Message, Offer, Ready, Refusal, Welcome
from carpool.host.protocol import decode, encode
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE
from support.host_process import PATIENCE

FORMAT = SlotFormat(SHAPE, OUTPUT_ROWS, ROW_WIDTH)


class RawClient:
    """A connection, and the arena once there is one."""

    def __init__(self, socket_path: Path, config: HostConfig) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(socket_path))
        self.hello = Hello(config.model_key, SHAPE, "uint8", OUTPUT_ROWS, ROW_WIDTH, "raw")
        self.arena: Arena | None = None

    def say(self, message: Message | bytes, *descriptors: int) -> None:
        packet = message if isinstance(message, bytes) else encode(message)
        socket.send_fds(self.socket, [packet], descriptors)

    def hear(self) -> Message:
        """The next message that is more than a sign of life, of which a few may come before."""
        for _ in range(100):
            message = decode(self.socket.recv(5000))
            if not isinstance(message, Alive):
                return message
        raise AssertionError("signs of life and nothing else")

    def greet(self) -> Welcome:
        self.say(self.hello)
        welcome = self.hear()
        assert isinstance(welcome, Welcome)
        return welcome

    def offer(self) -> None:
        """Say HELLO and hand over the arena that the host asks for."""
        welcome = self.greet()
        layout = ArenaLayout(FORMAT, welcome.slots, welcome.items)
        self.arena, descriptor = create_arena(layout)
        self.say(Offer(layout.slots, layout.items, layout.size), descriptor)
        os.close(descriptor)

    def shake_hands(self) -> Ready:
        """Come to READY."""
        self.offer()
        ready = self.hear()
        assert isinstance(ready, Ready)
        return ready

    def refusal(self) -> Refusal:
        """The refusal that is to come, and the end of file after it."""
        answer = self.hear()
        assert isinstance(answer, Refusal), answer
        assert self.socket.recv(5000) == b""
        return answer

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
