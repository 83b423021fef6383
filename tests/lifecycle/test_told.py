"""Long days: who is to be told is told, with no controller around, and what a rank wrote is there when the engine has it no longer."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import start
from ctrl_c import press_until_it_ends
from labs import Lab, Run
from python_image import import_python
from waiting import until

IMAGE = "rank:1"
TOKEN, SECRET = "WEBHOOK-0123456789", "hunter2-is-the-password"
VOLUME = "/var/lib/docker/volumes/told_snapshots/_data"
# In place of torchrun. It obeys files in its volume, by what its rank is.
TORCHRUN = r"""#!/bin/sh
trap 'echo "saved at $n"; exit 143' TERM
n=0; echo "the first line"
while :; do
  n=$((n+1)); echo loss $n
  if [ -e /snapshots/write ]; then rm /snapshots/write; python3 -c 'for i in range(10**7): print(f"{i:099d}")'; fi
  if [ -e /snapshots/fail ]; then rm /snapshots/fail; echo "password: $(cat /run/secrets/token)" >&2; echo "ValueError: the loss is nan" >&2; exit 3; fi
  if [ -e /snapshots/end ]; then echo "the last line"; exit 0; fi
  sleep 1 & wait $!
done
"""
# On a host of the lab: each POST is a line.
RECEIVER = """
import http.server, json, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/tmp/told", "a") as file:
            file.write(json.dumps({"path": self.path, **body}) + chr(10))
        self.send_response(204)
        self.end_headers()
