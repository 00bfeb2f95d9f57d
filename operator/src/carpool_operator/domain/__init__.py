"""What the operator decides, as functions of what it has observed and of the time it is given.

Nothing here reads a clock, waits, or knows kopf or the Kubernetes client: the same observations
give the same decisions, so that one can be replayed, and its invariants tested by the thousand.
"""
