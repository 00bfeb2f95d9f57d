"""Spark as a local run needs it: one executor in this JVM, nothing listening beyond this machine.

`local[cores, attempts]` is Spark's only local master that retries a task. Everything Spark would
print goes to a log file of the run, so that the terminal belongs to progress and result. Stopping
must leave no process, also when a task is in the middle of a frame.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.java_gateway import JavaGateway
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway

from carpool.errors import SparkFailed

TASK_ATTEMPTS = 4
"""Attempts of a task before the job fails: Spark's own default on a cluster."""

STOP_SECONDS = 10.0

_JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A local run's JVM only schedules: the frames are in Python workers and the host. Without the
optimising compiler it starts in 2.9 s instead of 5.1 s (2 cores) and leaves the cores to them."""

_LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {path}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{HH:mm:ss.SSS}} %p %c{{1}}: %m%n%ex
"""


@contextmanager
def local_spark(
    name: str, *, cores: int, memory: str, run_directory: Path, conf: Mapping[str, str]
) -> Iterator[SparkContext]:
    """Start Spark in this process and stop it, leaving no process behind.

    Args:
        name: the application's name.
        cores: how many tasks run at once.
        memory: heap of the JVM in Spark's form, such as "1g".
        run_directory: where Spark's log and scratch files go.
        conf: further settings, `spec.spark.conf`; they win over ours.

    Raises:
        SparkFailed: Spark does not start; the message says why.
    """
    settings = {
        "spark.app.name": name,
        "spark.master": f"local[{cores},{TASK_ATTEMPTS}]",
        "spark.driver.memory": memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        **conf,
    }
    with running_spark(settings, run_directory) as context:
        yield context


@contextmanager
def running_spark(settings: Mapping[str, str], run_directory: Path) -> Iterator[SparkContext]:
    """Start Spark with settings and stop it, leaving no process behind on this machine.

    Args:
        settings: whatever differs from one run to another; they win over those of every run.
        run_directory: where the driver's log and scratch files go.

    Raises:
        SparkFailed: Spark does not start; the message says why.
    """
    log4j = run_directory / "log4j2.properties"
    log4j.write_text(_LOG4J.format(path=run_directory / "spark.log"))
    settings = {
        "spark.driver.extraJavaOptions": f"{_JVM_OPTIONS} -Dlog4j2.configurationFile={log4j}",
        "spark.local.dir": str(run_directory / "spark"),
        # Tracking of a finished video must not queue behind all the detection that is left.
        "spark.scheduler.mode": "FAIR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.pyspark.python": sys.executable,
        **settings,
    }
    # PySpark starts the JVM with what stands in the environment; its launcher script prints to
    # standard error before log4j is up.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LAUNCHER_OPTS", _JVM_OPTIONS)
    context = _start(settings, run_directory / "launch.log")
    gateway = SparkContext._gateway  # noqa: SLF001 - PySpark offers no other way to the JVM's process
    try:
        yield context
    finally:
        try:
            # Where the JVM has ended there is nothing to stop but what is left of it here.
            with suppress(Py4JError, OSError):
                context.stop()
        finally:
            _end_jvm(gateway)


def _start(settings: Mapping[str, str], log: Path) -> SparkContext:
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    gateway = None
    try:
        # A signal in the middle of PySpark's own start would leave a JVM that nobody holds.
        with _quiet_stderr(log), signals_deferred():
            gateway = launch_gateway(conf)  # type: ignore[no-untyped-call]  # as published
        with _quiet_stderr(log), _own_signals():
            return SparkContext(conf=conf, gateway=gateway)
    except (Py4JError, PySparkException) as error:
        _end_jvm(gateway)
        raise SparkFailed(f"Spark did not start: {_why(error, log)}") from error
    except BaseException:
        _end_jvm(gateway)
        raise


def _why(error: Exception, log: Path) -> str:
    """What kept Spark from starting: where there is no JVM, its launcher's last word."""
    if isinstance(error, PySparkException):
        said = log.read_text(errors="replace").strip().splitlines()
        reason = " / ".join(said[:2]) if said else str(error)
        return f"{reason}; it needs Java 17 or 21 (JAVA_HOME, or java on PATH)"
    return str(error).partition("\n\tat ")[0].replace("\n", " ")


def _end_jvm(gateway: JavaGateway | None) -> None:
    """End the JVM and with it every Python worker, and wait until it is gone."""
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    SparkContext._gateway = None  # noqa: SLF001 - so that a later run in this process starts anew
    SparkContext._jvm = None  # noqa: SLF001 - as above
    if gateway is not None:
        with suppress(Py4JError, OSError):
            gateway.shutdown()
    if process is None:
        return
    if process.stdin is not None:
        process.stdin.close()  # PySpark's gateway server ends at end-of-file
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back; the first that came is delivered at the end of the block.

    Not by a signal mask, which the processes started in the block would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone
        return
    came: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def _own_signals() -> Iterator[None]:
    """Undo that PySpark's context takes SIGINT over: the program decides what Ctrl-C means."""
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, previous)


@contextmanager
def _quiet_stderr(log: Path) -> Iterator[None]:
    """Send file descriptor 2 to `log` while the JVM starts and inherits it; restore it after."""
    sys.stderr.flush()
    saved = os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.dup2(target, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(target)
