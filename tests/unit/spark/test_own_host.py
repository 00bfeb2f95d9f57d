"""With `sharing: PerTask` a worker claims a host for its life, and no two have the same."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from carpool.errors import HostTimeout
from carpool.spark.own_host import claim_host

WORKER = """
import os, sys
from pathlib import Path
from carpool.spark.own_host import claim_host
def say(line):
    os.write(1, f"{line}\\n".encode())  # whole: two processes speak at once
say(claim_host([Path(each) for each in sys.argv[1:]], 20.0).name)
input()
if os.fork() == 0:
    say("forked")
    os.execvp("sleep", ["sleep", "20"])
say(claim_host([Path(each) for each in sys.argv[1:]], 0.0).name)
input()
"""


@pytest.fixture
def directories(tmp_path):
    made = [tmp_path / f"host-{number}" for number in range(3)]
    for each in made:
        each.mkdir()
    return made


class Worker:
    """A process that claims a host, and again after it has forked."""

    def __init__(self, directories: list[Path]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, directories)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def worker(directories):
    made = Worker(directories)
    try:
        yield made
    finally:
        made.kill()


def test_each_worker_claims_a_host_of_its_own_and_the_next_one_waits(directories):
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(directories)) for _ in directories]
        claimed = [each.says() for each in workers]
        assert sorted(claimed) == ["host-0", "host-1", "host-2"]
        with pytest.raises(HostTimeout, match="each of 3 model hosts is claimed"):
            claim_host(directories, 0.0)
        with worker(directories) as late:
            workers[1].kill()
            assert late.says() == claimed[1]


def test_a_worker_keeps_its_claim_and_what_it_forks_has_none(directories):
    with worker(directories[:1]) as one:
        assert one.says() == "host-0"
        one.go_on()
        assert sorted([one.says(), one.says()]) == ["forked", "host-0"]
        one.process.kill()
        one.process.wait()
        with worker(directories[:1]) as other:
            assert other.says() == "host-0"
