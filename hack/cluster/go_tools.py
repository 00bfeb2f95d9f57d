"""Commands that are built from published Go modules, once, into the cache."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from progress import Failed, run, step
from settings import CACHE, ROOT, find_go


def kubernetes(*commands: str) -> Path:
    """The folder that holds these commands of Kubernetes, or etcd."""
    script = ROOT / "hack" / "kubernetes" / "build.py"
    done = subprocess.run(
        [sys.executable, str(script), *commands], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"building {', '.join(commands)} from Go modules failed")
    return Path(done.stdout.strip())


def go_tool(package: str) -> Path:
    """The command of `package@version`; its folder in the cache is named for the version."""
    path, version = package.split("@")
    target = CACHE / "go-tools" / version / path.split("/")[-1]
    if not target.exists():
        with step(f"Building {target.name} {version} from Go modules"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
                environment = {"CGO_ENABLED": "0", "GOBIN": folder}
                flags = ("-trimpath", "-ldflags", "-s -w")
                run(find_go(CACHE), "install", *flags, package, environment=environment)
                (Path(folder) / target.name).rename(target)
    return target


def go_command(source: Path) -> Path:
    """The command of one file of ours; built anew when the file has changed."""
    target = CACHE / "go-tools" / "local" / source.stem
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ("build", "-trimpath", "-ldflags", "-s -w", "-o", str(target), str(source))
        run(find_go(CACHE), *command, environment={"CGO_ENABLED": "0"}, cwd=source.parent)
    return target


def module_folder(package: str) -> Path:
    """Where Go keeps the source of the module `path@version`."""
    go = find_go(CACHE)
    cache = Path(run(go, "env", "GOMODCACHE"))
    folder = cache / package
    if not folder.exists():
        run(go, "mod", "download", package, cwd=CACHE)
    return folder
