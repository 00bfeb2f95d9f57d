"""`driverTemplate` and `executorTemplate`: what a user may say of a pod, and what not.

The API server knows a template as an object without a schema, so these checks are the model's
alone; the operator refuses the job with their words. They look at the form only as far as Carpool
reads a template; a field that no pod has is named by the API server when the pod is created.
Containers are made unprivileged whatever they say. What must stay true: no template opens the gate,
names a node, shows a GPU to a container, reaches into the node, or poses as what the operator knows
its pods by.

The API server keeps nulls of a free-form object. In a template a null says what it says in any
manifest, that nothing is given, so all are gone before anyone reads one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, JsonValue

from carpool.spec.text import FreeForm

HOST_CONTAINER: Final = "model-host"
DRIVER_CONTAINER: Final = "driver"
EXECUTOR_CONTAINER: Final = "spark-executor"
VISIBLE_DEVICES: Final = "NVIDIA_VISIBLE_DEVICES"
OWN_PREFIX: Final = "carpool.dev/"
OWN_VOLUMES: Final = "carpool-"
OWN_VARIABLES: Final = "CARPOOL_"
GPU_RESOURCES: Final = ("nvidia.com/gpu", "nvidia.com/mig-", "amd.com/gpu", "gpu.intel.com/")

_CARPOOLS: Final[Mapping[str, str]] = {
    "schedulingGates": "the operator opens the gate of an executor when it has a slot",
    "nodeName": "the operator assigns executors to nodes; use nodeSelector or affinity",
    "runtimeClassName": "it follows from the device, by the operator's settings",
    "restartPolicy": "pods are never restarted, attempts are",
    "ephemeralContainers": "they are for debugging a pod that runs",
    "hostNetwork": "pods of jobs are not privileged",
    "hostPID": "pods of jobs are not privileged",
    "hostIPC": "pods of jobs are not privileged",
}
"""Field of a pod's spec that no template may have, and why."""
_MAPPINGS: Final = ("affinity", "securityContext")
_LISTS: Final = ("containers", "initContainers", "volumes", "tolerations", "imagePullSecrets")
_CONTAINER_LISTS: Final = ("env", "envFrom", "ports", "volumeMounts")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def _driver(template: dict[str, JsonValue]) -> dict[str, JsonValue]:
    problems = list(_problems(template, DRIVER_CONTAINER))
    if isinstance(inside := template.get("spec"), Mapping) and "serviceAccountName" in inside:
        problems.append(
            "spec.serviceAccountName has a field of its own; remove it and set "
            "spec.spark.serviceAccountName"
        )
    return _checked(template, problems)


def _executor(template: dict[str, JsonValue]) -> dict[str, JsonValue]:
    problems = list(_problems(template, EXECUTOR_CONTAINER))
    if isinstance(inside := template.get("spec"), Mapping) and "serviceAccountName" in inside:
        problems.append("spec.serviceAccountName: executors have no account; remove it")
    return _checked(template, problems)


def _checked(template: dict[str, JsonValue], problems: list[str]) -> dict[str, JsonValue]:
    if problems:
        raise ValueError("; ".join(problems))
    return template


def _given(value: Any) -> Any:
    """A template without its nulls: no field that is null, no null in a list."""
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_given(each) for each in value if each is not None]
    return value


DriverTemplate = Annotated[FreeForm, AfterValidator(_given), AfterValidator(_driver)]
ExecutorTemplate = Annotated[FreeForm, AfterValidator(_given), AfterValidator(_executor)]


def _problems(template: Mapping[str, Any], own: str) -> Iterator[str]:
    """What is wrong with a template, each beginning with the path of its field."""
    metadata, inside = template.get("metadata"), template.get("spec")
    if isinstance(metadata, Mapping):
        yield from _metadata_problems(metadata)
    elif metadata is not None:
        yield "metadata: expected an object"
    if isinstance(inside, Mapping):
        yield from _spec_problems(inside)
        yield from _all_containers_problems(inside, own)
    elif inside is not None:
        yield "spec: expected an object, the spec of a pod"


def _spec_problems(inside: Mapping[str, Any]) -> Iterator[str]:
    for field, why in _CARPOOLS.items():
        if field in inside:
            yield f"spec.{field} is set by Carpool: {why}; remove it"
    for field in _MAPPINGS:
        if not isinstance(inside.get(field, {}), Mapping | None):
            yield f"spec.{field}: expected an object"
    if isinstance(affinity := inside.get("affinity"), Mapping):
        yield from _affinity_problems(affinity.get("nodeAffinity", {}))
    if not _is_text_map(inside.get("nodeSelector")):
        yield "spec.nodeSelector: expected an object whose values are strings"
    for field in _LISTS:
        if not _is_list_of_objects(inside.get(field)):
            yield f"spec.{field}: expected a list of objects"
    for volume in _objects(inside.get("volumes")):
        if "hostPath" in volume:
            yield f'spec.volumes: "{volume.get("name")}" is a hostPath; use a volume claim'
        if str(volume.get("name", "")).startswith(OWN_VOLUMES):
            yield f'spec.volumes: "{volume["name"]}" begins as Carpool\'s own do; rename it'


