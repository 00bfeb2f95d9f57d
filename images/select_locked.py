"""Print the part of requirements.lock that some extras of a distribution need, hashes and all.

Usage: select_locked.py LOCK PYPROJECT [--extra EXTRA]... [--without NAME]...

The lock is for everything at once, the tools of development too; an image installs less. Which
package is there because of which stands in the lock itself (`# via`), so nothing is resolved here
and nothing is asked of an index.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")


def normalized(name: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(pyproject: Path, extras: list[str]) -> set[str]:
    """Names of what a distribution requires itself, with these extras."""
    project = tomllib.loads(pyproject.read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    names = {normalized(found[1]) for line in lines if (found := _NAME.match(line))}
    return names - {"carpool"}  # built from the checkout, not locked


def entries(lock: Path) -> list[tuple[str, str, set[str]]]:
    """Each entry of the lock: its name, its text, and the names of what required it."""
    found = []
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text()):
        if (match := _NAME.match(text)) is None:
            continue  # the lock's own header
        comments = re.findall(r"^ +# +(?:via +)?(.*)$", text, re.MULTILINE)
        via = {normalized(words.split()[0]) for words in comments if words.split()}
        found.append((normalized(match[1]), text, via))
    return found


def main() -> None:
    """Read the command line, print the selection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("pyproject", type=Path)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args()
    locked = entries(options.lock)
    roots = wanted(options.pyproject, options.extra) - set(options.without)
    missing = sorted(roots - {name for name, _, _ in locked})
    if missing:
        sys.exit(f"{options.lock}: {', '.join(missing)} is not in it; run `make lock`")
    selected = set(roots)
    while more := {n for n, _, via in locked if via & selected} - selected - set(options.without):
        selected |= more
    print("\n".join(text.rstrip() for name, text, _ in locked if name in selected))  # noqa: T201


if __name__ == "__main__":
    main()
