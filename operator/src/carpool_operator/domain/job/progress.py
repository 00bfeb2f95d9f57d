"""The figures of a status, and the texts of the columns that show them."""

from __future__ import annotations

from typing import Final

from carpool.spec import GpuStatus, ModelStatus, Progress
from carpool_operator.domain.job.driver_report import DriverProgress, Frames, ModelFacts

_KIB: Final = 1024
_MIB: Final = 1 << 20
_MOST_MIB: Final = 10**14


def progress_status(
    frames: Frames, running: DriverProgress | None, before: Progress | None
) -> Progress:
    """How far a job is.

    Args:
        frames: counted by its driver.
        running: the answer that they are from; None at the end, when nothing moves.
        before: what the status says now; the rate stays until there is another one.
    """
    ended = min(frames.done + frames.failed, frames.total)
    rate = None if running is None else frames_per_second(running)
    return Progress(
        total=frames.total,
        done=frames.done,
        failed=frames.failed,
        display=display(ended, frames.total),
        rate=_rate_text(rate, running, before),
        eta=_eta_text(rate, frames.total - ended, running, before),
    )


def at_rest(progress: Progress | None) -> Progress | None:
    """Progress of a job nothing of which runs: how far it is, but no rate."""
    return None if progress is None else progress.model_copy(update={"rate": None, "eta": None})


def frames_per_second(running: DriverProgress) -> float | None:
    """The rate since the earlier poll that the answer remembers; None without one."""
    if running.earlier is None:
        return None
    time, frames = running.earlier
    seconds = running.polled - time
    gained = running.frames.done + running.frames.failed - frames
    return max(gained, 0) / seconds if seconds > 0 else None


def model_status(model: ModelFacts) -> ModelStatus:
    """Copies of the model, and what sharing saves."""
    return ModelStatus(
        copies=model.copies,
        memory=quantity(model.memory),
        saved_memory=quantity(model.saved_memory),
    )


def gpu_status(reserved: int, ready: int) -> GpuStatus:
    """Slots of GPUs, ready of reserved."""
    ready = min(ready, reserved)
    return GpuStatus(reserved=reserved, ready=ready, display=f"{ready}/{reserved}")


def display(done: int, total: int) -> str:
    """A text such as "412k/900k (45%)"; 100% means that nothing is left."""
    if total == 0:
        return "0/0"
    return f"{short(done)}/{short(total)} ({100 * done // total}%)"


def short(count: int) -> str:
    """A count in at most four characters, rounded down: 999, 12k, 1.2M, 340M, 5.1G."""
    if count < 1000:
        return str(count)
    for unit in "kMGTPE":
        if count < 10_000 and unit != "k":
            return f"{count // 1000}.{count % 1000 // 100}{unit}"
        if count < 1_000_000:
            return f"{count // 1000}{unit}"
        count //= 1000
    return f"{count}Z"


def duration(seconds: float) -> str:
    """A time as kubectl writes ages, in its two largest units: 49s, 3m49s, 2h5m, 4d3h."""
    whole = int(seconds)
    for size, unit, smaller, small_unit in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}{rest}{small_unit}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def quantity(amount: int | None) -> str | None:
    """Bytes as a Kubernetes quantity in whole MiB, rounded up, or KiB below one; None for none."""
    if not amount:
        return None
    if amount < _MIB:
        return f"{-(-amount // _KIB)}Ki"
    return f"{min(-(-amount // _MIB), _MOST_MIB)}Mi"


def _rate_text(
    rate: float | None, running: DriverProgress | None, before: Progress | None
) -> str | None:
    if running is None or running.phase != "Detecting":
        return None
    if rate is None:
        return None if before is None else before.rate
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _eta_text(
    rate: float | None, left: int, running: DriverProgress | None, before: Progress | None
) -> str | None:
    if running is None or running.phase != "Detecting":
        return None
    if rate is None:
        return None if before is None else before.eta
    return duration(min(left / rate, 10**9)) if rate > 0 else None