def _affinity_problems(affinity: Any) -> Iterator[str]:
    path = "spec.affinity.nodeAffinity"
    if not isinstance(affinity, Mapping):
        yield f"{path}: expected an object"
        return
    if not _is_list_of_objects(affinity.get(_PREFERRED)):
        yield f"{path}.{_PREFERRED}: expected a list of objects"
    if _REQUIRED not in affinity:
        return
    path, required = f"{path}.{_REQUIRED}", affinity[_REQUIRED]
    if not isinstance(required, Mapping):
        yield f"{path}: expected an object"
        return
    terms = required.get("nodeSelectorTerms")
    if not terms or not _is_list_of_objects(terms):
        yield f"{path}.nodeSelectorTerms: expected a list of objects, at least one"
    for place, term in enumerate(_objects(terms)):
        for field in ("matchExpressions", "matchFields"):
            here = f"{path}.nodeSelectorTerms[{place}].{field}"
            if not _is_list_of_objects(term.get(field)):
                yield f"{here}: expected a list of objects"
            for index, requirement in enumerate(_objects(term.get(field))):
                yield from _requirement_problems(requirement, f"{here}[{index}]")


def _requirement_problems(requirement: Mapping[str, Any], path: str) -> Iterator[str]:
    """What is wrong with a core/v1 NodeSelectorRequirement."""
    for field in ("key", "operator"):
        if not isinstance(requirement.get(field), str):
            yield f"{path}.{field}: expected a string"
    values = requirement.get("values", [])
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        yield f"{path}.values: expected a list of strings"
    elif requirement.get("operator") in ("Gt", "Lt") and len(values) != 1:
        yield f"{path}.values: expected one number, in quotes"


def _all_containers_problems(inside: Mapping[str, Any], own: str) -> Iterator[str]:
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for place, container in enumerate(_objects(inside.get(field))):
            path = f"spec.{field}[{place}]"
            yield from _container_problems(container, path)
            name = container.get("name")
            if name == own and field == "initContainers":
                yield f'{path}.name: "{own}" is Carpool\'s own, one of spec.containers; rename it'
            if isinstance(name, str) and name in names:
                yield f'{path}.name: "{name}" is there twice; rename one'
            names.add(str(name))


def _metadata_problems(metadata: Mapping[str, Any]) -> Iterator[str]:
    for field in ("labels", "annotations"):
        found = metadata.get(field)
        if not _is_text_map(found):
            yield f"metadata.{field}: expected an object whose values are strings"
            continue
        for key in found or ():
            if key.startswith(OWN_PREFIX):
                yield f'metadata.{field}["{key}"] is set by Carpool; remove it'


def _container_problems(container: Mapping[str, Any], path: str) -> Iterator[str]:
    name = container.get("name")
    if not isinstance(name, str) or not name:
        yield f"{path}.name: missing; every container has a name"
    if name == HOST_CONTAINER:
        yield f'{path}.name: "{HOST_CONTAINER}" is Carpool\'s own; rename it'
    for field in _CONTAINER_LISTS:
        if not _is_list_of_objects(container.get(field)):
            yield f"{path}.{field}: expected a list of objects"
    if not isinstance(container.get("securityContext", {}), Mapping):
        yield f"{path}.securityContext: expected an object"
    for place, variable in enumerate(_objects(container.get("env"))):
        found = variable.get("name")
        if not isinstance(found, str) or not found:
            yield f"{path}.env[{place}].name: missing; every variable has a name"
        elif found == VISIBLE_DEVICES or found.startswith(OWN_VARIABLES):
            yield f'{path}.env: "{found}" is set by Carpool; remove it'
    for mount in _objects(container.get("volumeMounts")):
        if str(mount.get("name", "")).startswith(OWN_VOLUMES):
            yield f'{path}.volumeMounts: "{mount["name"]}" is Carpool\'s own; remove it'
    yield from _resource_problems(container.get("resources"), f"{path}.resources")


def _resource_problems(resources: Any, path: str) -> Iterator[str]:
    if resources is None:
        return
    if not isinstance(resources, Mapping):
        yield f"{path}: expected an object"
        return
    for kind in ("requests", "limits"):
        amounts = resources.get(kind)
        if not isinstance(amounts, Mapping | None):
            yield f"{path}.{kind}: expected an object"
            continue
        for name in amounts or ():
            if str(name).startswith(GPU_RESOURCES):
                yield f'{path}.{kind}["{name}"]: the operator assigns GPUs (spec.gpu); remove it'


def _is_text_map(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values())
    )


def _is_list_of_objects(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
    )


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing where its form was found to be wrong."""
    return value if isinstance(value, list) and _is_list_of_objects(value) else []
