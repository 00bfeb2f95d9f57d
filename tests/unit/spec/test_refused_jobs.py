from __future__ import annotations

from typing import Any

import pytest

from carpool.errors import SpecError
from carpool.spec import validate_job
from support.job_documents import REMOVED, job_document

SIZE = 'a size as a Kubernetes quantity, such as "8Gi" or "512Mi" (not Spark\'s "8g")'
CPU = 'an amount of CPU as a Kubernetes quantity, such as "2" or "500m"'
HASH = "64 lower-case hexadecimal digits, as sha256sum prints them"
NAME = "a name of at most 40 lower-case letters, digits and inner hyphens"
TIME = "a time in UTC, such as 2026-05-04T10:20:30Z"
PINNED = (
    "spec.model.sha256: missing; a model that is not a local file must be pinned: "
    "add the output of `sha256sum` for the file at spec.model.uri"
)
CODE_FILE = (
    "spec.model.allowCode: spec.model.uri names a file that can run code when it is loaded; "
    "convert it to .safetensors, use format TorchExport for a .pt2, or set allowCode: true if you "
    "trust it"
)
CODE_IN_CONF = (
    "spec.model.allowCode: spec.spark.conf brings Python code along (spark.submit.pyFiles or "
    "spark.archives); set allowCode: true if you trust it, or install the handler in the image"
)
PYTHON = {"format": "Python", "handler": "detectors.mine:Mine"}
ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "lastTransitionTime": "2026-05-04T10:20:30Z",
    "reason": "Valid",
    "message": "",
}
TORCH = {"format": "TorchExport", "uri": "model.pt2"}


