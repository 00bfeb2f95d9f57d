"""`carpool.predict_batch_udf`: a user's own Spark program, with one model per executor.

`function` runs in the driver, `task` in Spark's Python workers, `handler` in the model host. The
workers never open the user's pickled function, and the host imports neither pandas nor PySpark of
its own accord: what both speak is in `records` (rows in) and `results` (predictions out).
"""
