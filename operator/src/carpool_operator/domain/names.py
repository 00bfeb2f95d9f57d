"""Names that the operator, the driver and the admission policy agree upon.

They stand on objects of the API server, so changing one is a change of the API: pods that live
through an upgrade carry the old ones.
"""

from __future__ import annotations

GROUP = "carpool.dev"
VERSION = "v1alpha1"

JOB_LABEL = "carpool.dev/job"
"""Name of the job, on each of its objects; cut to the 63 characters of a label's value."""
JOB_UID_LABEL = "carpool.dev/job-uid"
ATTEMPT_LABEL = "carpool.dev/attempt"
ROLE_LABEL = "carpool.dev/role"
"""`driver` or `executor`."""

GATE = "carpool.dev/gpu"
"""The scheduling gate that holds an executor until it is assigned, on CPUs too."""
GPU_UUID_ANNOTATION = "carpool.dev/gpu-uuid"
"""UUID of the GPU that the executor was assigned; absent on CPUs and with ownership Exclusive."""
EPOCH_ANNOTATION = "carpool.dev/assignment-epoch"
"""Lease transitions at the time of the assignment: which leader it was."""
ASSIGNED_ANNOTATION = "carpool.dev/assigned-at"
"""When the gate was opened, RFC 3339. The API server does not tell: the condition PodScheduled is
False from a pod's creation on, whether the gate holds it or the scheduler finds no place."""
RESERVATION_ANNOTATION = "carpool.dev/reservation"
"""On a driver pod: the slots held for its executors, as JSON; see `allocation.reservation`."""
HOST_CONTAINER = "model-host"
"""The native sidecar of an executor pod, the only container that sees its GPU."""
DRIVER_CONTAINER = "driver"
