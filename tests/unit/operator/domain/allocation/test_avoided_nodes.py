"""For how long a node is left alone."""

from __future__ import annotations

from carpool_operator.domain.allocation.avoided_nodes import AvoidedNodes


def blamed(*times):
    """Until when the node is avoided after each of these."""
    avoided = AvoidedNodes()
    ends = []
    for at in times:
        avoided.blame("n0", at)
        ends.append(avoided.next_end(at) - at)
    return ends


def test_the_first_time_it_is_a_minute():
    assert blamed(0) == [60]


def test_it_grows_while_the_node_goes_on_refusing_and_never_over_ten_minutes():
    avoided, now, lengths = AvoidedNodes(), 0.0, []
    for _ in range(12):
        assert avoided.blame("n0", now)
        end = avoided.next_end(now)
        lengths.append(end - now)
        now = end
    assert lengths == sorted(lengths)
    assert lengths[1] > 100
    assert max(lengths) <= 600


def test_it_is_forgiven_with_time():
    first, second, third = blamed(0, 100, 100 + 3600)
    assert first == 60
    assert 100 < second <= 120
    assert 60 < third < 62


def test_several_pods_that_fail_at_once_count_once():
    avoided = AvoidedNodes()
    assert avoided.blame("n0", 0)
    assert not avoided.blame("n0", 1)
    assert avoided.next_end(1) == 60


def test_only_what_is_over_is_over():
    avoided = AvoidedNodes()
    avoided.blame("n0", 0)
    avoided.blame("n1", 30)
    assert avoided.over({"n0", "n1"}, 60) == ["n0"]
    assert avoided.over({"n1"}, 89) == []
    assert avoided.over({"n1", "unknown"}, 90) in (["n1", "unknown"], ["unknown", "n1"])
