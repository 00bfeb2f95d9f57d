"""Rules between fields, as data: what must hold, which field to blame, what to do about it.

Every broken rule of a model is reported at once and under the name of the field that should change.
A rule is a plain condition with a fixed message, because a Kubernetes API server enforces the same
rule by a CEL expression. Condition and expression stand side by side; that they agree is tested on
a real API server. https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

RULE_ERROR = "rule"

Model_contra = TypeVar("Model_contra", bound=BaseModel, contravariant=True)
Model = TypeVar("Model", bound=BaseModel)
Reason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"]


@dataclass(frozen=True, slots=True)
class Rule(Generic[Model_contra]):
    """One rule of a model.

    Attributes:
        field: path of the field to blame, below the model, in camelCase with dots.
        holds: whether the model keeps the rule.
        message: what is wrong and what to do, to follow the path of the field.
        cel: `holds` in CEL, where `self` is the model with its defaults filled in. None where the
            API server keeps the rule by other means, which are then named beside it.
        reason: how the API server classifies a breach; it begins its line with the words "Invalid
            value", "Required value" or "Forbidden".
    """

    field: str
    holds: Callable[[Model_contra], bool]
    message: str
    cel: str | None
    reason: Reason = "FieldValueInvalid"


def enforce(model: Model, rules: Iterable[Rule[Model]]) -> Model:
    """The model itself, if it keeps all rules.

    Raises:
        ValidationError: rules are broken; it has one error of type `RULE_ERROR` for each. Raised
            inside a validator, pydantic merges these errors into its own.
    """
    broken = [
        InitErrorDetails(
            # As an argument, so that braces in a message are not taken for placeholders.
            type=PydanticCustomError(RULE_ERROR, "{message}", {"message": rule.message}),
            loc=tuple(rule.field.split(".")),
            input=None,
        )
        for rule in rules
        if not rule.holds(model)
    ]
    if broken:
        raise ValidationError.from_exception_data(type(model).__name__, broken)
    return model
