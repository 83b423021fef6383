"""The process that holds torch, as its parent sees it and from within, with stand-ins for both of them."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from ddp_probe import collectives, connections, torch_process
from ddp_probe.child import Child, child_environment
from probe_alone import Clock, Instead, everywhere
from probe_files import PROBE
from waiting import until

# ---------------------------------------------------------------- the parent


class Process:
    """Stands in for the process: it says what the test says."""

    def __init__(self, command, pass_fds, **more):
        self.command, self.writer, self.more = command, pass_fds[0], more
        self.pipe = os.fdopen(os.dup(self.writer), "w")
        self.stdin = io.BytesIO()
        self.stdout = [b"one \xff\n", b"x" * 500 + b"  \n", *(b"%d\r\n" % number for number in range(1999))]
        self.code = 3
        self.done = []

    def say(self, *lines):
        for line in lines:
            self.pipe.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.pipe.flush()

    def wait(self, seconds):
        self.done.append(("wait", seconds))
        if isinstance(self.code, Exception):
            raise self.code
        return self.code

    def kill(self):
        self.done.append("kill")


@pytest.fixture
def child(monkeypatch):
    everywhere(monkeypatch, "subprocess", Instead(subprocess, Popen=Process))
    made = Child()
    made.start()
    yield made
    made.process.pipe.close()


def test_the_child_is_the_probe_in_another_python(child, monkeypatch):
    process = child.process
    assert process.command == [sys.executable, str(PROBE), "--child", str(process.writer)]
    env = process.more.pop("env")
    monkeypatch.setenv("PYTEST_CURRENT_TEST", env["PYTEST_CURRENT_TEST"])
    assert env == child_environment(dict(os.environ))
    assert process.more == {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def test_what_the_child_says_is_heard_and_its_end_is_noticed(child):
    child.process.say(
        {"event": "versions", "gpus": 1},
        "no JSON",
        {"event": "group", "seconds": 1},
        {"event": "missing", "missing": [2]},
    )
    missing = child.wait_for("missing", time.monotonic() + 10)
    assert missing == {"event": "missing", "missing": [2]}
    assert child.wait_for("group", 0) == {"event": "group", "seconds": 1}
    assert child.facts == {"event": "missing", "gpus": 1, "missing": [2]}
    assert not child.ended
    child.process.pipe.close()
    until(lambda: child.ended)


def test_what_the_child_prints_is_kept_as_a_log(child):
    until(lambda: child.log and child.log[-1] == "1998")
    # The last 2000 lines, none of them longer than 400 characters.
    assert list(child.log)[:2] == ["x" * 400, "0"]
    assert len(child.log) == 2000
    assert child.last_words() == "1996 | 1997 | 1998"


def test_the_log_is_text_whatever_the_child_prints():
    one = Child()
    one._read_log()
    one.process = SimpleNamespace(stdout=None)
    one._read_log()
    one.process = SimpleNamespace(stdout=[b"one \xff \r\n"])
    one._read_log()
    assert list(one.log) == ["one \ufffd"]


@pytest.mark.parametrize("event", [{"event": "group"}, {"event": "failed", "error": "x"}, None])
def test_who_waits_is_woken(child, event):
    """By the event, by a failure, or by the end of the process: not only when the time is over."""
    began = time.monotonic()
    timer = threading.Timer(0.02, lambda: child.process.say(event) if event else child.process.pipe.close())
    timer.start()
    assert child.wait_for("group", began + 8) == (event if event and event["event"] == "group" else None)
    assert time.monotonic() - began < 5
    timer.join()


def test_what_was_said_before_the_end_counts():
    one = Child()
    one.events["group"], one.events["failed"], one.ended = {"seconds": 1}, {"error": "x"}, True
    assert one.wait_for("group", 0) == {"seconds": 1}
    assert one.wait_for("compute", time.monotonic() + 60) is None


def test_nobody_is_waited_for_beyond_the_deadline(monkeypatch):
    clock = Clock()
    everywhere(monkeypatch, "time", clock)
    one = Child()
    waits = []
    one.changed.wait = lambda seconds: waits.append(seconds) or clock.sleep(seconds)
    assert one.wait_for("group", 1007.5) is None
    assert one.wait_for("group", 1008) is None
    assert one.wait_for("group", 1000) is None
    assert waits == [7.5, 0.5]


@pytest.mark.parametrize(
    ("events", "ended", "code", "said"),
    [
        ({}, False, 3, ""),
        ({"failed": {"error": "RuntimeError: " + "x" * 700}}, False, 3, "RuntimeError: " + "x" * 586),
        ({"failed": {"error": "RuntimeError"}}, True, 3, "RuntimeError"),
        ({}, True, -11, "the process with torch ended with exit code -11"),
        ({}, True, 0, "the process with torch ended with exit code 0"),
        ({}, True, subprocess.TimeoutExpired("x", 1), ""),
    ],
)
def test_a_failure_has_a_reason(events, ended, code, said):
    one = Child()
    one.events, one.ended = events, ended
    assert one.failure() == str(one.events.get("failed", {}).get("error", ""))[:600]
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if isinstance(code, Exception):
            raise code
        return code

    one.process = SimpleNamespace(wait=wait)
    assert one.failure() == said
    assert waited == ([1] if ended and not events else [])


def test_last_words_are_the_reason_and_three_lines():
    one = Child()
    assert one.last_words() == ""
    one.log.extend("abcd")
    one.events["failed"] = {"error": "RuntimeError"}
    assert one.last_words() == "RuntimeError b | c | d"
    one.log.append("x" * 700)
    assert len(one.last_words()) == 600


class Stdin(io.BytesIO):
    """What is written arrives when it is flushed."""

    arrived = b""

    def flush(self):
        self.arrived = self.getvalue()


def test_an_order_is_one_line():
    one = Child()
    one.tell({"rank": 1})
    one.process = SimpleNamespace(stdin=None)
    one.tell({"rank": 1})
    one.process.stdin = Stdin()
    one.tell({"rank": 1})
    assert one.process.stdin.arrived == b'{"rank": 1}\n'

    def gone(data):
        raise BrokenPipeError(32, "Broken pipe")

    one.process.stdin = SimpleNamespace(write=gone)
    one.tell({"rank": 1})


@pytest.mark.parametrize("code", [0, subprocess.TimeoutExpired("x", 2), ProcessLookupError()])
def test_the_child_is_killed_whatever_state_it_is_in(child, code):
    child.process.code = code
    child.kill()
    assert child.process.done == ["kill", ("wait", 2)]
    Child().kill()


@pytest.mark.parametrize(
    ("said", "level"), [(None, "INFO"), ("", "INFO"), ("WARN", "INFO"), ("info", "info"), ("TRACE", "TRACE")]
)
def test_the_childs_environment_is_the_trainings_but_for_nccls_log(said, level):
    env = {"A": "1", "NCCL_DEBUG_FILE": "/x", "NCCL_DEBUG_SUBSYS": "ALL"} | (
        {} if said is None else {"NCCL_DEBUG": said}
    )
    assert child_environment(env) == {
        "A": "1", "NCCL_DEBUG": level, "NCCL_DEBUG_SUBSYS": "INIT,BOOTSTRAP,ENV,NET,P2P,SHM", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


# ---------------------------------------------------------------- its connections


def test_connections_are_found_by_the_sockets_of_the_process(monkeypatch):
    def row(local, state, inode):
        address = "".join(f"{byte:02X}" for byte in socket.inet_aton(local)[:: 1 if sys.byteorder == "big" else -1])
        return f"0: {address}:1F90 0100007F:0050 {state} 0:0 00:0 0 0 0 {inode} 1"

    mapped = "0: 0000000000000000FFFF0000" + row("10.0.1.9", "01", 14)[3:]
    head = row("10.0.1.1", "01", 11)  # the first line of a table is its head, whatever it says
    tables = {"tcp": [head, row("10.0.1.7", "01", 11), row("10.0.1.200", "01", 12), row("10.0.1.4", "0A", 12), row("10.0.1.5", "01", 99)],
              "tcp6": [head, mapped]}  # fmt: skip

    def opened(path, encoding):
        folder, _, table = path.rpartition("/")
        assert folder == "/proc/self/net"
        if table not in tables:
            raise FileNotFoundError(2, "No such file")
        return io.StringIO("\n".join(tables[table]))

    def readlink(path):
        folder, _, number = path.rpartition("/")
        assert folder == "/proc/self/fd"
        if number == "1":
            raise FileNotFoundError(2, "No such file")
        return f"socket:[{number}]"

    everywhere(monkeypatch, "os", Instead(os, listdir=lambda path: ["1", "11", "12", "14"], readlink=readlink))
    monkeypatch.setattr(connections, "open", opened, raising=False)
    assert connections.own_connections() == ["10.0.1.200", "10.0.1.7", "10.0.1.9"]
    del tables["tcp"]  # a machine without one of them has the other
    assert connections.own_connections() == ["10.0.1.9"]


# ---------------------------------------------------------------- from within


class Pipe(io.StringIO):
    """Keeps what was flushed: the process ends without another chance."""

    arrived = ""

    def flush(self):
        self.arrived = self.getvalue()


class Inside:
    """The child's `main`, with a torch of the test's, until it leaves."""

    def __init__(self, monkeypatch, torch, dist, order="", collectives=None):
        self.left = []
        self.order = order
        self.events = Pipe()
        self.out, self.error = Pipe("printed"), Pipe("complained")
        self.held = threading.Event()
        # The parent keeps the pipe open until the test says that it has died.
        stdin = SimpleNamespace(readline=lambda: order, read=lambda: self.held.wait(10))
        everywhere(monkeypatch, "os", Instead(os, fdopen=self.fdopen, _exit=self.leave))
        everywhere(monkeypatch, "sys", Instead(sys, stdin=stdin, stdout=self.out, stderr=self.error))
        monkeypatch.setattr(torch_process, "collectives", collectives or (lambda *_: pytest.fail("nobody ordered it")))
        for name, module in (("torch", torch), ("torch.distributed", dist)):
            monkeypatch.setitem(sys.modules, name, module)
        if torch is not None:
            torch.distributed = dist

    def fdopen(self, number, mode, encoding):
        assert (number, mode) == (7, "w")
        return self.events

    def leave(self, code):
        self.left.append(code)
        if threading.current_thread() is threading.main_thread():
            raise SystemExit(code)

    def run(self):
        with pytest.raises(SystemExit) as ended:
            torch_process.child_main(7)
        assert ended.value.code == 0
        if self.order.startswith("{"):
            self.held.set()
            until(lambda: 3 in self.left)
        return [json.loads(line) for line in self.events.arrived.splitlines()]


def torch_with(gpus=0, cuda=None, nccl=(2, 27, 5), available=True, reason="no driver"):
    def start():
        if reason:
            raise RuntimeError(reason)

    cuda_of = SimpleNamespace(
        is_available=lambda: gpus > 0, device_count=lambda: gpus, get_device_name="H{}00".format,
        get_arch_list=lambda: ["sm_90", "compute_90"], get_device_capability=lambda number: (9, number), init=start,
        get_device_properties=lambda number: SimpleNamespace(uuid=f"0{number}") if number else SimpleNamespace(),
        nccl=SimpleNamespace(version=lambda: nccl),
    )  # fmt: skip
    torch = SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=cuda), cuda=cuda_of)
    return torch, SimpleNamespace(is_available=lambda: available, is_nccl_available=lambda: nccl is not None)


def versions(**facts):
    return {
        "event": "versions", "torch": "2.13.0", "cuda": None, "gpus": 0, "nccl": None, "import_seconds": 0.0, "gpu_names": [],
        **facts,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("torch", "facts"),
    [
        (torch_with(nccl=None), {}),
        (torch_with(available=False), {}),
        (torch_with(2, "12.9"), {"cuda": "12.9", "gpus": 2, "nccl": "2.27.5", "gpu_names": ["H000", "H100"],
                                  "architectures": ["sm_90", "compute_90"], "gpu_uuids": ["", "GPU-01"], "capabilities": ["9.0", "9.1"]}),
        # CUDA's own reason, which is_available() keeps to itself.
        (torch_with(0, "12.9", (2, 18)), {"cuda": "12.9", "nccl": "2.18", "gpu_error": "RuntimeError: no driver"}),
        (torch_with(0, "12.9", reason=""), {"cuda": "12.9", "nccl": "2.27.5", "gpu_error": ""}),
    ],
)  # fmt: skip
def test_the_child_tells_what_its_torch_can_do(monkeypatch, torch, facts):
    everywhere(monkeypatch, "time", Clock())
    inside = Inside(monkeypatch, *torch)
    assert inside.run() == [versions(**facts)]
    assert inside.left == [0]
    # What torch printed is flushed: there is no shutdown that would do it.
    assert (inside.out.arrived, inside.error.arrived) == ("printed", "complained")


def test_a_driver_that_does_not_fit_is_told(monkeypatch):
    def fail(*_):
        raise RuntimeError("x" * 400)

    torch, dist = torch_with(1)
    torch.cuda.get_device_name = fail
    (said,) = Inside(monkeypatch, torch, dist).run()
    assert said.pop("gpu_error") == "RuntimeError: " + "x" * 286
    assert (said["gpus"], said["nccl"]) == (1, None)


def test_a_torch_that_is_not_there_is_told(monkeypatch):
    inside = Inside(monkeypatch, None, None)
    (said,) = inside.run()
    assert said["event"] == "versions"
    assert said["error"].startswith("ModuleNotFoundError: import of torch")
    assert inside.left == [0]


def test_a_torch_that_raises_anything_is_told(monkeypatch, tmp_path):
    inside = Inside(monkeypatch, None, None)
    (tmp_path / "torch.py").write_text(f"raise SystemExit('{'x' * 600}')\n")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(str(tmp_path))
    (said,) = inside.run()
    assert said == {"event": "versions", "error": "SystemExit: " + "x" * 488}


def test_an_order_is_carried_out(monkeypatch):
    done = []

    def collectives(order, say):
        done.append(order)
        say("group", seconds=1)
        done.append(inside.events.arrived.splitlines()[-1])

    inside = Inside(monkeypatch, *torch_with(), '{"rank": 1}\n', collectives)
    assert inside.run()[1:] == [{"event": "group", "seconds": 1}]
    # The parent hears of a step when it is done, not at the end.
    assert done == [{"rank": 1}, '{"event": "group", "seconds": 1}']
    assert inside.left == [0, 3]


@pytest.mark.parametrize("error", [RuntimeError("x" * 700), KeyboardInterrupt("x" * 700)])
def test_a_group_that_fails_is_told(monkeypatch, error):
    def fail(*_):
        raise error

    inside = Inside(monkeypatch, *torch_with(), '{"rank": 1}\n', fail)
    assert inside.run()[1:] == [{"event": "failed", "error": f"{type(error).__name__}: {'x' * 700}"[:600]}]
    assert inside.left == [0, 3]


def test_an_orphan_leaves_in_the_middle_of_a_collective(monkeypatch):
    """It would stay for ever: nobody is there any more to kill it."""

    def collectives(order, say):
        inside.held.set()
        until(lambda: inside.left)

    inside = Inside(monkeypatch, *torch_with(), '{"rank": 1}\n', collectives)
    inside.run()
    assert inside.left == [3, 0]


def test_an_order_that_is_no_order_is_told(monkeypatch):
    assert Inside(monkeypatch, *torch_with(), "x\n").run()[1]["error"].startswith("JSONDecodeError")


# ---------------------------------------------------------------- computing


class Computer:
    """Stands in for torch: products take these seconds, one after the other."""

    float32 = None

    def __init__(self, clock, *seconds):
        self.clock, self.seconds = clock, list(seconds)
        self.threads = [4]
        self.waits = 0
        self.cuda = SimpleNamespace(synchronize=self.synchronize)
        self.made = []

    def synchronize(self):
        self.waits += 1

    def get_num_threads(self):
        return self.threads[-1]

    def set_num_threads(self, number):
        self.threads.append(number)

    def ones(self, *shape, **how):
        self.made.append((*shape, how))
        return self

    def __matmul__(self, other):
        self.clock.now += self.seconds.pop(0)


def test_computing_is_measured_on_average_and_at_best(monkeypatch):
    clock = Clock()
    everywhere(monkeypatch, "time", clock)
    # The first product is not counted. 0.4 seconds are not over after 0.375.
    torch = Computer(clock, 9.0, 0.25, 0.0625, 0.0625, 0.0625, 1.0)
    assert collectives.compute(torch, "there") == {
        "seconds": 0.109375, "best_seconds": 0.0625, "rounds": 4, "device": "cpu",
    }  # fmt: skip
    assert torch.made == [(256, 256, {"device": "there"})]
    assert torch.threads == [4, 1, 4]


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), "half"), ((8, 0), "brain"), ((12, 0), "brain")])
def test_an_invented_gpu_is_heated_before_it_is_compared(monkeypatch, capability, dtype):
    clock = Clock()
    everywhere(monkeypatch, "time", clock)
    torch = Computer(clock, 9.0, 2.0, 2.5, 1.0, 1.0)
    torch.bfloat16, torch.float16 = "brain", "half"
    torch.cuda.get_device_capability = lambda device: capability
    torch.cuda.get_device_name = lambda device: f"an invented GPU {device}"
    assert collectives.heat(torch, 3) == {
        "seconds": 1.833333, "best_seconds": 1.0, "rounds": 3, "device": "cuda", "name": "an invented GPU 3",
    }  # fmt: skip
    assert torch.made == [(8192, 8192, {"device": 3, "dtype": dtype})]
    # A GPU's work is over when it says so.
    assert torch.waits == 4


def test_computing_ends_when_its_time_is_over(monkeypatch):
    clock = Clock()
    everywhere(monkeypatch, "time", clock)
    monkeypatch.setattr(collectives, "COMPUTE_SECONDS", 0.5)
    assert collectives.compute(Computer(clock, 9.0, 0.25, 0.25, 1.0), "there")["rounds"] == 2
