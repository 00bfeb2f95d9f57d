"""Many Spark tasks, one model: batch DNN inference on Spark and Kubernetes."""

__version__ = "0.1.0"
