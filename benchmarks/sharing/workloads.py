"""The networks, and the devices that they are measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.sharing.handlers import FLOAT_DARKNET, HEAVY, SIMULATED
from carpool.host.config import SimulatedDevice
from carpool.vision.darknet.cfg import read_network
from carpool.vision.darknet.random_weights import random_weights
from carpool.vision.darknet.weights import write_weights
from support.darknet_cfgs import yolov3_cfg, yolov3_tiny_cfg

DARKNET = "carpool.vision.darknet.handler:DarknetDetector"
CLASSES = 80
Kind = Literal["cuda", "cpu", "simulated"]


@dataclass(frozen=True, slots=True)
class Target:
    """A device.

    Attributes:
        kind: what it is.
        device: torch's name for it.
        cores: processor cores that all processes have together.
    """

    kind: Kind
    device: str
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A network that is ready to be loaded.

    Attributes:
        name: of the network.
        handler: `module:Class`.
        parameters: of the handler.
        shape: (height, width, 3) of a frame.
        model: the .cfg, where there is one.
        files: further files of the model by role.
        float_handler: the same network whose items are float32, where there is one.
        simulated: how the simulated device takes it.
        says: what it is, for people.
    """

    name: str
    handler: str
    parameters: Mapping[str, Any]
    shape: tuple[int, int, int]
    model: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    float_handler: str | None = None
    simulated: SimulatedDevice = field(default_factory=SimulatedDevice)
    says: str = ""


def yolov3(folder: Path, size: int, score: float | None = None) -> Workload:
    """The full YOLO-v3 (62 million values), random ones, at a size of input.

    Args:
        folder: for its files.
        size: of the input.
        score: that boxes must exceed; None leaves it to the detector.
    """
    made = _darknet(folder, "yolov3", yolov3_cfg(size, size, CLASSES), size, "YOLO-v3")
    if score is None:
        return made
    return replace(
        made,
        parameters={**made.parameters, "scoreThreshold": score},
        says=f"{made.says}, boxes that score more than {score:g}",
    )


def light(folder: Path, size: int, filters: int = 16) -> Workload:
    """YOLO-v3-tiny, random values; `filters` of the first layer, 16 as published."""
    cfg = yolov3_tiny_cfg(size, size, CLASSES, filters)
    return _darknet(folder, "light", cfg, size, f"YOLO-v3-tiny with {filters} filters first")


def heavy(size: int, width: int, layers: int, value_bytes: int) -> Workload:
    """Square layers that are all weights; see `HeavyModel`."""
    shape = (size, size, 3)
    mib = layers * width * width * value_bytes >> 20
    return Workload(
        name="heavy",
        handler=HEAVY,
        parameters={"shape": list(shape), "width": width, "layers": layers},
        shape=shape,
        says=f"{layers} square layers of {width}, {mib:,} MiB, frames of {size} x {size}",
    )


def simulated(size: int, device: SimulatedDevice, load_seconds: float) -> Workload:
    """A network that only takes time and memory."""
    shape = (size, size, 3)
    return Workload(
        name="simulated",
        handler=SIMULATED,
        parameters={"shape": list(shape), "load_seconds": load_seconds},
        shape=shape,
        simulated=device,
        says=(
            f"a batch of n takes {device.base_ms:g} + {device.item_ms:g}·n ms; "
            f"{device.weights_bytes >> 20} MiB of weights, {device.item_bytes >> 20} MiB an item; "
            f"loading takes {load_seconds:g} s; frames of {size} x {size}"
        ),
    )


def _darknet(folder: Path, name: str, cfg: str, size: int, says: str) -> Workload:
    path = folder / f"{name}-{size}.cfg"
    path.write_text(cfg)
    network = read_network(path, (size, size))
    weights = path.with_suffix(".weights")
    values = random_weights(network, 0)
    write_weights(weights, values)
    names = [f"class {number}" for number in range(CLASSES)]
    millions = sum(each.weights.size for each in values) / 1e6
    return Workload(
        name=name,
        handler=DARKNET,
        parameters={"inputSize": size, "classNames": names},
        shape=(size, size, 3),
        model=path,
        files={"weights": weights},
        float_handler=FLOAT_DARKNET,
        says=f"{says}, {millions:.1f} million random values, {size} x {size}",
    )
