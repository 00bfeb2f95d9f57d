"""A CustomResourceDefinition: the schema of a resource, its names, columns and rules of change.

Everything that an API server would fill in is written out, so that what it stores is the file.
"""

from __future__ import annotations

from typing import Any

from carpool.spec.crd.resources import CATEGORY, GROUP, VERSION, Column, Resource
from carpool.spec.crd.structural import VALIDATIONS, structural_schema


def custom_resource_definition(resource: Resource) -> dict[str, Any]:
    """The definition of a resource, as an object of apiextensions.k8s.io/v1.

    Raises:
        SchemaError: its model holds what the schema of an API server cannot express.
    """
    schema = structural_schema(resource.model)
    changes = [
        {
            "rule": change.cel,
            "fieldPath": f".{change.field}",
            "reason": "FieldValueForbidden",
            "message": change.message,
        }
        for change in resource.transitions
    ]
    if changes:
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, []), *changes]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in resource.columns],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    shown = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    return {**shown, "priority": 1} if column.wide else shown
