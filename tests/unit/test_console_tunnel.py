"""The tunnel of ./ddp monitoring, with a stand-in for ssh that listens as ssh -L does."""

from __future__ import annotations

import itertools
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from console import tunnel
from console.command import Usage
from console.run import Done
from console.watch import Unanswered

WAYS = {
    "prometheus": {"address": "172.18.0.5", "port": 9090},
    "grafana": {"address": "172.18.0.6", "port": 3000},
}
STAND_IN = """
import re, socket, sys, time
for word in sys.argv[1:]:
    found = re.fullmatch(r"127\\.0\\.0\\.1:([0-9]+):.*", word)
    if found:
        listener = socket.create_server(("127.0.0.1", int(found[1])))
        globals()["kept" + found[1]] = listener
time.sleep({seconds})
sys.exit(255)
"""


def two_ports() -> dict[str, int]:
    return dict(zip(("prometheus", "grafana"), free_ports(2), strict=True))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    def tell(done: Done) -> None:
        monkeypatch.setattr(tunnel, "unattended", lambda _words: done)

    return tell


def test_the_command_binds_to_the_loopback_alone() -> None:
    words = tunnel.tunnel_words(["ssh", "-p", "2222", "me@host"], WAYS, {"prometheus": 9091, "grafana": 3001})
    assert words[:2] == ["ssh", "-N"]
    assert words[-3:] == ["-p", "2222", "me@host"]
    forwards = [after for word, after in itertools.pairwise(words) if word == "-L"]
    assert forwards == ["127.0.0.1:9091:172.18.0.5:9090", "127.0.0.1:3001:172.18.0.6:3000"]
    assert "ExitOnForwardFailure=yes" in words


def test_addresses_are_said_once_they_answer_and_an_end_is_a_sentence(told: Any, tmp_path: Path) -> None:
    script = tmp_path / "ssh"
    script.write_text(f"#!{sys.executable}\n" + STAND_IN.replace("{seconds}", "3"))
    script.chmod(0o755)
    told(Done(told={"monitoring": {"ssh": [str(script), "host"], "addresses": WAYS}}))
    said: list[str] = []
    ports = two_ports()
    with pytest.raises(Unanswered, match=r"The tunnel has ended: ssh ended with exit code 255\."):
        tunnel.monitoring([], ports, said.append)
    assert f"Prometheus: http://127.0.0.1:{ports['prometheus']}/" in said
    assert f"Grafana: http://127.0.0.1:{ports['grafana']}/" in said


def test_an_ssh_that_does_not_come_through_is_a_sentence(told: Any, tmp_path: Path) -> None:
    told(Done(told={"monitoring": {"ssh": ["false", "host"], "addresses": WAYS}}))
    with pytest.raises(Unanswered, match=r"The tunnel was not opened: ssh ended with exit code 1\."):
        tunnel.monitoring([], two_ports(), lambda _text: None)


def test_on_this_machine_no_tunnel_is_needed(told: Any) -> None:
    told(Done(told={"monitoring": {"ssh": [], "addresses": {"prometheus": WAYS["prometheus"]}}}))
    said: list[str] = []
    assert tunnel.monitoring([], two_ports(), said.append) == 0
    assert said[-1] == "Prometheus: http://172.18.0.5:9090/"


def test_a_playbook_that_fails_and_a_port_that_is_taken(told: Any) -> None:
    told(Done(rc=2, failures=[{"message": "No manager of the inventory leads a swarm: run site.yml."}]))
    with pytest.raises(Unanswered, match="leads a swarm"):
        tunnel.monitoring([], two_ports(), lambda _text: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Usage, match="is in use: name another with --prometheus-port"):
            tunnel.monitoring([], {"prometheus": taken.getsockname()[1]}, lambda _text: None)
