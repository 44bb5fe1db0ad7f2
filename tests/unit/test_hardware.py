import os

import pytest
from rolecall_server.hardware import inspect_hardware, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cores(tmp_path, own):
    write(tmp_path / "own", own)
    return usable_cores(tmp_path / "cgroup", tmp_path / "own")


def test_without_a_quota_the_affinity_counts(tmp_path):
    write(tmp_path / "cgroup" / "cpu.max", "max 100000\n")

    assert cores(tmp_path, "0::/\n") == 8


def test_a_quota_of_the_own_group_counts(tmp_path):
    write(tmp_path / "cgroup" / "pod" / "box" / "cpu.max", "250000 100000\n")

    assert cores(tmp_path, "0::/pod/box\n") == 2


def test_a_quota_of_a_group_above_counts_as_well(tmp_path):
    write(tmp_path / "cgroup" / "pod" / "box" / "cpu.max", "400000 100000\n")
    write(tmp_path / "cgroup" / "pod" / "cpu.max", "300000 100000\n")

    assert cores(tmp_path, "0::/pod/box\n") == 3


def test_version_1_groups_count(tmp_path):
    write(tmp_path / "cgroup" / "cpu" / "box" / "cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "cgroup" / "cpu" / "box" / "cpu.cfs_period_us", "100000\n")

    assert cores(tmp_path, "4:cpu,cpuacct:/box\n1:memory:/other\n") == 1


def test_version_1_without_a_quota_is_minus_one(tmp_path):
    write(tmp_path / "cgroup" / "cpu" / "cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")

    assert cores(tmp_path, "") == 8


def test_this_machine_can_be_looked_at():
    hardware = inspect_hardware()

    assert 1 <= hardware.cores <= 8
    assert hardware.memory_bytes > 2**28