def complaints(document: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        validate_job(document, "job.yaml")
    lines = str(caught.value).split("\n")
    assert all(line.startswith("job.yaml: ") for line in lines)
    return [line.removeprefix("job.yaml: ") for line in lines]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Nothing is converted.
        (
            {"spec__input__video": {"chunkSeconds": "abc"}},
            'spec.input.video.chunkSeconds: expected an integer ≥ 0, found "abc"',
        ),
        (
            {"spec__executors": "3"},
            'spec.executors: expected an integer from 1 to 10000, found "3"',
        ),
        (
            {"spec__executors": True},
            "spec.executors: expected an integer from 1 to 10000, found true",
        ),
        (
            {"spec__executors": 2.0},
            "spec.executors: expected an integer from 1 to 10000, found 2.0",
        ),
        ({"spec__suspend": 1}, "spec.suspend: expected true or false, found 1"),
        ({"spec__suspend": "yes"}, 'spec.suspend: expected true or false, found "yes"'),
        (
            {"spec__host__cpu": 2},
            f"spec.host.cpu: expected {CPU}, found 2 (a string needs quotes: '2')",
        ),
        (
            {"spec__spark__conf": {"spark.speculation": True}},
            (
                'spec.spark.conf["spark.speculation"]: expected a string of at most 4096 '
                "characters, found true (a string needs quotes: 'true')"
            ),
        ),
        # Bounds.
        ({"spec__executors": 0}, "spec.executors: expected an integer from 1 to 10000, found 0"),
        (
            {"spec__input__video": {"everyNthFrame": 0}},
            "spec.input.video.everyNthFrame: expected an integer ≥ 1, found 0",
        ),
        (
            {"spec__failurePolicy__maxBadPercent": 101},
            "spec.failurePolicy.maxBadPercent: expected an integer from 0 to 100, found 101",
        ),
        (
            {"spec__input__uris": []},
            "spec.input.uris: expected a list of 1 to 256 items, found an empty list",
        ),
        (
            {"spec__input__uris": ["a"] * 257},
            "spec.input.uris: expected a list of 1 to 256 items, found a list of 257",
        ),
        (
            {"spec__input__uris": ["a", ""]},
            'spec.input.uris[1]: expected a path or URI without spaces around it, found ""',
        ),
        (
            {"spec__input__uris": "clip.mp4"},
            'spec.input.uris: expected a list of 1 to 256 items, found "clip.mp4"',
        ),
        (
            {"spec__output__uri": " results"},
            'spec.output.uri: expected a path or URI without spaces around it, found " results"',
        ),
        (
            {"spec__output__uri": "x" * 2000},
            (
                "spec.output.uri: expected a path or URI without spaces around it, "
                f'found "{"x" * 59}… (2002 characters)'
            ),
        ),
        (
            {"spec__spark__conf": {f"spark.x{i}": "" for i in range(257)}},
            (
                "spec.spark.conf: expected an object of at most 256 fields, "
                "found an object of 257 fields"
            ),
        ),
        # Words.
        (
            {"spec__output__mode": "resume"},
            'spec.output.mode: expected one of Resume, Overwrite, Error, found "resume"',
        ),
        ({"spec__device": "TPU"}, 'spec.device: expected one of GPU, CPU, found "TPU"'),
        (
            {"spec__tracking__algorithm": "SORT"},
            'spec.tracking.algorithm: expected "ByteTrack", found "SORT"',
        ),
        ({"apiVersion": "v1"}, 'apiVersion: expected "carpool.dev/v1alpha1", found "v1"'),
        ({"kind": "Job"}, 'kind: expected "InferenceJob", found "Job"'),
        # Forms.
        ({"metadata__name": "Cam_12"}, f'metadata.name: expected {NAME}, found "Cam_12"'),
        ({"metadata__name": "a" * 41}, f'metadata.name: expected {NAME}, found "{"a" * 41}"'),
        (
            {"metadata__creationTimestamp": "yesterday"},
            f'metadata.creationTimestamp: expected {TIME}, found "yesterday"',
        ),
        (
            {"metadata__creationTimestamp": "2026-02-30T10:20:30Z"},
            (
                "metadata.creationTimestamp: no calendar or clock has 2026-02-30T10:20:30Z: "
                f"give {TIME}"
            ),
        ),
        ({"spec__model__sha256": "abc"}, f'spec.model.sha256: expected {HASH}, found "abc"'),
        (
            {"spec__model": {"format": "Python", "handler": "m.M"}},
            'spec.model.handler: expected a Python class as package.module:Class, found "m.M"',
        ),
        (
            {"spec__spark__executor__memory": "8g"},
            f'spec.spark.executor.memory: expected {SIZE}, found "8g"',
        ),
        ({"spec__host__memory": "500m"}, f'spec.host.memory: expected {SIZE}, found "500m"'),
        (
            {"spec__storage__endpoint": "minio:9000"},
            (
                "spec.storage.endpoint: expected an address that starts with http:// or https://, "
                'found "minio:9000"'
            ),
        ),
        # Structure.
        (
            {"spec__output__uri": REMOVED},
            "spec.output.uri: missing; expected a path or URI without spaces around it",
        ),
        (
            {"spec__output__uri": {}},
            (
                "spec.output.uri: expected a path or URI without spaces around it, "
                "found an empty object"
            ),
        ),
        ({"spec__output": REMOVED}, "spec.output: missing; expected an object with at least uri"),
        ({"spec": None}, "spec: missing; expected an object with at least model, input, output"),
        ({"apiVersion": REMOVED}, 'apiVersion: missing; expected "carpool.dev/v1alpha1"'),
        (
            {"spec__output": "results"},
            'spec.output: expected an object with at least uri, found "results"',
        ),
        (
            {"spec__batching": 1},
            "spec.batching: expected an object with any of maxSize, deterministic, found 1",
        ),
        # Free-form objects hold JSON, within bounds.
        (
            {"spec__model__parameters": {"scoreThreshold": float("nan")}},
            "spec.model.parameters: infinity and not-a-number have no place in a job: use a number",
        ),
        (
            {"spec__model__parameters": {"when": {1, 2}}},
            "spec.model.parameters.when: expected a value that JSON can hold, found a set",
        ),
        (
            {"spec__model__parameters": {"seed": [{"a": 2**63}]}},
            (
                "spec.model.parameters: 9223372036854775808 has more than 64 bits, and Kubernetes "
                "would round it: write it in quotes"
            ),
        ),
        (
            {"spec__model__parameters": {str(index): 0 for index in range(257)}},
            (
                "spec.model.parameters: expected an object of at most 256 fields, "
                "found an object of 257 fields"
            ),
        ),
        (
            {"spec__model__parameters": {"names": "x" * 70_000}},
            (
                "spec.model.parameters: is 70013 characters long as JSON, at most 65536 are "
                "allowed: put the data in a file and name the file"
            ),
        ),
        # Unknown fields.
        ({"spec__outptu": {}}, "spec.outptu: unknown field; did you mean output?"),
        ({"spec__output__Mode": "Resume"}, "spec.output.Mode: unknown field; did you mean mode?"),
        (
            {"spec__spark__executor__core": 4},
            "spec.spark.executor.core: unknown field; did you mean cores?",
        ),
        (
            {"spec__min_executors": 1},
            "spec.min_executors: unknown field; did you mean minExecutors?",
        ),
        (
            {"spec__chunkSeconds": 5},
            "spec.chunkSeconds: unknown field; did you mean spec.input.video.chunkSeconds?",
        ),
        (
            {"spec__cores": 5},
            (
                "spec.cores: unknown field; did you mean "
                "spec.spark.driver.cores or spec.spark.executor.cores?"
            ),
        ),
        (
            {"spec__output__zzz": None},
            "spec.output.zzz: unknown field; known here: uri, mode",
        ),
        ({"metadata__lables": {}}, "metadata.lables: unknown field; did you mean labels?"),
        # Rules of the model.
        (
            {"spec__model": {"format": "Darknet"}},
            "spec.model.uri: missing; format Darknet needs the path or URI of the .cfg file",
        ),
        (
            {"spec__model": {"format": "TorchExport"}},
            "spec.model.uri: missing; format TorchExport needs the path or URI of the .pt2 file",
        ),
        (
            {"spec__model": {"format": "Python", "uri": "w.safetensors"}},
            (
                "spec.model.handler: missing; format Python needs the handler class, "
                "as package.module:Class"
            ),
        ),
        (
            {"spec__model__handler": "a:B"},
            (
                "spec.model.handler: format Darknet has its own handler; remove this field, "
                "or use format Python"
            ),
        ),
        ({"spec__model__uri": "s3://models/yolo.cfg"}, PINNED),
        ({"spec__model": {**TORCH, "uri": "https://example.org/model.pt2"}}, PINNED),
        ({"spec__model": {**PYTHON, "uri": "gs://models/w.safetensors"}}, PINNED),
        ({"spec__model": {**PYTHON, "uri": "weights.pth"}}, CODE_FILE),
        ({"spec__model": {**PYTHON, "uri": "Detector.ZIP"}}, CODE_FILE),
        ({"spec__model": {**PYTHON, "uri": "detector.pt2"}}, CODE_FILE),
        (
            {
                "spec__model": {**TORCH, "handler": "mine:Mine"},
                "spec__spark__conf": {"spark.submit.pyFiles": "mine.zip"},
            },
            CODE_IN_CONF,
        ),
        # Rules of the status.
        (
            {"status": {"conditions": [ACCEPTED, {**ACCEPTED, "status": "False"}]}},
            "status.conditions: has two conditions of one type; keep the newer",
        ),
        # Rules of the spec.
        (
            {"spec__tracking": {}, "spec__input__kind": "Images"},
            (
                "spec.tracking: only videos can be tracked; remove tracking, "
                "or set spec.input.kind: Video"
            ),
        ),
        (
            {"spec__gpu": {}, "spec__device": "CPU"},
            "spec.gpu: has no meaning with device CPU; remove gpu, or set spec.device: GPU",
        ),
        (
            {"spec__gpu": {"ownership": "Exclusive", "executorsPerGPU": 2}},
            (
                "spec.gpu.executorsPerGPU: must be 1 with ownership Exclusive; remove it, or set "
                "ownership: Pool"
            ),
        ),
        (
            {"spec__gpu": {"ownership": "Exclusive", "sharedWith": "Any"}},
            (
                "spec.gpu.sharedWith: must be Job with ownership Exclusive, since nobody shares a "
                "GPU that the kubelet hands out; remove it, or set ownership: Pool"
            ),
        ),
        (
            {"spec__executors": 2, "spec__minExecutors": 3},
            "spec.minExecutors: is more than spec.executors; lower it, or raise spec.executors",
        ),
        (
            {"spec__model": PYTHON, "spec__spark__conf": {"spark.submit.pyFiles": "mine.zip"}},
            CODE_IN_CONF,
        ),
        (
            {"spec__spark__conf": {"sql.shuffle.partitions": "8"}},
            "spec.spark.conf: every key must start with spark., since Spark ignores all others",
        ),
        (
            {"spec__spark__conf": {"spark.master": "local"}},
            "spec.spark.conf: spark.master is set by Carpool; remove it",
        ),
        (
            {"spec__spark__conf": {"spark.executor.cores": "8"}},
            (
                "spec.spark.conf: spark.executor.cores has a field of its own; remove it and set "
                "spec.spark.executor.cores"
            ),
        ),
        (
            {"spec__spark__conf": {"spark.driver.port": "7078"}},
            (
                "spec.spark.conf: spark.driver.port is set by Carpool: network policies name the "
                "port; remove it"
            ),
        ),
        (
            {"spec__spark__conf": {"spark.kubernetes.executor.label.carpool.dev/role": "driver"}},
            (
                "spec.spark.conf: spark.kubernetes.executor.label.* has a field of its own; remove "
                "it and set metadata.labels in spec.spark.executorTemplate"
            ),
        ),
        (
            {"spec__spark__conf": {"spark.executorEnv.NVIDIA_VISIBLE_DEVICES": "all"}},
            (
                "spec.spark.conf: spark.executorEnv.NVIDIA_VISIBLE_DEVICES is set by Carpool: the "
                "model host alone sees the executor's GPU; remove it"
            ),
        ),
    ],
)
def test_refusal_names_field_expectation_and_finding(changes, expected):
    assert complaints(job_document(**changes)) == [expected]


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__model": PYTHON},
        {"spec__model": {**PYTHON, "uri": "w.safetensors"}},
        {"spec__model": {**PYTHON, "uri": "weights.pth", "allowCode": True}},
        {"spec__model": {**PYTHON, "uri": "s3://models/w.safetensors", "sha256": "0" * 64}},
        {"spec__model": TORCH},
        {"spec__model": {**TORCH, "handler": "detectors.mine:Mine"}},
        {"spec__model__uri": "file:///models/yolo.cfg"},
        {"spec__model__uri": "/models/yolo.cfg"},
        {"spec__gpu": {}, "spec__device": "GPU"},
        {"spec__tracking": {"algorithm": "ByteTrack", "parameters": {"lostTrackBuffer": 60}}},
        {"spec__executors": 3, "spec__minExecutors": 3},
        {
            "spec__model": {**PYTHON, "allowCode": True},
            "spec__spark__conf": {"spark.submit.pyFiles": "mine.zip"},
        },
        {"spec__spark__conf": {"spark.submit.pyFiles": "mine.zip"}},
        {"spec__input__kind": "Parquet"},
        {"spec__sharing": "PerTask"},
        {"spec__input__video__chunkSeconds": 0},
        {"spec__input__uris": ["s3://traffic/a b/*.mp4"]},
    ],
)
def test_accepted(changes):
    validate_job(job_document(**changes), "job.yaml")


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_fields():
    document = job_document(
        metadata__name="X",
        spec__model__handler="a:B",
        spec__model__uri="s3://a.cfg",
        spec__output__mode="x",
        spec__exekutors=2,
    )
    assert [line.partition(": ")[0] for line in complaints(document)] == [
        "metadata.name",
        "spec.model.handler",
        "spec.model.sha256",
        "spec.output.mode",
        "spec.exekutors",
    ]


def test_message_with_braces_is_shown_as_it_is():
    assert complaints(job_document(spec__output__mode="{message}")) == [
        'spec.output.mode: expected one of Resume, Overwrite, Error, found "{message}"'
    ]
