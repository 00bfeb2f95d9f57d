"""The model host: one process that owns an executor's device and one copy of the model on it.

A supervisor (no torch, restarts the rest), its child (event loop, batcher, one launcher thread),
and the client that every Spark task uses. They speak `protocol` over a Unix socket and share items
and results through `arena`.
"""
