"""The GPUs of one node as the mock library has them, changed while programs look at them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

DRIVER = "570.124.06"
L4_MEMORY = 23034 * 1024**2


@dataclass
class MockPart:
    """A MIG device."""

    uuid: str
    profile: str = "1g.10gb"
    memory: int = 9856 * 1024**2
    gi: int = 1
    ci: int = 0
    pids: list[int] = field(default_factory=list)

    def line(self, gpu: int) -> str:
        name = f"NVIDIA~H100~MIG~{self.profile}"
        return (
            f"mig gpu={gpu} uuid={self.uuid} name={name} memory={self.memory} used=1048576 "
            f"gi={self.gi} ci={self.ci} pids={_joined(self.pids)}"
        )


@dataclass
class MockGpu:
    """A GPU; what is None or empty is not told. `error`: what every call about it answers."""

    uuid: str
    name: str = "NVIDIA L4"
    memory: int = L4_MEMORY
    used: int = 512 * 1024**2
    minor: int = 0
    pci: str = "00000000:3B:00.0"
    util: int = 0
    temp: int = 40
    lost: int = 0
    error: int = 0
    delay_ms: int = 0
    recovery: int = 0
    remap_failed: int = 0
    mig: int = 0
    pids: list[int] = field(default_factory=list)
    parts: list[MockPart] = field(default_factory=list)

    def lines(self, index: int) -> Iterable[str]:
        words = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "pids":
                words.append(f"pids={_joined(value)}")
            elif each.name != "parts":
                words.append(f"{each.name}={str(value).replace(' ', '~')}")
        yield " ".join(["gpu", *words])
        for part in self.parts:
            yield part.line(index)


class MockNode:
    """A control file, and what stands in it.

    Change `gpus` (or `driver`, `init`), then `write`.
    """

    def __init__(self, folder: Path, gpus: int = 4, name: str = "gpu-node") -> None:
        """Write the file of a node with healthy GPUs, whose UUIDs follow from the node's name."""
        self.path = folder / f"{name}.nvml"
        self.driver = DRIVER
        self.init = 0
        self.gpus = [
            MockGpu(
                uuid=f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}/{index}')}",
                minor=index,
                pci=f"00000000:{0x3B + index:02X}:00.0",
            )
            for index in range(gpus)
        ]
        self._xids: list[str] = []
        self.write()

    @property
    def uuids(self) -> list[str]:
        return [gpu.uuid for gpu in self.gpus]

    def write(self) -> None:
        """Put it in force; the mock reads a whole file or none."""
        lines = [f"driver {self.driver}", f"init {self.init}"]
        for index, gpu in enumerate(self.gpus):
            lines += gpu.lines(index)
        lines += self._xids
        made = self.path.with_suffix(".new")
        made.write_text("\n".join(lines) + "\n", encoding="ascii")
        os.replace(made, self.path)  # noqa: PTH105 - as the mock expects it: one rename

    def xid(self, index: int, code: int, part: MockPart | None = None) -> None:
        """Let the driver report an error of a GPU, or of a MIG device of it."""
        line = f"xid seq={len(self._xids) + 1} gpu={index} code={code}"
        self._xids.append(line + (f" gi={part.gi} ci={part.ci}" if part else ""))
        self.write()

    def environment(self, library: Path) -> dict[str, str]:
        """Variables with which a program sees this node."""
        return {"LD_LIBRARY_PATH": str(library), "MOCK_NVML": str(self.path)}


def _joined(pids: Iterable[int]) -> str:
    return ",".join(str(pid) for pid in pids)
