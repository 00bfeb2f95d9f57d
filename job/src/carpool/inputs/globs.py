"""Glob patterns over storage paths, as pure functions.

Object stores have no globs, and `pathlib` globs only local folders, so patterns are split into a
fixed folder (to be listed) and a rest (to be matched against what the listing gave). One rule must
hold everywhere: the part of a path below the fixed folder is the same for local and remote copies
of one tree, because it goes into result hashes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_MAGIC = re.compile(r"[*?\[]")


def has_magic(path: str) -> bool:
    """Whether a path is a pattern rather than a plain name."""
    return _MAGIC.search(path) is not None


def split_pattern(path: str) -> tuple[str, str]:
    """Split a posix path that holds a wildcard into its fixed folder and the pattern below it.

    Returns:
        (folder, pattern): the pattern starts with the first segment that holds a wildcard.
    """
    segments = path.split("/")
    first = next(at for at, segment in enumerate(segments) if has_magic(segment))
    root = "/" if path.startswith("/") else ""
    return "/".join(segments[:first]) or root, "/".join(segments[first:])


def is_recursive(pattern: str) -> bool:
    """Whether files deeper than the fixed folder itself can match."""
    return "/" in pattern or pattern == "**"


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a whole relative posix path.

    As in the shell: `*`, `?`, `[a-z]` and `[!a-z]` stay within one folder, case counts, a segment
    `**` stands for any number of folders (none too), and no wildcard matches a leading dot.
    """
    return _match(pattern.split("/"), path.split("/"))


def _match(patterns: Sequence[str], names: Sequence[str]) -> bool:
    if not patterns or not names:
        return not patterns and not names
    head, rest = patterns[0], patterns[1:]
    if head != "**":
        return _match_name(head, names[0]) and _match(rest, names[1:])
    if rest and _match(rest, names):
        return True
    return _match_name("*", names[0]) and (
        _match(patterns, names[1:]) or (not rest and len(names) == 1)
    )


def _match_name(pattern: str, name: str) -> bool:
    hidden = name.startswith(".") and not pattern.startswith(".")
    return not hidden and fnmatchcase(name, pattern)
