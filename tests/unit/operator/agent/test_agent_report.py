"""What is written into the GPUNode, and when."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.spec import GpuNode
from carpool_operator.agent.devices import Device, GpuReading, Load, Look, MigPart, Reading
from carpool_operator.agent.health import HealthPolicy
from carpool_operator.agent.inventory import Inventory
from carpool_operator.agent.report import Cadence, Report, next_write, report_of
from carpool_operator.domain.observed.gpu_nodes import observed_gpus

MIB = 1024**2
CADENCE = Cadence(change=10, heartbeat=30)
UUIDS = st.from_regex(r"\A(GPU|MIG)-[A-Za-z0-9]([A-Za-z0-9/-]{0,40}[A-Za-z0-9])?\Z")
DEVICES = st.builds(
    Device,
    uuid=UUIDS,
    product=st.text(max_size=300),
    memory=st.integers(1, 10**12),
    pci_address=st.none() | st.just("0000:3b:00.0"),
    minor=st.none() | st.integers(0, 255),
    numa_node=st.none() | st.integers(0, 7),
    mig=st.none()
    | st.builds(MigPart, st.just("GPU-1"), st.just("1g.10gb"), st.just(1), st.just(0)),
)
READINGS = st.builds(
    Reading,
    device=DEVICES,
    load=st.just(Load(None, None, None)),
    trouble=st.none() | st.just("it needs a reset"),
    pids=st.sets(st.integers(1, 2**31 - 1), max_size=200).map(lambda found: tuple(sorted(found))),
)


def inventory_of(*readings: Reading) -> Inventory:
    inventory = Inventory(HealthPolicy())
    answers = tuple(
        GpuReading(found.device.mig.parent if found.device.mig else found.device.uuid, (found,))
        for found in readings
    )
    inventory.take(Look("570.1", answers), 0)
    return inventory


@settings(deadline=None)
@given(st.lists(READINGS, max_size=5, unique_by=lambda found: found.device.uuid))
def test_whatever_the_driver_tells_the_api_server_will_take(readings):
    report = report_of(inventory_of(*readings), "boot", {})
    document = {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "GPUNode",
        "metadata": {"name": "gpu-7"},
        "status": report.status(1e9),
    }
    status = GpuNode.model_validate(document, by_alias=True, by_name=False).status
    assert status is not None
    assert status.gpu_count == len(readings)
    assert all(len(gpu.processes) <= 128 for gpu in status.gpus)


@settings(deadline=None)
@given(st.lists(READINGS, max_size=5, unique_by=lambda found: found.device.uuid))
def test_what_the_agent_says_is_what_the_allocator_reads(readings):
    inventory = inventory_of(*readings)
    status = report_of(inventory, "boot", {}).status(1e9)
    read = observed_gpus({"metadata": {"name": "gpu-7"}, "status": status})
    assert read is not None
    assert (read.node, read.boot_id, read.heartbeat) == ("gpu-7", "boot", 1e9)
    assert [(gpu.uuid, gpu.memory, gpu.health, gpu.numa_node) for gpu in read.gpus] == [
        (known.device.uuid, known.device.memory, known.health.health, known.device.numa_node)
        for known in inventory.devices
    ]


def test_a_device_with_a_name_that_nobody_could_assign_is_left_out_and_told_of():
    readings = [Reading(Device(uuid, "?", MIB), Load(None, None, None)) for uuid in ("GPU-1", "?")]
    report = report_of(inventory_of(*readings), "boot", None)
    assert [gpu["uuid"] for gpu in report.gpus] == ["GPU-1"]
    assert report.message == "1 device is left out, since the GPUNode cannot hold it."


def test_processes_are_told_of_only_where_pids_mean_something():
    reading = Reading(Device("GPU-1", "L4", MIB), Load(None, None, None), pids=(3, 5))
    inventory = inventory_of(reading)
    assert "processes" not in report_of(inventory, "boot", None).gpus[0]
    told = report_of(inventory, "boot", {5: "abc"}).gpus[0]["processes"]
    assert told == [{"pid": 3}, {"pid": 5, "podUID": "abc"}]


def report(*health: str, pids: int = 0, message: str | None = None) -> Report:
    gpus = tuple(
        {"uuid": f"GPU-{number}", "health": state, "processes": [{"pid": pids}]}
        for number, state in enumerate(health)
    )
    return Report("boot", "570.1", message, gpus, health.count("Healthy"))


WELL = report("Healthy", "Healthy")


def test_the_first_report_is_written_at_once():
    assert next_write(WELL, None, 100, 30, CADENCE) == 100


def test_a_change_of_health_or_of_devices_is_written_at_once():
    for changed in (
        report("Healthy", "Lost"),
        report("Healthy"),
        report("Healthy", "Healthy", message="No driver."),
        replace(WELL, boot_id="another"),
    ):
        assert next_write(changed, WELL, 100, 30, CADENCE) == 100


def test_another_change_is_written_ten_seconds_after_the_last_write():
    assert next_write(report("Healthy", "Healthy", pids=7), WELL, 100, 30, CADENCE) == 110


def test_what_has_not_changed_is_written_as_a_heartbeat():
    assert next_write(report("Healthy", "Healthy"), WELL, 100, 27.5, CADENCE) == 127.5


def test_the_heartbeat_alone_tells_two_statuses_apart():
    first, second = WELL.status(1e9), WELL.status(1e9 + 30)
    assert {key for key in first if first[key] != second[key]} == {"heartbeatTime"}
