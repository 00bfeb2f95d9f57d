"""Runs `carpool` as a user does, in a process of its own, and finds the processes it starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

TESTS = Path(__file__).resolve().parent.parent
DEADLINE = 180.0


def oracle_job(inputs: Path | str, output: Path | str, **spec: Any) -> dict[str, Any]:
    """The smallest job with tracking on rendered video."""
    return {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "InferenceJob",
        "metadata": {"name": "rendered"},
        "spec": {
            "model": {"format": "Python", "handler": "carpool.vision.oracle:ColourOracle"},
            "input": {"kind": "Video", "uris": [str(inputs)], "video": {"chunkSeconds": 0}},
            "tracking": {"algorithm": "ByteTrack"},
            "output": {"uri": str(output)},
            "device": "CPU",
            "spark": {"executor": {"cores": 2}},
        }
        | spec,
    }


@dataclass
class Ended:
    """A run that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object that is the last line of standard output."""
        document: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return document


@dataclass
class Running:
    """A run that goes on; its temporary folder marks every process that belongs to it."""

    process: subprocess.Popen[str]
    temporary: Path
    stderr: list[str] = field(default_factory=list)

    def wait_for_line(self, *words: str) -> str:
        """Read standard error up to the first line that holds all the words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr.append(line)
            if all(word in line for word in words):
                return line
        raise AssertionError(f"ended without a line with {words}:\n{''.join(self.stderr)}")

    def wait_for_first_frames(self) -> None:
        """Wait until the first work unit is done; there must be more to do."""
        line = self.wait_for_line("Detecting", "frames (")
        done, total = re.search(r"([\d,]+)/([\d,]+) frames", line).groups()  # type: ignore[union-attr]  # the line has them
        assert int(done.replace(",", "")) < int(total.replace(",", "")), f"too fast: {line}"

    def end(self) -> Ended:
        """Wait for the end."""
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        return Ended(self.process.returncode, stdout, "".join(self.stderr) + stderr)

    def interrupt(self) -> None:
        """What Ctrl-C does in a terminal: SIGINT to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_for_no_process(self) -> None:
        """Wait until every process of the run is gone; they end by themselves or the test fails."""
        _, alive = psutil.wait_procs(self.processes(), timeout=20)
        assert not alive, [process.cmdline() for process in alive]
        assert not self.processes()

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this run, the driver aside, whose command line holds all the words."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                command = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            ours = environment.get("TMPDIR") == str(self.temporary)
            if ours and process.pid != self.process.pid and all(w in command for w in words):
                found.append(process)
        return found

    def kill_host_child(self) -> None:
        """SIGKILL the process that holds the model."""
        [child] = [
            process
            for process in self.processes("carpool.host")
            if any("carpool.host" in " ".join(parent.cmdline()) for parent in process.parents())
        ]
        child.kill()

    def kill_worker(self) -> None:
        """SIGKILL one of Spark's Python workers (not their daemon, which only forks them)."""
        workers = [
            process
            for process in self.processes("pyspark")
            if any("pyspark.daemon" in " ".join(p.cmdline()) for p in process.parents()[:1])
        ]
        workers[0].kill()


@contextmanager
def start_carpool(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start `carpool` in a process group of its own; nothing of it survives the block."""
    # Not pytest's tmp_path: the host's socket lies below and its path must stay short.
    temporary = Path(tempfile.mkdtemp(prefix="cp-"))
    process = subprocess.Popen(
        [sys.executable, "-m", "carpool", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            # After the tests' own: where whoever tests looks for the code under test.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        },
        start_new_session=True,
    )
    running = Running(process, temporary)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        left = running.processes()
        for each in left:
            each.kill()
        psutil.wait_procs(left, timeout=10)
        shutil.rmtree(temporary, ignore_errors=True)


def run_carpool(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run `carpool` to its end."""
    with start_carpool(*arguments, env=env) as running:
        return running.end()


def write_job(path: Path, job: Mapping[str, Any]) -> Path:
    """Write a job file."""
    path.write_text(yaml.safe_dump(dict(job)))
    return path


def run_job_file(path: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """`carpool run -o json`."""
    return run_carpool("run", str(path), "-o", "json", *arguments, env=env)


def result_hash(output: Path | str) -> str:
    """`carpool results --hash`."""
    ended = run_carpool("results", str(output), "--hash", "-o", "json")
    assert ended.code == 0, ended.stderr
    return str(json.loads(ended.stdout)["hash"])
