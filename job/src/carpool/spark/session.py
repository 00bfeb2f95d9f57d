"""Spark as a local run needs it: one executor in this JVM, nothing listening beyond this machine.

`local[cores, attempts]` is Spark's only local master that retries a task. Everything Spark would
print goes to a log file of the run, so that the terminal belongs to progress and result. Stopping
must leave no process, also when a task is in the middle of a frame.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

from carpool.errors import JobFailed

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
        JobFailed: Spark does not start; the message says why.
    """
    log4j = run_directory / "log4j2.properties"
    log4j.write_text(_LOG4J.format(path=run_directory / "spark.log"))
    settings = {
        "spark.app.name": name,
        "spark.master": f"local[{cores},{TASK_ATTEMPTS}]",
        "spark.driver.memory": memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"{_JVM_OPTIONS} -Dlog4j2.configurationFile={log4j}",
        "spark.local.dir": str(run_directory / "spark"),
        # Tracking of a finished video must not queue behind all the detection that is left.
        "spark.scheduler.mode": "FAIR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.pyspark.python": sys.executable,
        **conf,
    }
    # PySpark starts the JVM with what stands in the environment; its launcher script prints to
    # standard error before log4j is up.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LAUNCHER_OPTS", _JVM_OPTIONS)
    log = run_directory / "launch.log"
    try:
        with _quiet_stderr(log):
            conf_of_job = SparkConf(loadDefaults=False).setAll(list(settings.items()))
            context = SparkContext(conf=conf_of_job)
    except (Py4JError, PySparkException) as error:
        raise JobFailed(f"Spark did not start: {_why(error, log)}") from error
    try:
        yield context
    finally:
        _stop(context)


def _why(error: Exception, log: Path) -> str:
    """What kept Spark from starting: where there is no JVM, its launcher's last word."""
    if isinstance(error, PySparkException):
        said = log.read_text(errors="replace").strip().splitlines()
        return f"{said[0] if said else error}; it needs Java 17 or 21 (JAVA_HOME, or java on PATH)"
    return str(error).partition("\n\tat ")[0].replace("\n", " ")


def _stop(context: SparkContext) -> None:
    """End the JVM and with it every Python worker, and wait until it is gone."""
    gateway = SparkContext._gateway  # noqa: SLF001 - PySpark offers no public way to the JVM's process
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    try:
        context.stop()
    finally:
        if gateway is not None:
            gateway.shutdown()
        SparkContext._gateway = None  # noqa: SLF001 - so that a later run in this process starts anew
        SparkContext._jvm = None  # noqa: SLF001 - as above
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()  # PySpark's gateway server ends at end-of-file
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
