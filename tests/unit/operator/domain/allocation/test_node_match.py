"""Which nodes a pod may run on, as the Kubernetes scheduler has it."""

from __future__ import annotations

import pytest

from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.cluster_state import Node, Resources, Scheduling, Taint


def node(*taints, ready=True, unschedulable=False, **labels):
    return Node("node-1", ready, unschedulable, labels, taints, Resources())


def demand(*terms, selector=None, tolerations=()):
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return Scheduling(
        selector or {}, {"nodeAffinity": required} if terms else {}, tuple(tolerations)
    )


def expression(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def field(operator, *values):
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("term", "matches"),
    [
        (expression("gpu", "In", "l4", "a10"), True),
        (expression("gpu", "In", "a10"), False),
        (expression("absent", "In", "a10"), False),
        (expression("gpu", "NotIn", "a10"), True),
        (expression("gpu", "NotIn", "l4"), False),
        (expression("absent", "NotIn", "l4"), True),
        (expression("gpu", "Exists"), True),
        (expression("absent", "Exists"), False),
        (expression("gpu", "DoesNotExist"), False),
        (expression("absent", "DoesNotExist"), True),
        (expression("memory", "Gt", "15"), True),
        (expression("memory", "Gt", "16"), False),
        (expression("memory", "Lt", "17"), True),
        (expression("gpu", "Gt", "1"), False),
        (expression("absent", "Lt", "1"), False),
        (expression("gpu", "Near", "l4"), False),
        (field("In", "node-1"), True),
        (field("In", "node-2"), False),
        (field("NotIn", "node-1"), False),
        (expression("gpu", "Exists") | field("In", "node-2"), False),
        ({}, False),
    ],
)
def test_terms_of_the_required_node_affinity(term, matches):
    found = mismatch(node(gpu="l4", memory="16"), demand(term))
    assert (found is None) is matches


def test_terms_are_alternatives():
    terms = (expression("gpu", "In", "a10"), expression("gpu", "In", "l4"))
    assert mismatch(node(gpu="l4"), demand(*terms)) is None


def test_preferred_affinity_excludes_no_node():
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}
    assert mismatch(node(), Scheduling(affinity={"nodeAffinity": preferred})) is None


def test_a_node_selector_wants_all_its_labels():
    assert mismatch(node(a="1", b="2"), demand(selector={"a": "1", "b": "2"})) is None
    assert mismatch(node(a="1"), demand(selector={"a": "1", "b": "2"})) == "has not the label b=2"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "operator": "Equal", "value": "l4"}, True),
        ({"key": "gpu", "value": "l4"}, True),
        ({"key": "gpu", "value": "a10"}, False),
        ({"key": "gpu"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations_of_a_taint(toleration, tolerated):
    found = mismatch(node(Taint("gpu", "l4", "NoSchedule")), demand(tolerations=[toleration]))
    assert (found is None) is tolerated


def test_every_repelling_taint_must_be_tolerated():
    taints = (Taint("gpu", "", "NoSchedule"), Taint("sick", "", "NoExecute"))
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    assert mismatch(node(*taints), demand(tolerations=tolerations)) == (
        "has the taint sick, which is not tolerated"
    )


def test_a_taint_that_only_asks_to_stay_away_repels_nobody():
    assert mismatch(node(Taint("busy", "", "PreferNoSchedule")), demand()) is None


def test_a_node_that_is_not_ready_takes_nobody():
    assert mismatch(node(ready=False), demand(tolerations=[{"operator": "Exists"}])) == (
        "is not ready"
    )


def test_a_cordoned_node_takes_only_who_tolerates_it():
    assert mismatch(node(unschedulable=True), demand()) == "is cordoned"
    assert mismatch(node(unschedulable=True), demand(tolerations=[{"operator": "Exists"}])) is None
