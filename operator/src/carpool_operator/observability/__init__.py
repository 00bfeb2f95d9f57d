"""What the operator says of itself: metrics, logs, and whether it is alive and ready."""
