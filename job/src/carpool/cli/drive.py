"""`carpool drive`: the driver of an InferenceJob, inside a driver pod of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from carpool.cli.run import EXIT_CODES, end_on_signals
from carpool.cli.terminal import terminal_reporter
from carpool.spark.cluster_executors import ClusterExecutors, DriverPod
from carpool.spark.program import run_job
from carpool.spec import load_job


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.description = (
        "Drive an InferenceJob from a pod of a Kubernetes cluster: Spark in client mode asks for "
        "executor pods, each with a model host. The pod's manifest sets CARPOOL_POD_NAME, "
        "CARPOOL_POD_NAMESPACE, CARPOOL_POD_IP and CARPOOL_IMAGE. Progress goes to standard error, "
        "the result ends standard output as one JSON object. Exit codes as of `carpool run`."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the job file (YAML)")
    parser.add_argument("--job-uid", help="the same for every attempt of a job")
    parser.set_defaults(command=drive)


def drive(options: argparse.Namespace) -> int:
    """Run the job and print its result."""
    end_on_signals()
    job = load_job(options.file)
    executors = ClusterExecutors(DriverPod.from_environment())
    with terminal_reporter() as reporter:
        result = run_job(job, reporter, executors=executors, job_uid=options.job_uid)
    if result.phase == "Failed":
        print(f"carpool: {result.reason}: {result.message}", file=sys.stderr)
    print(json.dumps(result.as_json()))
    return EXIT_CODES[result.phase]