socketserver.ThreadingTCPServer.allow_reuse_address = True  # which asks no name server for its own name, as an HTTPServer does
socketserver.ThreadingTCPServer(("", 8099), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    with Lab("told").running("docker", "swarm") as lab:
        for host in lab.hosts:
            import_python(lab, host, IMAGE, TORCHRUN)
        lab.on("host1", "sh", "-c", f"cat >/tmp/receiver.py <<'END'\n{RECEIVER}END")
        yield lab


def play(lab: Lab, playbook: str, **variables: Any) -> Run:
    address = lab.on("host1", "sh", "-c", "hostname -I | cut -d' ' -f1").strip()
    own = {
        "image_ref": IMAGE,
        "training_stack": "told",
        "training_script": "rank.py",
        "training_started_pattern": "loss",
        "training_secrets": {"token": {"content": SECRET}},
        "training_notify": f"http://{address}:8099/hooks/{TOKEN}",
        "training_logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "2"}},
        "training_log_max_mb": 4,
    }
    return lab.play(f"playbooks/{playbook}.yml", **{**own, **variables})


def receiver(lab: Lab, state: str) -> None:
    if state == "up":
        lab.on(
            "host1",
            "sh",
            "-c",
            "setsid python3 /tmp/receiver.py >/dev/null 2>&1 </dev/null & echo $! >/tmp/receiver.pid",
        )
    else:
        lab.on("host1", "sh", "-c", "kill $(cat /tmp/receiver.pid)")


def told(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.on("host1", "cat", "/tmp/told", check=False).splitlines()]


def events(lab: Lab) -> list[str]:
    return [said["event"] for said in told(lab)]


def heard(lab: Lab, *wanted: str) -> None:
    """Waits until these events have come, and shows what the launchers say where they do not. A minute is the longest between two attempts."""
    end = time.monotonic() + 150
    while events(lab) != list(wanted):
        logs = "for c in $(docker ps -aq --filter label=com.docker.stack.namespace=told); do docker logs $c 2>&1 | grep launcher; done; cat {}/.ddp-launcher/notify-*"
        assert time.monotonic() < end, [
            events(lab),
            *(lab.on(host, "sh", "-c", logs.format(VOLUME), check=False) for host in lab.hosts),
        ]
        time.sleep(1)


def order(lab: Lab, host: str, what: str) -> None:
    lab.on(host, "touch", f"{VOLUME}/{what}")


def test_a_restart_is_told_and_the_address_is_nowhere(pair: Lab) -> None:
    receiver(pair, "up")
    run = play(pair, "training", training_wait_for="started")
    assert run.rc == 0, run.stdout[-4000:]
    assert TOKEN not in run.stdout
    assert TOKEN not in json.dumps(run.events)
    again = play(pair, "training")
    assert (again.rc, again.changed()) == (0, []), again.stdout[-4000:]
    for host in pair.hosts:
        seen = pair.on(host, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; docker ps -q | xargs docker inspect")
        assert "--notify_file=/run/secrets/ddp-notify" in seen
        assert TOKEN not in seen
    stack = "docker stack services -q told | xargs docker service inspect; docker config ls -q | xargs docker config inspect"
    assert TOKEN not in pair.on("host1", "sh", "-c", stack)
    pair.on("host2", "sh", "-c", "docker kill $(docker ps -q --filter label=com.docker.swarm.service.name=told_node1)")
    heard(pair, "restarted")
    said = told(pair)[0]
    assert said["path"] == f"/hooks/{TOKEN}"
    assert said["text"].startswith("told was started again after a failure: rank 1 on host2")


def test_a_receiver_that_is_down_hears_of_a_failure_when_it_is_back(pair: Lab) -> None:
    receiver(pair, "down")
    order(pair, "host2", "fail")
    rows = ["docker", "ps", "-aq", "--filter", "label=com.docker.swarm.service.name=told_node1"]
    until(lambda: len(pair.on("host2", *rows).split()) == 3)
    time.sleep(15)
    assert events(pair) == ["restarted"]
    receiver(pair, "up")
    heard(pair, "restarted", "failed", "restarted")
    said = told(pair)[1]
    assert (said["rank"], said["host"], said["exit_code"]) == (1, "host2", 3)
    assert "ValueError: the loss is nan" in said["text"]
    assert SECRET not in json.dumps(told(pair))


def test_a_rank_that_writes_a_gigabyte_goes_on(pair: Lab) -> None:
    """Its log and the volume stay small meanwhile."""
    last = "docker logs --tail 1 $(docker ps -q --filter name=told_node0) 2>&1"
    order(pair, "host1", "write")
    until(lambda: "loss" not in pair.on("host1", "sh", "-c", last), every=0.2)

    def over() -> bool:
        logs_are_small(pair)
        return "loss" in pair.on("host1", "sh", "-c", last)

    until(over, timeout=400)


def logs_are_small(lab: Lab) -> None:
    size = lab.on(
        "host1", "sh", "-c", f"du -sk {VOLUME} | cut -f1; du -sk /var/lib/docker/containers | cut -f1"
    ).split()
    assert int(size[0]) < 5000
    assert int(size[1]) < 20000


def shows(process: subprocess.Popen[str], *words: str, timeout: float = 90) -> str:
    """What it has written, once each of these is among it."""
    assert process.stdout
    said, end = "", time.monotonic() + timeout
    while not all(word in said for word in words):
        assert time.monotonic() < end, said
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_who_follows_sees_every_rank_through_a_restart_of_the_engine_and_disturbs_nobody(pair: Lab) -> None:
    first = start(pair, "playbooks/follow.yml", training_stack="told")
    said = shows(first, "node0", "node1", "loss")
    assert "Ctrl-C ends this and leaves the job alone" in said
    press_until_it_ends(first)
    assert pair.on("host1", "docker", "stack", "ps", "told", "--filter", "desired-state=running", "-q").split()
    second = start(pair, "playbooks/follow.yml", training_stack="told")
    shows(second, "node0", "node1", "loss")
    # The manager's connection goes away for a moment.
    pair.on("host1", "sh", "-c", "kill -STOP $(pidof dockerd); sleep 8; kill -CONT $(pidof dockerd)")
    for host in pair.hosts:
        order(pair, host, "end")
    rest = second.communicate(timeout=120)[0]
    assert second.returncode == 0, rest
    assert rest.count("the last line") == 2
    assert "told: complete" in rest


def test_a_log_that_the_engine_has_rotated_has_its_beginning_and_its_end(pair: Lab) -> None:
    """Of rank 0, which wrote much and has ended since."""
    heard(pair, "restarted", "failed", "restarted", "finished")
    assert play(pair, "collect").rc == 0
    log = (pair.artifacts / "node0.log").read_text()
    assert "the first line" in log.splitlines()[0:3]
    assert log.splitlines()[-1] == "the last line"
    assert "parts of this log are left out here" in log
    assert len(log) < 4e6
    logs_are_small(pair)


def test_what_a_removed_stack_wrote_is_collected(pair: Lab) -> None:
    (pair.artifacts / "node1.log").unlink()
    pair.on("host1", "docker", "stack", "rm", "told")
    until(
        lambda: not pair.on("host2", "docker", "ps", "-aq", "--filter", "label=com.docker.stack.namespace=told").strip()
    )
    assert play(pair, "collect").rc == 0
    log = (pair.artifacts / "node1.log").read_text()
    assert len(re.findall("the first line", log)) == 3
    assert "ValueError: the loss is nan" in log
    assert log.splitlines()[-1] == "the last line"
    assert events(pair) == ["restarted", "failed", "restarted", "finished"]
    assert TOKEN not in "".join(
        path.read_text(errors="replace") for path in pair.artifacts.rglob("*") if path.is_file()
    )
