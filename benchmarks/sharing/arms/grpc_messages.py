"""What gRPC's server and clients say to each other, as bytes. Pure.

float:    items u32 | float32 [items, 3, h, w], values 0 to 255
register: pid u32, descriptor u32, slots u32, items u32      shared memory of a client
shared:   client u32, slot u32, items u32                    uint8 [items, h, w, 3] are in the slot
answer:   items u32 | rows of each u32 | float32 [rows, 6]
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carpool.vision.handler import Rows

SERVICE = "carpool.Benchmark"
FLOAT, REGISTER, SHARED = "Float", "Register", "Shared"
COUNT = struct.Struct("<I")
REGISTRATION = struct.Struct("<IIII")
REQUEST = struct.Struct("<III")
ROW_WIDTH = 6


def pack_floats(frames: NDArray[np.uint8]) -> bytes:
    """Frames uint8 [n, h, w, 3] as a float message: planar, four bytes a value."""
    return COUNT.pack(len(frames)) + frames.transpose(0, 3, 1, 2).astype(np.float32).tobytes()


def unpack_floats(message: bytes, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Float32 [n, 3, h, w], a view of the message."""
    height, width, channels = shape
    (count,) = COUNT.unpack_from(message)
    values = np.frombuffer(message, np.float32, offset=COUNT.size)
    return values.reshape(count, channels, height, width)


def pack_rows(rows: Sequence[Rows]) -> bytes:
    """Rows of each item as an answer."""
    counts = np.array([len(each) for each in rows], np.uint32)
    values = [np.ascontiguousarray(each, np.float32).tobytes() for each in rows]
    return b"".join([COUNT.pack(len(rows)), counts.tobytes(), *values])


def unpack_rows(message: bytes) -> list[Rows]:
    """Rows of each item."""
    (items,) = COUNT.unpack_from(message)
    counts = np.frombuffer(message, np.uint32, items, COUNT.size)
    values = np.frombuffer(message, np.float32, offset=COUNT.size * (1 + items))
    ends = np.cumsum(counts)
    table = values.reshape(-1, ROW_WIDTH)
    return [table[end - count : end] for end, count in zip(ends, counts, strict=True)]


def options() -> list[tuple[str, int]]:
    """Of channels and servers: messages as large as they are."""
    return [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
