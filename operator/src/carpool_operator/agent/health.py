"""Whether a device is healthy, from what it answers and what the driver reports of it: pure.

    Healthy ── an error that is the device's own ──→ Unhealthy ── quiet for long enough ──→ Healthy
       └────── no answer ──→ Lost ── answers again ──→ Unhealthy

A device that was in trouble is trusted again when it answers and nothing is wrong with it for
`recovery` seconds; each relapse within two days doubles them, up to a day, since a device that
needs a reset looks well as long as nobody uses it. Another boot of the node begins anew.

Which errors are the application's is NVIDIA's knowledge:
https://docs.nvidia.com/deploy/xid-errors/ (and the same six in its k8s-device-plugin,
internal/rm/health.go).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from carpool_operator.domain.cluster_state import Health

APPLICATION_XIDS: Final = frozenset({13, 31, 43, 45, 68, 109})
"""Errors that a program makes by itself: the GPU goes on, another program is not concerned."""
NOTED_XIDS: Final = frozenset({63, 92, 154})
"""Not the application's, and yet no reason to stop: defective memory was replaced (63), many errors
were corrected (92), the driver's advice has changed (154; the advice itself is read at a look)."""
CRITICAL_XIDS: Final = {
    48: "its memory has an error that could not be corrected",
    62: "its internal micro-controller has halted",
    64: "defective memory could not be replaced",
    74: "an NVLink connection has failed",
    79: "it has fallen off the bus",
    94: "its memory has an error that was contained",
    95: "its memory has an error that could not be contained",
    119: "its GSP firmware does not answer",
    120: "its GSP firmware has failed",
    140: "its memory has an error that could not be recovered from",
}
"""What the most frequent of all others mean."""

_SILENCES: Final = 2
"""Looks in a row without an answer after which a device is lost, if the driver does not say so."""
_DAY: Final = 86_400.0
_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What is tolerated.

    Attributes:
        recovery: seconds that a device must be well before it is healthy again.
        ignored_xids: errors that are taken for an application's, beyond those above.
    """

    recovery: float = 600.0
    ignored_xids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class LastXid:
    """The last error that the driver reported; `time` is Unix time."""

    code: int
    time: float


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What is known of one device's health.

    Attributes:
        message: why it is not healthy, as a sentence.
        last_xid: of whatever kind.
        bad_at: when something was last wrong, on the clock of `now`; None where nothing ever was.
        relapses: times in a row that it went bad within two days of the time before.
        silences: looks in a row without an answer.
    """

    health: Health = "Healthy"
    message: str | None = None
    last_xid: LastXid | None = None
    bad_at: float | None = None
    relapses: int = 0
    silences: int = 0


def is_critical(code: int, policy: HealthPolicy) -> bool:
    """Whether an error is the device's own; one that nobody knows is."""
    return code not in APPLICATION_XIDS | NOTED_XIDS | policy.ignored_xids


def answered(
    known: DeviceHealth, trouble: str | None, now: float, policy: HealthPolicy
) -> DeviceHealth:
    """After a look at which the device answered.

    Args:
        known: before.
        trouble: why it should not be used, as a sentence.
        now: seconds, monotonic.
        policy: what is tolerated.
    """
    known = replace(known, silences=0)
    if trouble is not None:
        return _bad(known, "Unhealthy", trouble, now)
    if known.health == "Healthy" or known.bad_at is None:
        return known
    if known.health == "Lost":
        message = "It answers again after it was lost, and is watched before it is used."
        return replace(known, health="Unhealthy", message=message, bad_at=now)
    if now - known.bad_at < quiet_time(known, policy):
        return known
    return replace(known, health="Healthy", message=None)


def quiet_time(known: DeviceHealth, policy: HealthPolicy) -> float:
    """Seconds that a device must be well before it is healthy again."""
    doubled: float = policy.recovery * 2 ** min(known.relapses, _MOST_DOUBLINGS)
    return max(policy.recovery, min(doubled, _DAY))


def silent(known: DeviceHealth, why: str, now: float, *, certain: bool) -> DeviceHealth:
    """After a look at which the device did not answer.

    Args:
        known: before.
        why: a sentence.
        now: seconds, monotonic.
        certain: the driver says that the device is lost; otherwise it may be a hiccup.
    """
    known = replace(known, silences=known.silences + 1)
    if known.health == "Lost":
        return replace(known, bad_at=now)
    if not certain and known.silences < _SILENCES:
        return known
    return _bad(known, "Lost", why, now)


def reported(
    known: DeviceHealth, code: int, time: float, now: float, policy: HealthPolicy
) -> DeviceHealth:
    """After an error that the driver reported of the device.

    Args:
        known: before.
        code: the Xid.
        time: of the report, as Unix time.
        now: seconds, monotonic.
        policy: what is tolerated.
    """
    known = replace(known, last_xid=LastXid(code, time))
    if not is_critical(code, policy):
        return known
    if known.health == "Lost":
        return replace(known, bad_at=now)
    meaning = CRITICAL_XIDS.get(code)
    message = f"The driver reported Xid {code}" + (f": {meaning}." if meaning else ".")
    return _bad(known, "Unhealthy", message, now)


def _bad(known: DeviceHealth, health: Health, message: str, now: float) -> DeviceHealth:
    relapses = known.relapses
    if known.health == "Healthy":
        soon = known.bad_at is not None and now - known.bad_at < 2 * _DAY
        relapses = relapses + 1 if soon else 0
    return replace(known, health=health, message=message, bad_at=now, relapses=relapses)
