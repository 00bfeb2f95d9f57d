"""The process that computes: loads the model, serves clients, ends when something is fatal.

Started by the supervisor only, which holds the listening socket. It reports on a pipe, a JSON
object a line: {"alive": …} as long as its event loop turns, {"ready": …} once, or {"failed": …} as
its last words, with {"without": …} where the next child should leave something out; the exit code
says what the supervisor should do about it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from carpool.errors import CarpoolError
from carpool.host.backends.base import DeviceLost, LoadReport, ProcessSpoiled
from carpool.host.backends.choose import build_backend
from carpool.host.config import HostConfig, Idea
from carpool.host.dispatcher import Hung
from carpool.host.process import die_with
from carpool.host.server import Identity, Idle, Server
from carpool.host.termination import ExitCode

_LOG = logging.getLogger("carpool.host")


class Report:
    """The pipe to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor

    def ready(self, report: LoadReport) -> None:
        """The model is loaded."""
        _LOG.info("ready: %s", report)
        self._write({"ready": {"weights_bytes": report.memory.weights}})

    def alive(self) -> None:
        """The event loop turns."""
        with suppress(BlockingIOError):  # the supervisor is stopped; it will find enough of them
            self._write({"alive": True})

    def failed(self, error: BaseException) -> None:
        """Why this process ends."""
        reason = error.reason if isinstance(error, CarpoolError) else type(error).__name__
        trace = "".join(traceback.format_exception(error))
        last_words: dict[str, Any] = {
            "failed": {"reason": reason, "message": str(error)[:2000], "traceback": trace[-3000:]}
        }
        if isinstance(error, ProcessSpoiled) and error.without is not None:
            last_words["without"] = error.without
        self._write(last_words)

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


def main(arguments: list[str]) -> NoReturn:
    """Run a child until its end."""
    options = _parse(arguments)
    die_with(options.parent)
    # The terminal's Ctrl-C reaches the whole group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    os.set_inheritable(options.lock_fd, False)
    report = Report(options.report_fd)
    try:
        _serve(options, report)
    except Idle as idle:
        _LOG.info("ends: %s", idle)
        code = ExitCode.IDLE
    except BaseException as error:  # noqa: BLE001 - the supervisor is told whatever it is
        _LOG.exception("the host ends")
        report.failed(error)
        code = _exit_code(error)
    # Not sys.exit: threads may be inside the device's driver and must not be waited for.
    logging.shutdown()
    os._exit(code)


def _serve(options: argparse.Namespace, report: Report) -> NoReturn:
    config = HostConfig.read(options.config)
    config = replace(config, without=tuple(sorted({*config.without, *options.without})))
    sys.path[:0] = config.python_path
    backend = build_backend(config, options.generation)
    listener = socket.socket(fileno=options.listen_fd)
    listener.set_inheritable(False)
    identity = Identity(options.host_id, options.generation)
    Server(listener, backend, config, identity, on_loaded=report.ready, on_tick=report.alive).run()


def _exit_code(error: BaseException) -> ExitCode:
    if isinstance(error, CarpoolError) and not error.retryable:
        return ExitCode.PERMANENT
    if isinstance(error, DeviceLost):
        return ExitCode.DEVICE_LOST
    return ExitCode.HUNG if isinstance(error, Hung) else ExitCode.CRASHED


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("carpool.host.child")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--host-id", required=True)
    parser.add_argument("--generation", type=int, required=True)
    parser.add_argument("--without", choices=get_args(Idea), action="append", default=[])
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
