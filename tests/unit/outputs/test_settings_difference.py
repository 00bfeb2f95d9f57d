from __future__ import annotations

from carpool.outputs.settings_difference import differences


def test_equal_settings_do_not_differ():
    settings = {"a": {"b": [1, 2], "c": {}}, "d": None}

    assert differences(settings, dict(settings)) == ""


def test_a_setting_is_named_by_its_path_with_both_values():
    before = {"model": {"parameters": {"scoreThreshold": 0.25}}, "handler": "a:B"}
    now = {"model": {"parameters": {"scoreThreshold": 0.3}}, "handler": "a:B"}

    assert differences(before, now) == "model.parameters.scoreThreshold: was 0.25, now 0.3"


def test_null_is_not_the_same_as_not_set():
    assert differences({"a": None}, {}) == "a: was null, now not set"


def test_a_mapping_that_became_a_value_is_seen():
    assert (
        differences({"a": {"b": 1}}, {"a": 1}) == "a: was not set, now 1; a.b: was 1, now not set"
    )


def test_many_differences_are_counted():
    text = differences({}, {f"s{number}": number for number in range(8)})

    assert text.count("now") == 5
    assert text.endswith("; and 3 more")


def test_a_long_value_is_cut():
    assert len(differences({"a": "x" * 1000}, {"a": "y"})) < 130
