"""Reasons of conditions that more than one module reads."""

from __future__ import annotations

from typing import Final

SLOTS_HELD: Final = "SlotsHeld"
"""Reserved: for executors that have not all been there yet."""
EXECUTORS_ASSIGNED: Final = "ExecutorsAssigned"
"""Reserved: all required executors of the attempt have had a slot."""
DRIVER_STARTING: Final = "DriverStarting"
"""ModelReady: the driver's pod is on its way, and nothing is wrong with it."""
MODEL_NOT_LOADED: Final = "ModelNotLoaded"
"""ModelReady: the driver runs, and no executor has the model loaded: not yet, or not any more."""
