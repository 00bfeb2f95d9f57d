import socket
import threading

import pytest

from carpool.errors import HostTimeout
from carpool.host.launch import SOCKET_NAME
from carpool.host.sidecar import await_host


def test_a_task_waits_for_a_sidecar_that_does_not_listen_yet(tmp_path):
    path = tmp_path / SOCKET_NAME
    found = []
    waiting = threading.Thread(target=lambda: found.append(await_host(tmp_path, timeout=60)))
    waiting.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        waiting.join(30)
    assert found == [path]


def test_a_sidecar_that_never_listens_is_an_error_that_another_attempt_may_cure(tmp_path):
    with pytest.raises(HostTimeout) as raised:
        await_host(tmp_path, timeout=0.2)
    assert raised.value.retryable
