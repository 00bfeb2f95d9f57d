"""What a video container says about itself, read from its outermost structure.

OpenCV says only that a file opens or not, and stops without a word where the data ends early. The
container knows more: how many bytes it should have (a truncated upload), how many frames it holds,
and whether an edit list hides some of them, in which case packets and frames do not match. Nothing
here is needed for a healthy file to be read, so whatever cannot be understood is answered with
"unknown", never with an error.

Formats: ISO base media (MP4, MOV; ISO/IEC 14496-12), RIFF (AVI), Matroska/WebM (RFC 9559).
"""

from __future__ import annotations

import codecs
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["iso", "riff", "matroska", "playlist", "text", "other"]

_ISO_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0\r\n", b"v=0\n", b"<MPD", b"RTSPtext")
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MOOV_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class Container:
    """What a file says about itself.

    Attributes:
        kind: family of the container; "other" includes all that is not recognised.
        size: bytes of the file.
        declared_size: bytes the container says it needs; None where it does not say.
        samples: video samples in an ISO file's index; 0 where unknown or fragmented.
        hides_frames: an edit list shows only a part of the samples, or shows some twice.
        start: the first bytes, for messages.
    """

    kind: Kind
    size: int
    declared_size: int | None = None
    samples: int = 0
    hides_frames: bool = False
    start: bytes = b""

    @property
    def truncated(self) -> bool:
        """The file ends before the container does."""
        return self.declared_size is not None and self.declared_size > self.size


def inspect(path: Path) -> Container:
    """Read what a file says about itself.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(512)
        if start[4:8] in _ISO_FIRST_BOXES:
            declared, moov = _walk_boxes(file, size)
            samples, hides = _video_facts(moov)
            return Container("iso", size, declared, samples, hides, start)
        if start[:4] == b"RIFF":
            return Container("riff", size, _riff_size(start), start=start)
        if start[:4] == _EBML:
            return Container("matroska", size, _segment_end(file), start=start)
    return Container(_kind_by_text(start), size, start=start)


def _kind_by_text(start: bytes) -> Kind:
    """Tell text from binary: FFmpeg plays text files as ANSI art, and follows playlists."""
    if start.lstrip(b"\xef\xbb\xbf").startswith(_PLAYLISTS):
        return "playlist"
    if not start or start.startswith(b"YUV4MPEG2"):
        return "other"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "other"
    return "text" if all(char.isprintable() or char in "\t\r\n\f" for char in text) else "other"


def _walk_boxes(file: BinaryIO, size: int) -> tuple[int | None, bytes]:
    """The end of the last top-level box, and the content of `moov`."""
    at = 0
    moov = b""
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            extended = file.read(8)
            if len(extended) < 8:
                return None, moov
            length, header = struct.unpack(">Q", extended)[0], 16
        elif length == 0:
            length = size - at
        if length < header or not (name.isalnum() or name in {b"\xa9xyz", b"ID32"}):
            return None, moov  # not a box: what follows cannot be judged
        if name == b"moov" and length <= min(_MOOV_LIMIT, size - at):
            moov = file.read(length - header)
        at += length
    return at, moov


def _riff_size(start: bytes) -> int | None:
    size: int = struct.unpack_from("<I", start.ljust(8, b"\0"), 4)[0]
    return None if size in {0, 0xFFFFFFFF} else size + 8


def _segment_end(file: BinaryIO) -> int | None:
    """Where the Matroska segment ends; None for live files of unknown size."""
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    length = _ebml_size(file)
    return None if length is None else file.tell() + length


def _ebml_size(file: BinaryIO) -> int | None:
    """A variable-length integer (RFC 8794, section 4); None for "unknown" or the end of file."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - length)) - 1)]) + rest, "big")
    return None if value == (1 << (7 * length)) - 1 else value


def _video_facts(moov: bytes) -> tuple[int, bool]:
    """(samples, hides_frames) of the first video track; (0, False) where they cannot be read."""
    try:
        boxes = _children(moov)
        movie_scale = _timescale(boxes[b"mvhd"][0])
        for trak in boxes.get(b"trak", []):
            track = _children(trak)
            media = _children(track[b"mdia"][0])
            if media[b"hdlr"][0][8:12] == b"vide":
                edits = _children(track[b"edts"][0]).get(b"elst") if b"edts" in track else None
                return _track_facts(media, edits[0] if edits else b"", movie_scale)
    except (KeyError, IndexError, struct.error, ZeroDivisionError):
        pass
    return 0, False


def _track_facts(
    media: dict[bytes, list[bytes]], elst: bytes, movie_scale: int
) -> tuple[int, bool]:
    tables = _children(_children(media[b"minf"][0])[b"stbl"][0])
    samples: int = struct.unpack_from(">I", tables[b"stsz"][0], 8)[0]
    if not samples or not elst:
        return samples, False
    header = media[b"mdhd"][0]
    media_scale = _timescale(header)
    version = header[0]
    duration: int = struct.unpack_from(">Q" if version else ">I", header, 24 if version else 16)[0]
    first_shown = 0
    if ctts := tables.get(b"ctts"):
        first_shown = struct.unpack_from(">i", ctts[0], 12)[0]
    edits = [edit for edit in _edits(elst) if edit[1] >= 0]  # -1: an empty edit, only a delay
    if len(edits) != 1:
        return samples, True
    length, media_time, rate = edits[0]
    end = media_time + length / movie_scale * media_scale
    # A frame is hidden when it starts outside of the edit. Edits are rounded to the movie's coarser
    # clock, which may take a little off the last frame without hiding it.
    shown_end = first_shown + duration - duration / samples / 2
    hides = media_time > max(first_shown, 0) or end < shown_end or rate != 0x10000
    return samples, hides and length != 0


def _edits(elst: bytes) -> list[tuple[int, int, int]]:
    """(segment duration, media time, rate 16.16) of each entry of an `elst` box."""
    entry = struct.Struct(">QqI" if elst[0] else ">IiI")
    count = struct.unpack_from(">I", elst, 4)[0]
    return [entry.unpack_from(elst, 8 + entry.size * at) for at in range(min(count, 1000))]


def _timescale(header: bytes) -> int:
    """The clock rate of an `mvhd` or `mdhd` box, ticks per second."""
    rate: int = struct.unpack_from(">I", header, 20 if header[0] else 12)[0]
    return rate


def _children(data: bytes) -> dict[bytes, list[bytes]]:
    """The contents of the boxes inside a box, by name."""
    found: dict[bytes, list[bytes]] = {}
    at = 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if length < 8:
            break
        found.setdefault(name, []).append(data[at + 8 : at + length])
        at += length
    return found
