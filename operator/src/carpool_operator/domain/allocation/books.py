"""What was observed of pods and jobs, entered in the ledger.

What must stay true: a pod has one entry at most, and it is taken out as it was put in; a job is
known as long as its terms, its driver, its executors or a reservation are.
"""

from __future__ import annotations

from collections.abc import Callable

from carpool_operator.domain.allocation.job_ledger import JobLedger
from carpool_operator.domain.allocation.ledger import Entry, Ledger


class Books:
    """Jobs by uid, and the entries of pods."""

    def __init__(self, ledger: Ledger, settled: Callable[[JobLedger], None]) -> None:
        """Begin with nothing.

        Args:
            ledger: that entries are made in.
            settled: is told of a job of which something has changed, when nothing is left to note.
        """
        self._ledger = ledger
        self._settled = settled
        self.jobs: dict[str, JobLedger] = {}
        self.entries: dict[str, Entry] = {}
        self._outdated: set[str] = set()

    def job(self, uid: str, namespace: str) -> JobLedger:
        """The job, made where nothing was known of it."""
        job = self.jobs.get(uid)
        if job is None:
            job = self.jobs[uid] = JobLedger(uid)
            self._ledger.namespaces[uid] = namespace
        return job

    def enter(self, uid: str, entry: Entry | None) -> None:
        """Make the ledger say this of the pod, and nothing else."""
        known = self.entries.get(uid)
        if known == entry:
            return
        if known is not None:
            del self.entries[uid]
            self._ledger.remove(known)
            if known.job_uid is not None:
                job = self.jobs[known.job_uid]
                job.give_back(uid)
                self.settle(job)
        if entry is not None:
            self.entries[uid] = entry
            self._ledger.add(entry)
            if entry.job_uid is not None:
                job = self.jobs[entry.job_uid]
                job.take(uid, entry.slot, self._ledger)
                self.settle(job)

    def settle(self, job: JobLedger) -> None:
        """Note a job whose slots are to be held anew."""
        if not job.settled:
            self._outdated.add(job.uid)
        self._settled(job)

    def reconsider(self) -> None:
        """A slot that is held may have become useless, or useful again."""
        self._outdated.update(uid for uid, job in self.jobs.items() if job.overfull)

    def hold(self) -> None:
        """Hold what is to be held, of all jobs that were noted."""
        outdated, self._outdated = self._outdated, set()
        for uid in outdated:
            job = self.jobs.get(uid)
            if job is not None:
                self.hold_of(job)
                self._settled(job)

    def hold_of(self, job: JobLedger) -> None:
        """Hold what is to be held of one job."""
        job.hold(self._ledger)
        self._outdated.discard(job.uid)

    def forget(self, job: JobLedger) -> None:
        """Forget a job of which nothing is known."""
        del self.jobs[job.uid]
        self._ledger.forget_job(job.uid)
