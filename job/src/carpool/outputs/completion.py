"""The mark that says "complete": `_SUCCESS`, and the manifest that describes what is complete.

`_SUCCESS` is the last file of a job and the first to go when a folder is worked on again, so that
whoever sees it may trust the tables and the manifest.
"""

from __future__ import annotations

from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import MANIFEST, SUCCESS


def is_complete(folder: OutputFolder) -> bool:
    """Whether the folder holds a complete result.

    Raises:
        OutputUnavailable: the storage does not say.
    """
    return folder.exists(SUCCESS)


def reopen(folder: OutputFolder) -> None:
    """Take the mark away before anything in the folder changes.

    Raises:
        OutputUnavailable: the mark may still stand; nothing else may be changed.
    """
    folder.delete(SUCCESS)
    folder.delete(MANIFEST)


def mark_complete(folder: OutputFolder) -> None:
    """Put the mark; everything else must have been written.

    Raises:
        OutputUnavailable: the mark is not there.
    """
    folder.commit(SUCCESS, b"")
