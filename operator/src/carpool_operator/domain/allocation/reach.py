"""Slots that executors could have if what is on them ended, the nearest first.

How near a slot is says the number of executors that stand in its way: those on its GPU, if that
does not take another now, and those on its node, if that has no room now. None of them has to be
known better: each ends in its time, so where nobody new comes the number only falls. Slots that are
equally near stand in the order of their names, so that an order does not change by itself.

Pods that are not ours may stay for ever: what they take is not within reach.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import NodeLedger
from carpool_operator.domain.allocation.room import (
    places,
    places_without_executors,
    room,
    room_without_executors,
)


class Near(NamedTuple):
    """Slots of a node that are equally near.

    Attributes:
        in_the_way: executors that may have to end before; 0: they can be used now.
        node: its name.
        gpu: UUID; empty where the slot is the node.
        executors: that fit, besides those on nearer slots of the node.
    """

    in_the_way: int
    node: str
    gpu: str
    executors: int


class Reach:
    """The slots for one kind of executor; those of a node are looked at when it has changed.

    Attributes:
        count: of executors that fit on all of them.
        changed: the nearest slot that has come or gone since this was set to None.
    """

    def __init__(self, eligibility: Eligibility, ledger: Ledger) -> None:
        self._eligibility = eligibility
        self._ledger = ledger
        self._of_node: dict[str, list[Near]] = {}
        self._slots: list[Near] = []
        self._seen = -1
        self.count = 0
        self.changed: Near | None = None

    def nearest(self) -> list[Near]:
        """All of them, in order; some may be on nodes that are gone or silent by now."""
        ledger = self._ledger
        if self._seen < 0:
            self._of_node = {name: self._look_at(node) for name, node in ledger.nodes.items()}
            self._slots = sorted(near for found in self._of_node.values() for near in found)
            self.count = sum(near.executors for near in self._slots)
        else:
            for name, number in reversed(ledger.changes.items()):
                if number <= self._seen:
                    break
                self._replace(name, self._look_at(ledger.nodes[name]))
        self._seen = ledger.number
        return self._slots

    def holds(self, required: int, now: float) -> bool:
        """Whether so many executors would fit if all others ended."""
        for near in self.nearest():
            if required <= 0:
                break
            if self.is_usable(near.node, now):
                required -= near.executors
        return required <= 0

    def is_usable(self, name: str, now: float) -> bool:
        """Whether a node is there, and its agent reports what a slot on it relies upon."""
        node = self._ledger.nodes.get(name)
        return node is not None and (not self._eligibility.by_uuid or node.is_fresh(now))

    def _replace(self, name: str, found: list[Near]) -> None:
        known = self._of_node.get(name, [])
        if found == known:
            return
        for near in known:
            del self._slots[bisect_left(self._slots, near)]
            self.count -= near.executors
        for near in found:
            insort(self._slots, near)
            self.count += near.executors
        self._of_node[name] = found
        self.changed = min(near for near in (*known, *found, self.changed) if near is not None)

    def _look_at(self, node: NodeLedger) -> list[Near]:
        eligibility = self._eligibility
        if not eligibility.matches(node) or node.name in self._ledger.avoided:
            return []
        requests = eligibility.wants.requests
        now = 0 if eligibility.waits_for_others(node) else room(node, requests)[0]
        most = room_without_executors(node, requests)
        on_gpus = [(0, "", most)]
        if eligibility.by_uuid:
            on_gpus = sorted(self._on_gpus(node))
        found = []
        for in_the_way, gpu, count in on_gpus:
            at_once = min(count, now)
            later = min(count, most) - at_once
            if at_once > 0:
                found.append(Near(in_the_way, node.name, gpu, at_once))
            if later > 0:
                found.append(Near(in_the_way + node.executors, node.name, gpu, later))
            now -= at_once
            most -= at_once + max(0, later)
        return found

    def _on_gpus(self, node: NodeLedger) -> list[tuple[int, str, int]]:
        """As far as the GPUs of the node go: executors in the way, UUID, count."""
        found = []
        for gpu in node.gpus.values():
            if not gpu.healthy:
                continue
            free = places(gpu, self._eligibility) if self._eligibility.takes_gpu(gpu) else 0
            later = places_without_executors(gpu, self._eligibility) - free
            found += [(0, gpu.uuid, free)] if free > 0 else []
            found += [(gpu.executors, gpu.uuid, later)] if later > 0 else []
        return found
