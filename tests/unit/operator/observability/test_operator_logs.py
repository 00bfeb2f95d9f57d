"""The log's two forms: the same keys, one line a record."""

from __future__ import annotations

import json
import logging

from carpool_operator.observability.logs import JsonFormatter, TextFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("carpool_operator.test")
    return logger.makeRecord(logger.name, logging.INFO, __file__, 1, message, (), None, extra=extra)


def test_json_has_the_keys_beside_the_sentence():
    line = JsonFormatter().format(record("Created driver pod", job="team/a", attempt=2))
    entry = json.loads(line)
    assert entry["message"] == "Created driver pod"
    assert entry["level"] == "info"
    assert entry["job"] == "team/a"
    assert entry["attempt"] == 2
    assert entry["time"].endswith("Z")


def test_text_has_them_as_key_value_quoted_where_needed():
    line = TextFormatter().format(record("Created driver pod", job="team/a", why="two words"))
    assert line.endswith('Created driver pod job=team/a why="two words"')


def test_a_value_cannot_make_a_second_line():
    line = TextFormatter().format(record("Failed", error='a\nINFO forged: "x"'))
    assert "\n" not in line


def test_an_exception_is_one_json_object_too():
    error = ValueError("why")
    failed = record("Failed")
    failed.exc_info = (ValueError, error, None)
    entry = json.loads(JsonFormatter().format(failed))
    assert "ValueError: why" in entry["exception"]
