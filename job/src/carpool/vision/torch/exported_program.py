"""Loading a .pt2 archive safely; for handlers of one's own too.

Torch's own `torch.export.load` runs code that an archive carries. Here the archive is inspected
first, and what torch reads is a new archive without sample inputs, written from what was understood
(`carpool.vision.torch_export.inspection`). It holds no pickle, so whatever
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD says, there is nothing for `torch.load` to open.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from carpool.errors import ModelFormatError
from carpool.vision.torch_export.inspection import InspectedProgram, inspect

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def load_exported_program(path: Path, device: str = "cpu") -> ExportedProgram:
    """Load a program that `torch.export.save` wrote; `program.module()` is the network.

    Args:
        path: the .pt2 archive.
        device: where its weights will be and its operators compute, wherever it was exported.

    Raises:
        ModelNotFound: there is no such file.
        ModelUnsafe: the archive holds something that is not known to be safe; nothing was run.
        ModelFormatError: it is malformed, damaged, of another version, or does not fit this torch.
    """
    with inspect(path) as program:
        return load_inspected(program, device)


def load_inspected(program: InspectedProgram, device: str) -> ExportedProgram:
    """Load a program whose archive is open and was inspected; see `load_exported_program`."""
    clean = io.BytesIO()
    program.write_clean(clean, device)
    clean.seek(0)
    with _causes() as causes:
        try:
            return torch.export.load(clean)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # Torch raises whatever its reader meets, for a file it cannot make sense of.
            cause = causes[0] if causes else error
            raise ModelFormatError(
                f"{program.source}: torch {torch.__version__} cannot load the program that torch "
                f"{program.torch_version} saved: {_last_line(cause)}"
            ) from error


@contextmanager
def _causes() -> Iterator[list[BaseException]]:
    """Errors that torch.export logs before it raises another one in their place."""
    causes: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            causes.append(record.exc_info[1])
        return not record.exc_info

    log = logging.getLogger("torch.export")
    log.addFilter(keep)
    try:
        yield causes
    finally:
        log.removeFilter(keep)


def _last_line(error: BaseException) -> str:
    """Torch's messages hold whole tracebacks, of which the last line says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300] if lines else 'no reason given'}"
