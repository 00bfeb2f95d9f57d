"""How slots are compared: the one question that policies answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a node keeps its GPUs in the order of a policy
    from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger

Key = tuple[Any, ...]
"""Compares with keys of the same policy; the smallest is chosen. Its last part is unique."""


class Policy(Protocol):
    """Compares the slots that an executor may be given; all of them may, it only prefers.

    Attributes:
        prefers_loaded: whether a slot may become a better choice by what is put on it.
    """

    prefers_loaded: bool

    def of_gpu(self, node: NodeLedger, gpu: GpuLedger, job_uid: str) -> Key:
        """Key of a GPU for an executor of the job."""

    def least(self, node: NodeLedger, gpu: GpuLedger) -> Key:
        """A key that is no more than the GPU's for any job, by which its node lists it."""

    def of_node(self, node: NodeLedger, job_uid: str) -> Key:
        """Key of a node, where it is the slot."""
