"""`GET /progress` of a driver, over a real socket."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection

import pytest

from carpool.errors import SpecError
from carpool.spark.progress_endpoint import progress_endpoint


def get(port, path="/progress"):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_each_request_is_answered_with_what_is_true_then():
    done = [0]
    with progress_endpoint(0, lambda: {"done": done[0]}, address="127.0.0.1") as port:
        assert json.loads(get(port)[1]) == {"done": 0}
        done[0] = 7
        response, body = get(port, "/progress?pretty")
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(body) == {"done": 7}


def test_nothing_else_is_there():
    with progress_endpoint(0, dict, address="127.0.0.1") as port:
        assert get(port, "/")[0].status == 404


def test_a_client_that_says_nothing_keeps_neither_others_nor_the_end_waiting():
    with progress_endpoint(0, dict, address="127.0.0.1") as port:
        silent = socket.create_connection(("127.0.0.1", port))
        assert get(port)[0].status == 200
    silent.close()


def test_a_port_that_is_taken_is_named_with_the_variable_that_sets_it():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SpecError, match=f"CARPOOL_PROGRESS_PORT: {taken.getsockname()[1]} "),
        progress_endpoint(taken.getsockname()[1], dict, address="127.0.0.1"),
    ):
        pytest.fail("it listens")
