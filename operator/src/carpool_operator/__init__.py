"""The kopf operator of Carpool: reserves GPUs for jobs and opens the gate for their executors."""
