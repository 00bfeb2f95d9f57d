"""Paths of the resources that the operator reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from carpool.spec import API_VERSION

GROUP, VERSION = API_VERSION.split("/")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects, as the API server's paths name it."""

    group: str
    version: str
    plural: str

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Path of the collection, of an object, or of a part of it."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/" + "/".join(parts)


JOBS = Resource(GROUP, VERSION, "inferencejobs")
GPU_NODES = Resource(GROUP, VERSION, "gpunodes")
PODS = Resource("", "v1", "pods")
NODES = Resource("", "v1", "nodes")
NAMESPACES = Resource("", "v1", "namespaces")
CONFIG_MAPS = Resource("", "v1", "configmaps")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
EVENTS = Resource("events.k8s.io", "v1", "events")
