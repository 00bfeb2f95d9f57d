"""The devices of a boot: what stays, what goes, and that one GPU changes nothing about another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.agent.devices import (
    Device,
    GpuReading,
    Load,
    Look,
    MigPart,
    Reading,
    Silence,
    XidEvent,
)
from carpool_operator.agent.health import HealthPolicy
from carpool_operator.agent.inventory import Inventory, adopted
from carpool_operator.agent.report import report_of

GIB = 1024**3
IDLE = Load(0.0, 0, 40)
DRIVER = "570.1"


def whole(number: int, *, trouble: str | None = None, pids: tuple[int, ...] = ()) -> GpuReading:
    uuid = f"GPU-{number}"
    device = Device(uuid, "NVIDIA L4", 24 * GIB, f"0000:{number:02x}:00.0", number)
    return GpuReading(uuid, (Reading(device, IDLE, trouble, pids),))


def cut(number: int, parts: int) -> GpuReading:
    uuid = f"GPU-{number}"
    return GpuReading(
        uuid,
        tuple(
            Reading(
                Device(
                    f"MIG-{number}-{part}",
                    "NVIDIA H100",
                    10 * GIB,
                    f"0000:{number:02x}:00.0",
                    number,
                    mig=MigPart(uuid, "1g.10gb", part + 1, 0),
                ),
                IDLE,
            )
            for part in range(parts)
        ),
    )


def look(*answers: GpuReading, silent: tuple[Silence, ...] = ()) -> Look:
    return Look(DRIVER, answers, silent)


def health(inventory: Inventory) -> dict[str, str]:
    return {known.device.uuid: known.health.health for known in inventory.devices}


def test_one_that_is_no_longer_listed_is_lost_at_the_second_look_and_its_siblings_are_well():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(whole(0), whole(1)), 0)
    inventory.take(look(whole(0)), 3)
    assert health(inventory) == {"GPU-0": "Healthy", "GPU-1": "Healthy"}
    inventory.take(look(whole(0)), 6)
    assert health(inventory) == {"GPU-0": "Healthy", "GPU-1": "Lost"}


def test_the_reason_of_a_silent_gpu_is_told_and_not_taken_for_that_of_another():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(whole(0), whole(1), whole(2)), 0)
    inventory.take(look(whole(0), silent=(Silence("GPU-1", "it burns", certain=True),)), 3)
    inventory.take(look(whole(0), silent=(Silence("GPU-1", "it burns", certain=True),)), 6)
    messages = {known.device.uuid: known.health.message for known in inventory.devices}
    assert messages == {
        "GPU-0": None,
        "GPU-1": "It burns.",
        "GPU-2": "The driver no longer lists it.",
    }


def test_mig_devices_go_when_their_gpu_is_cut_anew_and_are_lost_with_it():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(cut(0, 3)), 0)
    assert len(inventory.devices) == 3
    inventory.take(look(cut(0, 2)), 3)
    assert set(health(inventory)) == {"MIG-0-0", "MIG-0-1"}
    inventory.take(look(silent=(Silence("GPU-0", "gone", certain=True),)), 6)
    assert set(health(inventory).values()) == {"Lost"}
    # MIG was turned off: the GPU is there as a whole.
    inventory.take(look(whole(0)), 9)
    assert health(inventory) == {"GPU-0": "Healthy"}


def test_an_error_of_a_mig_device_concerns_it_alone_and_one_of_the_gpu_all_of_its_devices():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(cut(0, 3), whole(1)), 0)
    assert inventory.hear(XidEvent("GPU-0", 48, 1e9, 2, 0), 1) == ("MIG-0-1",)
    assert health(inventory)["MIG-0-1"] == "Unhealthy"
    assert health(inventory)["MIG-0-0"] == "Healthy"
    assert len(inventory.hear(XidEvent("GPU-0", 79, 1e9), 2)) == 3
    assert health(inventory)["GPU-1"] == "Healthy"
    assert inventory.hear(XidEvent(None, 79, 1e9), 3) == ()


def test_without_a_driver_everything_known_is_lost_and_comes_back_watched():
    inventory = Inventory(HealthPolicy(recovery=60))
    inventory.take(look(whole(0)), 0)
    for moment in (3, 6):
        inventory.take(Look(None, trouble="the module is not loaded"), moment)
    assert health(inventory) == {"GPU-0": "Lost"}
    assert inventory.message == "The module is not loaded."
    assert inventory.driver_version is None
    inventory.take(look(whole(0)), 9)
    assert health(inventory) == {"GPU-0": "Unhealthy"}
    inventory.take(look(whole(0)), 69)
    assert health(inventory) == {"GPU-0": "Healthy"}
    assert inventory.message is None


def test_a_gpu_that_never_answered_is_told_of_without_a_name():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(whole(0), silent=(Silence(None, "it is lost", certain=True),)), 0)
    expected = "1 GPU does not answer and cannot be identified: it is lost."
    assert inventory.message == expected
    assert health(inventory) == {"GPU-0": "Healthy"}


def test_a_lost_gpu_is_forgotten_when_its_record_is_thrown_away():
    inventory = Inventory(HealthPolicy())
    inventory.take(look(whole(0), whole(1)), 0)
    inventory.take(look(whole(0), silent=(Silence("GPU-1", "gone", certain=True),)), 3)
    inventory.forget_lost()
    assert health(inventory) == {"GPU-0": "Healthy"}


def test_what_is_not_a_status_of_ours_is_not_adopted():
    assert adopted(None, "boot", 0) == ()
    assert adopted({"bootID": "boot", "gpus": "many"}, "boot", 0) == ()


GPUS = st.lists(
    st.one_of(
        st.builds(
            lambda trouble, pids: (trouble, tuple(sorted(pids))),
            st.sampled_from([None, "it needs a reset"]),
            st.sets(st.integers(1, 2**31 - 1), max_size=3),
        ),
        st.sampled_from(["lost", "slow", "unlisted"]),
    ),
    min_size=1,
    max_size=6,
)


def one_look(states) -> Look:
    answers, silent = [], []
    for number, state in enumerate(states):
        if isinstance(state, tuple):
            answers.append(whole(number, trouble=state[0], pids=state[1]))
        elif state != "unlisted":
            silent.append(Silence(f"GPU-{number}", "it does not answer", certain=state == "lost"))
    return Look(DRIVER, tuple(answers), tuple(silent))


@settings(deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(GPUS.map(lambda g: g[:n]), max_size=6)))
def test_an_agent_that_begins_anew_reports_what_the_one_before_reported(history):
    inventory = Inventory(HealthPolicy())
    most = max((len(states) for states in history), default=0)
    inventory.take(look(*(whole(number) for number in range(most))), 0)
    for moment, states in enumerate(history):
        padded = [*states, *["unlisted"] * (most - len(states))]
        inventory.take(one_look(padded), moment)
        if moment % 2:
            inventory.hear(XidEvent("GPU-0", 48, 1e9), moment)
    before = report_of(inventory, "boot", None)
    again = Inventory(HealthPolicy(), adopted(before.status(1e9), "boot", 1000))
    assert report_of(again, "boot", None).gpus == before.gpus
    assert adopted(before.status(1e9), "another boot", 1000) == ()


@settings(deadline=None)
@given(GPUS, GPUS)
def test_what_one_gpu_answers_changes_nothing_about_the_others(first, second):
    """GPU 0 is well in one history and whatever it is in the other; the rest is the same."""
    others = (first[1:], second[1:])
    count = max(len(first), len(second))

    def history(zeroth):
        inventory = Inventory(HealthPolicy())
        inventory.take(look(*(whole(number) for number in range(count))), 0)
        for moment, rest in enumerate(others):
            unlisted = ["unlisted"] * (count - 1 - len(rest))
            inventory.take(one_look([zeroth[moment], *rest, *unlisted]), moment + 1)
        return {uuid: state for uuid, state in health(inventory).items() if uuid != "GPU-0"}

    assert history([(None, ()), (None, ())]) == history([first[0], second[0]])
