from __future__ import annotations

import math

import pytest

from carpool.errors import SpecError
from carpool.spec import load_job, parse_document, parse_job
from carpool.spec.document import read_documents, read_value

JOB = """\
apiVersion: carpool.dev/v1alpha1
kind: InferenceJob
metadata: {name: one}
spec:
  model: {format: Darknet, uri: model.cfg}
  input: {uris: [clip.mp4]}
  output: {uri: results}
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("1e-3", 0.001),
        ("2.5", 2.5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("off", False),
        ("null", None),
        ("~", None),
        ("", None),
        # Strings here, though PyYAML would make a date, base-60 and octal numbers of them.
        ("2026-05-04", "2026-05-04"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("=", "="),
        ("'12'", "12"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
    ],
)
def test_scalars_are_those_of_json(text, expected):
    found = read_value(text, "value")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", 'f.yaml:3:1: duplicate key "a", first on line 1'),
        ("x:\n  uri: a\n  uri: b\n", 'f.yaml:3:3: duplicate key "uri", first on line 2'),
        ("a: 1\n2: b\n", "f.yaml:2:1: key 2 is not a string: write it in quotes"),
        ("on: b\n", "f.yaml:1:1: key on is not a string: write it in quotes"),
        ("? [a]\n: b\n", "f.yaml:1:3: key a sequence is not a string: write it in quotes"),
        ("a: 1\n\tb: 2\n", None),
        ("a: [1\n", None),
        ("a: *b\n", "f.yaml:1:4: found undefined alias 'b'"),
        ("a: !!python/name:os.system x\n", None),
        ("a: !!int x\n", "f.yaml:1:4: a value that is no int"),
        ("a: !!timestamp x\n", "f.yaml:1:4: a value that is no timestamp"),
        ("a: &a [*a]\n", "f.yaml:1:4: nested deeper than 64, or inside itself"),
        ("a: b\nc: \x00\n", "f.yaml:2:4: character U+0000 is not allowed in YAML: remove it"),
        ("[" * 1000, "f.yaml: nested deeper than 64"),
    ],
)
def test_mistakes_have_a_place(text, expected):
    with pytest.raises(SpecError) as caught:
        read_documents(text, "f.yaml")
    if expected is None:
        assert str(caught.value).startswith(("f.yaml:1:", "f.yaml:2:"))
    else:
        assert str(caught.value) == expected


def test_aliases_cannot_multiply_into_a_huge_document():
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(SpecError, match=r"f.yaml:\d+:\d+: more than 100000 values"):
        read_documents("\n".join(["l0: &l0 x", *levels]), "f.yaml")


def test_a_huge_text_is_refused_before_it_is_parsed():
    with pytest.raises(SpecError, match=r"f\.yaml: 1000001 characters long"):
        read_documents("x" * 1_000_001, "f.yaml")


def test_merge_keys_may_be_overridden():
    text = "z: {y: &b {x: 1, <<: {x: 2, w: 3}}}\ntop: {<<: *b, v: 4}\n"
    assert read_documents(text, "f") == [
        {"z": {"y": {"x": 1, "w": 3}}, "top": {"x": 1, "w": 3, "v": 4}}
    ]


def test_other_documents_beside_the_job_are_passed_over():
    job = parse_job(f"{CONFIG_MAP}---\n{JOB}---\n", "f.yaml")
    assert job.metadata.name == "one"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml: empty: expected one InferenceJob"),
        ("# only a comment\n---\n", "f.yaml: empty: expected one InferenceJob"),
        ("[1, 2]", "f.yaml: expected one document of kind InferenceJob, found none"),
        (
            f"{CONFIG_MAP}---\n{CONFIG_MAP}",
            "f.yaml: expected one document of kind InferenceJob, found none",
        ),
        (
            f"{JOB}---\n{JOB}",
            (
                "f.yaml: expected one document of kind InferenceJob, found 2: "
                "put each into a file of its own"
            ),
        ),
    ],
)
def test_exactly_one_job_is_expected(text, expected):
    with pytest.raises(SpecError) as caught:
        parse_document(text, "f.yaml")
    assert str(caught.value) == expected


def test_wrong_kind_of_a_single_document_is_reported_as_a_field():
    with pytest.raises(SpecError, match=r'f\.yaml: kind: expected "InferenceJob", found "Job"'):
        parse_job(JOB.replace("InferenceJob", "Job"), "f.yaml")


def test_job_is_loaded_from_a_file_with_overrides(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(JOB, encoding="utf-8")
    assert load_job(path).spec.executors == 1
    assert load_job(path, ["executors=3"]).spec.executors == 3


def test_every_line_of_a_refusal_begins_with_the_file(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(JOB + "  executors: x\n  device: x\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_job(path)
    assert str(caught.value).split("\n") == [
        f'{path}: spec.device: expected one of GPU, CPU, found "x"',
        f'{path}: spec.executors: expected an integer from 1 to 10000, found "x"',
    ]


def test_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"absent\.yaml: no such file"):
        load_job(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load_job(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9")
    with pytest.raises(SpecError, match=r"latin\.yaml: no UTF-8 text \(byte 3\)"):
        load_job(latin)
