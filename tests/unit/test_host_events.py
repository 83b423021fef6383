"""What a host's journal says of a moment. The lines of the kernel are made up, in its words: no host was broken for them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.moment import MOST, commands, events
from ansible_collections.ddp.swarm.plugins.modules import host_events_info


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        ("kernel", "Out of memory: Killed process 4711 (python) total-vm:9kB, anon-rss:1kB", "the kernel killed 4711 (python) for its memory"),
        ("kernel", "Memory cgroup out of memory: Killed process 12 (pt_data_worker) total-vm:9kB", "the kernel killed 12 (pt_data_worker) for its memory"),
        ("kernel", "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", "a GPU reported Xid 79"),
        ("kernel", "ixgbe 0000:01:00.0 eno1: NIC Link is Down", "the link of eno1 went down"),
        ("kernel", "e1000e: eth0 NIC Link is Down", "the link of eth0 went down"),
        ("kernel", "nfs: server 10.0.0.9 not responding, still trying", "NFS server 10.0.0.9 did not respond"),
        ("kernel", "blk_update_request: I/O error, dev sda, sector 8", "a disk failed"),
        ("kernel", "EXT4-fs (sda1): Remounting filesystem read-only", "a disk failed"),
        ("dockerd[77]", 'level=error msg="write /var/lib/docker/x: no space left on device"', "a disk was full"),
        ("kernel", "INFO: task python:4711 blocked for more than 120 seconds.", "python waited in the kernel for minutes"),
        ("kernel", "python[4711]: segfault at 0 ip 00007f sp 00007f error 4 in libtorch.so", "python crashed"),
        ("systemd[1]", "Stopped docker.service - Docker Application Container Engine.", "the engine was stopped"),
        ("systemd[1]", "Started Docker Application Container Engine.", "the engine was started"),
        ("kernel", "Linux version 6.1.0-18-amd64 (debian)", "the host was started"),
    ],
)  # fmt: skip
def test_what_a_line_is_about(source: str, line: str, what: str) -> None:
    (event,) = events([f"1767323045.123456 host1 {source}: {line}"])
    assert (event["time"], event["what"], event["line"]) == ("2026-01-02T03:04:05Z", what, line)


@pytest.mark.parametrize(
    "line",
    [
        "", "no time", "1767323045.1 host1 kernel: eth0: renamed from veth1", "1767323045.1 host1 kernel: eth0: Link is Up - 1Gbps",
        "1767323045.1 host1 dockerd[1]: level=info msg=\"Container failed to exit within 10s of signal 15\"", "-- No entries --",
    ],
)  # fmt: skip
def test_what_is_no_event(line: str) -> None:
    assert events([line]) == []


def test_each_kind_once_the_first_first_and_no_control_characters() -> None:
    lines = [f"{1767323045 + n}.1 h kernel: Out of memory: Killed process {n % 40} (p\x1b[2J) x" for n in range(99)]
    found = events(reversed(lines))
    assert len(found) == MOST
    assert [event["time"] for event in found] == sorted(event["time"] for event in found)
    assert "\x1b" not in str(found)


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: Any, **params: Any) -> str:
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", answer)
    with patch_module_args(params), pytest.raises(SystemExit):
        host_events_info.main()
    return capsys.readouterr().out


def test_the_window(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[list[str]] = []

    def answer(_module: Any, command: list[str]) -> tuple[int, str, str]:
        asked.append(command)
        return 0, "1767323045.1 h kernel: nfs: server a not responding", ""

    said = called(monkeypatch, capsys, answer, at="2026-01-02T03:04:05.999999", before=5, after=1)
    if "no journalctl" not in said:
        assert "NFS server a did not respond" in said
        assert [command[2:] for command in asked] == commands(1767323040, 1767323046)


def test_a_moment_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it is a time such as" in called(monkeypatch, capsys, None, at="$(reboot)")
