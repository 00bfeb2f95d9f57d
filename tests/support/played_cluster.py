"""Lets a namespace's pods live by themselves: a thread plays kubelet and Spark for all of them.

    driver pod   → runs → asks for executors → when all run, ends as the script says
    executor pod → runs, once its gate is open → is deleted when its driver ends

What it does follows from what it sees, so it goes on when the operator is killed and comes back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from carpool_operator.domain import names
from support import played_kubelet as played
from support.control_plane.client import ApiClient, ApiError, Body
from support.control_plane.plane import ControlPlane

Ending = Literal["succeeds", "fails", "is killed", "goes on"]
Script = Callable[[str, int], Ending]
"""How the driver of a job's attempt ends, by the job's name and the attempt."""


def always(ending: Ending) -> Script:
    return lambda _job, _attempt: ending


@dataclass
class _Driver:
    pod: Body
    asked: bool = False
    ended: bool = False


class PlayedCluster:
    """The thread; a context manager."""

    def __init__(
        self, plane: ControlPlane, namespace: str, script: Script, executors: int = 2
    ) -> None:
        self._api: ApiClient = plane.user("carpool-tests", "system:masters")
        self._namespace = namespace
        self._script = script
        self._executors = executors
        self._drivers: dict[str, _Driver] = {}
        self._running: dict[str, dict[str, Body]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="played-cluster")
        self.created: list[str] = []
        """Names of all driver pods that ever were."""
        self.most_drivers = 0
        """The most driver pods that lived at once."""
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()
        if self.failure is not None:
            raise self.failure

    def _play(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    for kind, pod in self._api.watch(played.pods_path(self._namespace), 0.5):
                        self._take(kind, pod)
                        if self._stop.is_set():
                            return
                except TimeoutError:
                    continue  # silence: look whether to stop, then list again
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.failure = error

    def _take(self, kind: str, pod: Body) -> None:
        role = pod["metadata"].get("labels", {}).get(names.ROLE_LABEL)
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self._drivers.pop(uid, None)
            for running in self._running.values():
                running.pop(uid, None)
            return
        try:
            if role == "driver":
                self._driver(uid, pod)
            elif role == "executor":
                self._executor(uid, pod)
        except ApiError as error:
            if error.code != 404:  # gone meanwhile
                raise

    def _driver(self, uid: str, pod: Body) -> None:
        phase = pod.get("status", {}).get("phase")
        driver = self._drivers.get(uid)
        if driver is None:
            driver = self._drivers[uid] = _Driver(pod, ended=phase in ("Succeeded", "Failed"))
            if pod["metadata"]["name"] not in self.created:
                self.created.append(pod["metadata"]["name"])
        living = sum(not each.ended for each in self._drivers.values())
        self.most_drivers = max(self.most_drivers, living)
        if phase == "Pending":
            played.run_driver(self._api, pod)
        if not driver.asked and not driver.ended:
            driver.asked = True
            for _ in range(self._executors):
                played.add_executor(self._api, pod)

    def _executor(self, uid: str, pod: Body) -> None:
        if pod["spec"].get("schedulingGates"):
            return
        owner = pod["metadata"]["ownerReferences"][0]["uid"]
        driver = self._drivers.get(owner)
        if driver is None or driver.ended:
            return
        running = self._running.setdefault(owner, {})
        if pod["status"]["phase"] == "Pending":
            played.run_executor(self._api, pod)
        running[uid] = pod
        if len(running) >= self._executors:
            self._end(driver, running)

    def _end(self, driver: _Driver, executors: dict[str, Body]) -> None:
        labels = driver.pod["metadata"]["labels"]
        ending = self._script(labels[names.JOB_LABEL], int(labels[names.ATTEMPT_LABEL]))
        if ending == "goes on":
            return
        driver.ended = True
        match ending:
            case "succeeds":
                played.end_driver(self._api, driver.pod, played.success())
            case "fails":
                failed = played.success() | {
                    "phase": "Failed",
                    "reason": "ModelFormatError",
                    "message": "no such layer",
                }
                played.end_driver(self._api, driver.pod, failed, 1)
            case "is killed":
                played.end_driver(self._api, driver.pod, None, 137)
        for pod in list(executors.values()):
            played.remove_pod(self._api, pod)
