"""The Spark program: plans a job, runs its two stages, and finishes its output.

The driver (`program`, `pipeline`, `session`) decides; tasks (`detect`, `track`) do one unit or one
video each, import no torch, and report back through `reports`.
"""
