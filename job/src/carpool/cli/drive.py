"""`carpool drive`: the driver of an InferenceJob, inside a driver pod of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from carpool.cli.run import EXIT_CODES, end_on_signals
from carpool.cli.terminal import terminal_reporter
from carpool.errors import CarpoolError
from carpool.host.termination import VARIABLE
from carpool.spark.cluster_executors import ClusterExecutors
from carpool.spark.driver_pod import DriverPod
from carpool.spark.driver_status import DriverStatus
from carpool.spark.program import run_job
from carpool.spark.progress_endpoint import progress_endpoint
from carpool.spark.reporter import Reporters
from carpool.spark.result import JobResult
from carpool.spec import load_job


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.description = (
        "Drive an InferenceJob from a pod of a Kubernetes cluster: Spark in client mode asks for "
        "executor pods, each with a model host. The pod's manifest sets CARPOOL_POD_NAME, "
        "CARPOOL_POD_NAMESPACE, CARPOOL_POD_IP and CARPOOL_IMAGE; the operator's sets "
        "CARPOOL_ATTEMPT too, and executors then wait at its gate. With CARPOOL_PROGRESS_PORT, "
        "GET /progress tells how far the job is. Progress goes to standard error, the result ends "
        "standard output as one JSON object, and the file that CARPOOL_TERMINATION_LOG names gets "
        "it for the operator. Exit codes as of `carpool run`."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the job file (YAML)")
    parser.add_argument("--job-uid", help="the same for every attempt of a job")
    parser.set_defaults(command=drive)


def drive(options: argparse.Namespace) -> int:
    """Run the job and print its result."""
    end_on_signals()
    status = DriverStatus()
    try:
        result = _drive(options, status)
    except CarpoolError as error:  # before the program could make a result of it
        result = JobResult(
            phase="Failed", reason=error.reason, message=str(error), retryable=error.retryable
        )
    if log := os.environ.get(VARIABLE):
        Path(log).write_bytes(status.last_word(result))
    if result.phase == "Failed":
        print(f"carpool: {result.reason}: {result.message}", file=sys.stderr)
    print(json.dumps(result.as_json()))
    return EXIT_CODES[result.phase]


def _drive(options: argparse.Namespace, status: DriverStatus) -> JobResult:
    pod = DriverPod.from_environment()
    with ExitStack() as stack:
        if pod.progress_port is not None:
            stack.enter_context(progress_endpoint(pod.progress_port, status.progress))
        terminal = stack.enter_context(terminal_reporter())
        job = load_job(options.file)
        return run_job(
            job,
            Reporters(terminal, status),
            executors=ClusterExecutors(pod, options.job_uid),
            job_uid=options.job_uid,
        )
