"""`spec.failurePolicy`: how much bad input a job accepts.

The policy is a function of the plan and of what has ended, so that it says the same whichever
attempt found the bad input, while the job runs and when nothing is left to run.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.errors import TooManyBadInputs
from carpool.plan.units import Plan
from carpool.spark.progress import Progress


@dataclass(frozen=True, slots=True)
class BadInputPolicy:
    """What a job accepts.

    Attributes:
        quarantine: whether bad input is set aside at all.
        max_percent: most of its frames that may be bad; a file without an index counts as one.
    """

    quarantine: bool
    max_percent: int

    def check(self, plan: Plan, progress: Progress) -> None:
        """Refuse more bad input than is accepted, however the rest of the job goes.

        Raises:
            TooManyBadInputs: with both figures and the field.
        """
        frames = dict.fromkeys((each.unit_id for each in plan.unreadable), 1)
        frames |= {unit.unit_id: unit.expected for unit in plan.units}
        bad = sum(frames[unit_id] for unit_id in progress.quarantined)
        if bad and not self.quarantine:
            raise TooManyBadInputs(
                f"{len(progress.quarantined):,} work units are in quarantine and "
                "spec.failurePolicy.badInputs is Fail; mend the input, or run with "
                "--retry-quarantined to try them again"
            )
        total = sum(frames.values())
        if bad * 100 > total * self.max_percent:
            raise TooManyBadInputs(
                f"{bad:,} of {total:,} frames are bad ({100 * bad / total:.1f} %), "
                f"spec.failurePolicy.maxBadPercent allows {self.max_percent} %"
            )
