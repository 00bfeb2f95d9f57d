"""The chart's README: a table of its values, read from values.yaml and the comments in it.

A comment that begins with two hyphens describes the key below it, as helm-docs has it. What must
stay true: every value is described, by itself or with what it is a part of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9./_-]+):")
_COMMENT = re.compile(r"^ *# ?(?P<begins>-- )?(?P<text>.*)$")

_TEXT = """\
<!-- Made from values.yaml by `make generate`; do not edit. -->
# Chart of Carpool

Installs the operator, the agent that reports the GPUs of each GPU node, the account of drivers in
the namespaces of jobs, and the admission policies by which only the operator assigns GPUs and an
agent speaks for its own node alone.

```
helm install carpool charts/carpool --namespace carpool --create-namespace \\
    --set image.repository=REGISTRY/carpool-operator \\
    --set jobs.image.repository=REGISTRY/carpool-job \\
    --set 'operator.namespaces={traffic}'
kubectl wait --namespace carpool --for=condition=Available deployment/carpool-operator
helm test carpool --namespace carpool
```

* The namespaces of `operator.namespaces` must exist. Operator, drivers and executors fit Pod
  Security `restricted`; so does the agent, unless `agent.hostPID` lets it see its node's processes.
* The agent has a namespace of its own, which the chart makes. It runs on nodes with the labels of
  `gpu.nodeLabels`, which NVIDIA's GPU feature discovery sets; `kubectl get gpunodes` shows what it
  found.
* A node is the pool's or its kubelet's. Where NVIDIA's device plugin has the kubelet hand out GPUs
  (the node offers `nvidia.com/gpu`, or MIG devices) the operator gives none by UUID; a job gets a
  whole one by `spec.gpu.ownership: Exclusive`. All other nodes with an agent are the pool, of which
  jobs get their GPUs by default. Tell the two apart by a label of your own, to keep the plugin off
  the pool (its DaemonSet's affinity) and agents on it (`agent.nodeSelector`): a kubelet that
  restarts offers nothing for some seconds, in which an agent would make its node the pool's.
* The admission policy guards each namespace whose jobs the operator runs. In those that
  `operator.namespaces` or `jobs.namespaces` name, or `operator.namespaceSelector` selects, it asks
  every container, of whichever pod, for the variable `NVIDIA_VISIBLE_DEVICES` with the value
  `void`; keep other pods out of them. (The host of an executor with a whole GPU has none: it asks
  the kubelet for exactly one, behind the operator's gate.) With neither list nor selector the
  operator serves all namespaces: in those that `jobs.namespaces` does not name it asks this of pods
  of jobs alone, since no other pod of the cluster would start. Whoever may create pods there could
  always take a GPU; name or select the namespaces of jobs where that matters.
* Helm installs the definitions of InferenceJob and GPUNode once, and neither upgrades nor deletes
  them: `kubectl apply --server-side -f charts/carpool/crds` before an upgrade.
* `helm uninstall` leaves jobs and their results, but takes the account of running drivers away;
  suspend jobs first (`kubectl patch ij NAME --type merge -p '{"spec":{"suspend":true}}'`).
* `helm upgrade` changes no pod of a running job: drivers and executors are made once.

## Values

| value | default | what it is |
| --- | --- | --- |
"""


def chart_readme(values: str) -> str:
    """The README.

    Args:
        values: text of values.yaml.

    Raises:
        SystemExit: a value is not described.
    """
    described = dict(_descriptions(values))
    rows = []
    for path, default in _leaves(yaml.safe_load(values), described, ()):
        if path not in described:
            raise SystemExit(f"values.yaml: {'.'.join(path)}: no comment that begins with -- ")
        shown = json.dumps(default).replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{shown}` | {described[path]} |\n")
    return _TEXT + "".join(rows)


def _descriptions(values: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Paths of keys, and what the comment above each says."""
    above: list[tuple[int, str]] = []
    words: list[str] = []
    for line in values.splitlines():
        if found := _COMMENT.match(line):
            if found["begins"]:
                words = [found["text"]]
            elif words:
                words.append(found["text"])
        elif found := _KEY.match(line):
            indent = len(found["indent"])
            above = [(deep, key) for deep, key in above if deep < indent] + [(indent, found["key"])]
            if words:
                yield tuple(key for _, key in above), " ".join(words)
            words = []


def _leaves(
    node: Mapping[str, Any], described: Mapping[tuple[str, ...], str], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values by path; an object that is described as a whole is one."""
    for key, value in node.items():
        path = (*above, key)
        if isinstance(value, Mapping) and path not in described:
            yield from _leaves(value, described, path)
        else:
            yield path, value
