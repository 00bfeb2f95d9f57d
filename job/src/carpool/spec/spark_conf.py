"""Which Spark settings a job may not bring along in `spec.spark.conf`, and why.

Three kinds are refused: what has a field of its own, since two places for one fact would let the
operator reserve something else than Spark asks for; what Carpool sets itself, since driver and
executors would not find each other; and what shapes the executor pods past `executorTemplate`,
since it could open the gate, show a GPU to a container that was not given one, or ask for more than
was reserved. All other settings are the user's. The names are those of Spark 4.3
(https://spark.apache.org/docs/latest/running-on-kubernetes.html#configuration).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIELD_OF_SETTING: Final[Mapping[str, str]] = {
    "spark.executor.instances": "spec.executors",
    "spark.executor.cores": "spec.spark.executor.cores",
    "spark.executor.memory": "spec.spark.executor.memory",
    "spark.executor.memoryOverhead": "spec.spark.executor.memory, which counts all of it",
    "spark.executor.pyspark.memory": "spec.spark.executor.memory, which counts all of it",
    "spark.memory.offHeap.enabled": "spec.spark.executor.memory, which counts all of it",
    "spark.memory.offHeap.size": "spec.spark.executor.memory, which counts all of it",
    "spark.driver.cores": "spec.spark.driver.cores",
    "spark.driver.memory": "spec.spark.driver.memory",
    "spark.kubernetes.container.image": "spec.spark.image",
    "spark.kubernetes.driver.container.image": "spec.spark.image",
    "spark.kubernetes.executor.container.image": "spec.spark.image",
    "spark.kubernetes.container.image.pullSecrets": "spec.spark.imagePullSecrets",
    "spark.kubernetes.authenticate.driver.serviceAccountName": "spec.spark.serviceAccountName",
    "spark.kubernetes.driver.podTemplateFile": "spec.spark.driverTemplate",
    "spark.kubernetes.executor.podTemplateFile": "spec.spark.executorTemplate",
    "spark.kubernetes.executor.scheduler.name": "schedulerName in spec.spark.executorTemplate",
}
"""Setting, and the field to use instead."""

SET_BY_CARPOOL: Final[Mapping[str, str]] = {
    "spark.master": "",
    "spark.submit.deployMode": ": the driver pod is the driver, in client mode",
    "spark.authenticate": ": whoever connects must know the application's secret",
    "spark.driver.host": ": executors reach the driver at the address of its pod",
    "spark.driver.bindAddress": ": executors reach the driver at the address of its pod",
    "spark.driver.port": ": network policies name the port",
    "spark.driver.blockManager.port": ": network policies name the port",
    "spark.blockManager.port": ": network policies name the port",
    "spark.kubernetes.namespace": ": executors run in the namespace of the job",
    "spark.kubernetes.driver.master": ": it is the API server of this cluster",
    "spark.kubernetes.driver.pod.name": ": the driver's pod owns the executors",
    "spark.kubernetes.authenticate.executor.serviceAccountName": ": executors have no account",
    "spark.kubernetes.executor.podTemplateContainerName": ": it belongs to executorTemplate",
    "spark.kubernetes.executor.disableConfigMap": ": the driver may not create ConfigMaps",
    "spark.kubernetes.executor.pod.featureSteps": ": a step could open the executors' gate",
    "spark.kubernetes.executor.pod.excludedFeatureSteps": ": each step is needed",
    "spark.kubernetes.allocation.pods.allocator": ": executors are pods of their own",
    "spark.kubernetes.allocation.executor.timeout": ": an executor asked for twice takes two slots",
    "spark.executorEnv.NVIDIA_VISIBLE_DEVICES": ": the model host alone sees the executor's GPU",
}
"""Setting, and why it is no one else's."""

REFUSED_PREFIXES: Final[Mapping[str, str]] = {
    "spark.authenticate.": "is set by Carpool: a secret must not stand in a job",
    "spark.dynamicAllocation.": "is set by Carpool: slots are reserved for spec.executors",
    "spark.driver.resource.": "is set by Carpool: the driver sees no GPU",
    "spark.executor.resource.": "is set by Carpool: the operator assigns GPUs (spec.gpu)",
    "spark.task.resource.": "is set by Carpool: tasks share the executor's GPU (spec.gpu)",
    "spark.executorEnv.CARPOOL_": "is set by Carpool",
    "spark.kubernetes.executor.label.": (
        "has a field of its own; remove it and set metadata.labels in spec.spark.executorTemplate"
    ),
    "spark.kubernetes.executor.annotation.": (
        "has a field of its own; remove it and set metadata.annotations in "
        "spec.spark.executorTemplate"
    ),
    "spark.kubernetes.executor.volumes.": (
        "has a field of its own; remove it and set spec.volumes in spec.spark.executorTemplate"
    ),
    "spark.kubernetes.executor.secrets.": (
        "has a field of its own; remove it and set spec.volumes in spec.spark.executorTemplate"
    ),
    "spark.kubernetes.executor.secretKeyRef.": (
        "has a field of its own; remove it and set env in spec.spark.executorTemplate"
    ),
    "spark.kubernetes.node.selector.": (
        "has a field of its own; remove it and set spec.gpu.nodeSelector, or nodeSelector in the "
        "templates"
    ),
    "spark.kubernetes.executor.node.selector.": (
        "has a field of its own; remove it and set spec.gpu.nodeSelector, or nodeSelector in "
        "spec.spark.executorTemplate"
    ),
    "spark.kubernetes.scheduler.": (
        "has a field of its own; remove it and set schedulerName in the templates"
    ),
}
"""Beginning of a setting, and what is said about `<beginning>*`."""
