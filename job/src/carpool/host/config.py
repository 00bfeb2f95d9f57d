"""What a model host is told at its start: one frozen value, written as a JSON file.

The driver writes the file, the supervisor and its child read it, and `model_key` lets the host
refuse a client that was made for another model. This must stay true: only the standard library is
imported here, since the supervisor lives on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from carpool.errors import SpecError

BackendName = Literal["numpy", "records", "simulated", "torch"]
Idea = Literal["pinned_arenas", "cuda_graphs", "overlap", "shared_batches"]
"""What makes the host fast and can be left out, so that its worth can be measured: arenas that the
device reads by itself, batches recorded as CUDA graphs, a batch that is staged while one runs, and
batches of several clients' items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """Where the model's files are.

    Attributes:
        uri: the model file, a local path or file:// URI; None where the handler needs none.
        sha256: what the file at `uri` must hash to; None skips the check.
        files: further files by role, for example {"weights": "/models/yolo.weights"}.
        files_sha256: what these must hash to, by role; a role that is missing is not checked.
    """

    uri: str | None = None
    sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    files_sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDevice:
    """How the simulated device behaves: a batch of n items takes base_ms + n * item_ms.

    The three prefixes are hexadecimal and name an item by its first bytes.

    Attributes:
        base_ms: fixed cost of a batch, milliseconds.
        item_ms: cost of each item, milliseconds.
        memory_items: a batch of more items runs out of device memory; None for no limit.
        weights_bytes: memory of the model.
        item_bytes: memory of each item of a batch while it is computed.
        depth: batches the device accepts at once; 2 overlaps as a CUDA device does.
        bad_prefix: such an item makes `predict` raise.
        crash_prefix: such an item kills the process.
        hang_prefix: such an item blocks the device for ever.
        crash_at_batch: the process is killed as it launches this batch, counted from 1.
        oom_at_batch: this batch finds too little device memory, whatever its size.
        lost_at_batch: the device is gone from this batch on.
        fault_generations: crashes and hangs happen up to this generation; None for always.
    """

    base_ms: float = 0.0
    item_ms: float = 0.0
    memory_items: int | None = None
    weights_bytes: int = 0
    item_bytes: int = 0
    depth: int = 1
    bad_prefix: str | None = None
    crash_prefix: str | None = None
    hang_prefix: str | None = None
    crash_at_batch: int | None = None
    oom_at_batch: int | None = None
    lost_at_batch: int | None = None
    fault_generations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """Everything a model host is told.

    Attributes:
        handler: `module:Class`.
        parameters: of the handler, complete.
        model: where the model's files are.
        device: a torch device string, "cpu" or "cuda:0".
        precision: "Auto", "Float32", "Float16" or "BFloat16".
        max_batch: most items of a batch; None lets the backend choose.
        batch_sizes: the sizes that batches are padded to; none lets the backend choose.
        memory_bytes: the host's share of the device's memory, weights and batches together (on a
            CPU: of this process, without the arenas); None for no bound.
        memory_fraction: the same as a part of the device's memory, for a driver that does not know
            how much it has; `memory_bytes` comes before it, and a CPU has no such bound.
        deterministic: every batch has one shape and one number of threads, so that an item's
            result does not depend on its companions.
        threads: compute threads on a CPU; 0 for as many as this process may use, or for one where
            `deterministic` is set.
        expected_clients: tasks that will share the host; sizes the arenas.
        backend: None chooses by CARPOOL_HOST_BACKEND, else by the handler's framework.
        simulated: behaviour of the simulated backend.
        without: ideas that the host leaves out; the first two are of CUDA devices alone.
        python_path: folders put before `sys.path`, so that the handler's module is found.
        request_items: most items of one request.
        request_bytes: most bytes of one request, unless a single item is larger.
        arena_bytes: bound for the arenas of all expected clients together.
        alive_seconds: how often waiting clients hear that the host lives.
        idle_seconds: the host ends for good after so long without a request; None for never.
        load_seconds: a model that loads and warms up for longer than this ends the host's child.
        watchdog_seconds: a batch that runs longer than this, and than twenty times what was
            predicted for it, ends the host's child.
    """

    handler: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: ModelFiles = field(default_factory=ModelFiles)
    device: str = "cpu"
    precision: Literal["Auto", "Float32", "Float16", "BFloat16"] = "Auto"
    max_batch: int | None = None
    batch_sizes: tuple[int, ...] = ()
    memory_bytes: int | None = None
    memory_fraction: float | None = None
    deterministic: bool = False
    threads: int = 0
    expected_clients: int = 1
    backend: BackendName | None = None
    simulated: SimulatedDevice = field(default_factory=SimulatedDevice)
    without: tuple[Idea, ...] = ()
    python_path: tuple[str, ...] = ()
    request_items: int = 16
    request_bytes: int = 8 << 20
    arena_bytes: int = 2 << 30
    alive_seconds: float = 5.0
    idle_seconds: float | None = None
    load_seconds: float = 3600.0
    watchdog_seconds: float = 300.0

    @property
    def model_key(self) -> str:
        """Identifies what a client may expect of the results: 32 hexadecimal digits."""
        facts = {
            "handler": self.handler,
            "parameters": self.parameters,
            "model": asdict(self.model),
            "device": self.device.partition(":")[0],
            "precision": self.precision,
            "deterministic": self.deterministic,
            "shape": (self.max_batch, self.compute_threads) if self.deterministic else None,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def compute_threads(self) -> int:
        """Threads that compute on a CPU.

        Where results must not depend on the machine, its size is no default: one thread then.
        """
        return self.threads or (1 if self.deterministic else len(os.sched_getaffinity(0)))

    @property
    def lanes(self) -> int:
        """Batches that may be computed at once on a CPU, where each is computed by one thread."""
        return self.threads or len(os.sched_getaffinity(0))

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> HostConfig:
        """Read what `write` wrote.

        Raises:
            SpecError: the file is missing, is no JSON, or a field is unknown, missing or ill-typed.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"host configuration {path}: {error}") from error
        config: HostConfig = _build(cls, found, str(path))
        config.check(str(path))
        return config

    def check(self, where: str = "host configuration") -> None:
        """Refuse numbers that make no sense.

        Raises:
            SpecError: a number is too small; the message names the field.
        """
        floors = {
            "threads": 0,
            "expected_clients": 1,
            "request_items": 1,
            "request_bytes": 1,
            "arena_bytes": 1,
        }
        for name, floor in floors.items():
            if getattr(self, name) < floor:
                raise SpecError(f"{where}: {name} is {getattr(self, name)}, expected ≥ {floor}")
        if self.simulated.depth < 1:
            raise SpecError(f"{where}: simulated.depth is {self.simulated.depth}, expected ≥ 1")
        for name in ("max_batch", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(f"{where}: {name} is {value}, expected ≥ 1 or null")
        part = self.memory_fraction
        if part is not None and not 0 < part <= 1:
            raise SpecError(f"{where}: memory_fraction is {part}, expected > 0 and ≤ 1, or null")
        if "shared_batches" in self.without and self.backend == "records":
            raise SpecError(
                f"{where}: without has shared_batches, which backend records cannot leave out"
            )
        if any(size < 1 for size in self.batch_sizes):
            raise SpecError(f"{where}: batch_sizes has {min(self.batch_sizes)}, expected ≥ 1")
        for name in ("alive_seconds", "load_seconds", "watchdog_seconds", "idle_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and seconds <= 0:
                raise SpecError(f"{where}: {name} is {seconds}, expected > 0")


def _build(cls: type, found: object, where: str) -> Any:
    """Make the dataclass `cls` from a JSON object, field by field."""
    if not isinstance(found, dict):
        raise SpecError(f"{where}: expected an object, found {type(found).__name__}")
    hints = get_type_hints(cls)
    unknown = sorted(set(found) - {entry.name for entry in fields(cls)})
    if unknown:
        raise SpecError(f"{where}: unknown field {', '.join(unknown)}")
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in found.items()}
    try:
        return cls(**values)
    except TypeError as error:  # a field without a default is missing
        raise SpecError(f"{where}: {error}") from error


def _value(hint: Any, value: object, where: str) -> Any:
    """Check one JSON value against the annotation of its field."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is UnionType or NoneType in options:
        (inner,) = (option for option in options if option is not NoneType)
        return None if value is None else _value(inner, value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if origin is Literal:
        if value not in options:
            raise SpecError(f"{where} is {value!r}, expected one of {', '.join(map(str, options))}")
        return value
    if origin in (tuple, Mapping):
        return _collection(origin, options, value, where)
    if hint is not Any:
        accepted = (int, float) if hint is float else (hint,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise SpecError(f"{where} is {value!r}, expected {hint.__name__}")
    return value


def _collection(origin: type, options: tuple[Any, ...], value: object, where: str) -> Any:
    if origin is tuple:
        if not isinstance(value, list):
            raise SpecError(f"{where} is {value!r}, expected a list")
        return tuple(_value(options[0], entry, where) for entry in value)
    if not isinstance(value, dict):
        raise SpecError(f"{where} is {value!r}, expected an object")
    return {key: _value(options[1], entry, f"{where}.{key}") for key, entry in value.items()}
