"""What is shown while a training runs, and when that ends: the plugin, against the stand-in for a swarm."""

import re
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionSkip, AnsibleError
from ansible_collections.ddp.swarm.plugins.action import training_follow
from ansible_collections.ddp.swarm.plugins.modules import swarm_jobs_info, swarm_stack_info
from swarm_stand_in.fixtures import definition
from swarm_stand_in.store import stamp

PATIENCE, AT_ONCE, SILENCE = 12, 20, 120


class Follow:
    """The plugin with the stand-in's clock, and modules that run here instead of on the manager."""

    def __init__(self, swarm, call):
        self.swarm, self.call = swarm, call
        self.plugin = training_follow
        self.plugin.time = swarm.clock
        self.shown, self.looks, self.instead = [], 0, {}
        self.plugin.display = SimpleNamespace(display=self.shown.append)

    def module(self, name, module_args, task_vars):
        if name == "swarm_stack_info":
            self.looks += 1
            answer = self.instead.get(self.looks, self.instead.get("all"))
            if isinstance(answer, Exception):
                raise answer
            return answer or self.call(swarm_stack_info, later=0, **module_args)
        if name == "swarm_jobs_info":
            return self.call(swarm_jobs_info, later=0, **module_args)
        assert name == "ansible.legacy.command"
        program, *words = module_args["argv"]
        assert program == "docker"
        code, out, said = self.swarm.docker.run(words)
        # As the command module does it.
        return {
            "rc": code,
            "stdout": out.rstrip("\n"),
            "stderr": said.rstrip("\n"),
            **({"failed": True} if code else {}),
        }

    def __call__(self, check=False, **arguments):
        args = {"stack": "demo", "timeout": 600, **arguments}
        task = SimpleNamespace(args=args, async_val=0, check_mode=check, action="training_follow")
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
        action = self.plugin.ActionModule(task, connection, None, None, None, None)
        action._execute_module = self.module
        return action.run(task_vars={})


@pytest.fixture
def follow(swarm, call):
    return Follow(swarm, call)


def started(swarm, call, *ends):
    """The stack, of which nothing runs yet; `ends` tells how its two services end."""
    swarm.outcomes = dict(zip(["demo_node0", "demo_node1"], ends, strict=False))
    call(compose=[definition()], later=0)


def write(swarm, *lines, rank=0):
    """Second from now on and text; one that begins with ! went to standard error."""
    stamped = []
    for second, text in lines:
        mark = "!" if text.startswith("!") else ""
        stamped.append(f"{mark}{stamp(swarm.clock.now + second)} {text.lstrip('!')}")
    swarm.log(f"demo_node{rank}.1", *stamped)


def test_each_line_is_shown_once_and_in_order(swarm, call, follow):
    """From the moment on at which one begins to look; that begins with the last line before it."""
    done = ("complete", 0, "", 40)
    write(swarm, (-9, "long ago"), (-1, "just now"), (6, "one"), (7, "!two"), (8, "three"), (14, "four"), (30, "five"))
    started(swarm, call, done, done)
    result = follow(interval=5)
    assert follow.shown == ["  just now", "  one", "  two", "  three", "  four", "  five"]
    assert result["changed"] is False
    assert not result.get("failed")
    assert 40 <= result["seconds"] <= 50


def test_only_what_is_asked_for_is_shown(swarm, call, follow):
    done = ("complete", 0, "", 20)
    write(swarm, (-1, "epoch 1"), (2, "noise"), (8, "epoch 2"), (8.5, "more noise"), (12, "epoch 3"))
    started(swarm, call, done, done)
    follow(pattern=r"^epoch \d")
    assert follow.shown == ["  epoch 1", "  epoch 2", "  epoch 3"]


def test_of_many_lines_the_last_are_shown(swarm, call, follow):
    done = ("complete", 0, "", 20)
    write(swarm, (-1, "begin"), *[(7 + number / 100, f"line {number}") for number in range(100)])
    started(swarm, call, done, done)
    follow()
    assert follow.shown == ["  begin", *[f"  line {number}" for number in range(100 - AT_ONCE, 100)]]


def test_escape_sequences_do_not_reach_the_terminal(swarm, call, follow):
    done = ("complete", 0, "", 20)
    write(swarm, (-1, "begin"), (6, "a\x1b]0;title\x07b\x1b[31mred\x9bA"))
    started(swarm, call, done, done)
    follow()
    assert follow.shown == ["  begin", "  abred"]


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\x0c", "\r"])
def test_a_container_gives_no_line_a_time(swarm, call, follow, end):
    """The time of the last line is an argument of the next look, before which nothing is shown again."""
    done = ("complete", 0, "", 20)
    hostile = [f"one{end}20;touch${{IFS}}/tmp/x;--help two", f"three{end}2099-01-01T00:00:00Z x"]
    write(swarm, (-1, "begin"), (6, hostile[0]), (12, hostile[1]), (16, "four"))
    started(swarm, call, done, done)
    follow(pattern="one|three|four")
    assert [line.split("\n")[0][:5] for line in follow.shown] == ["  one", "  thr", "  fou"]


@pytest.mark.parametrize(
    "stamp", ["20;x", "2026-01-01T00:00:00", "2026-01-01T--help", "\u0662026-01-01T00:00:00Z", "2026-01-01T0Zx"]
)
def test_what_is_no_time_is_no_line(follow, stamp):
    lines = follow.plugin.Lines("demo_node0")
    assert (lines.new([f"{stamp} text"], re.compile("")), lines.seen) == ([], "")


def test_a_progress_bar_is_shown_as_it_stands(swarm, call, follow):
    """One line that grows, of which Docker gives each piece the time of the first; what comes after it is shown too."""
    done = ("complete", 0, "", 40)
    at = stamp(swarm.clock.now + 1)
    texts = {1: " 1%| loss 9\r 2%| lo", 7: f"{at} ss 8\r 3%| loss 7", 12: f"{at} \r 4%| loss 6\r  5%| done"}
    started(swarm, call, done, done)
    shows = swarm.docker.run

    def grown(words, *more):
        if words[:2] != ["service", "logs"]:
            return shows(words, *more)
        text = "".join(text for second, text in texts.items() if begun + second <= swarm.clock.now)
        later = f"{stamp(begun + 16)} loss 5\n" if swarm.clock.now >= begun + 16 else ""
        return 0, later, f"{at} {text}\n" if text else ""

    begun, swarm.docker.run = swarm.clock.now, grown
    follow(pattern=r"\bloss\b")
    assert follow.shown == ["   1%| loss 9", "   3%| loss 7", "   4%| loss 6", "  loss 5"]


def test_a_bar_that_torchrun_marks_is_one_line_for_each_look(swarm, call, follow):
    done = ("complete", 0, "", 20)
    bars = [(7 + step / 10, f"[default{step % 2}]: {step}%|#| {step}/9 [00:01<00:02, loss=1]") for step in range(9)]
    write(swarm, (-1, "begin"), *bars, (13, "[default0]:loss 5"))
    started(swarm, call, done, done)
    follow(pattern="^ ?(begin|loss|.*%)")
    assert follow.shown == ["  begin", f"  {bars[-2][1]}", f"  {bars[-1][1]}", "  [default0]:loss 5"]


def test_a_sign_of_life_when_nothing_is_said_for_long(swarm, call, follow):
    done = ("complete", 0, "", 300)
    write(swarm, (-1, "begin"), (130, "late"))
    started(swarm, call, done, done)
    follow()
    signs = [line for line in follow.shown if "nothing new" in line]
    assert follow.shown[0] == "  begin"
    assert signs[0].startswith("  demo has run for 12")
    assert re.search(r"nothing new; last lines: 12\d s ago by rank 0 on host1$", signs[0])
    # After 120 s without a word, and again 120 s after the word at 130 s.
    assert [line for line in follow.shown if line not in signs] == ["  begin", "  late"]
    assert len(signs) == 2


@pytest.mark.parametrize("every_rank", [False, True])
def test_no_line_of_an_earlier_attempt_is_shown(swarm, call, follow, every_rank):
    """Swarm keeps dead tasks with their logs. Of the attempt that runs, which may not have written yet, all lines are shown."""
    compose = definition()
    for service in compose["services"].values():
        service["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
    twice = [("failed", 1, "early"), ("failed", 1, "late", 12), ("complete", 0, "", 30)]
    swarm.outcomes = {"demo_node0": twice, "demo_node1": ("complete", 0, "", 60)}
    call(compose=[compose], later=0)
    swarm.swarm.settle(4)
    newest, dead = swarm.swarm.tasks_of("demo_node0")
    swarm.log(dead["ID"], f"{stamp(swarm.clock.now - 3)} of the dead one")
    swarm.log(newest["ID"], f"{stamp(swarm.clock.now + 1)} second attempt")
    swarm.log("demo_node0.1", f"{stamp(swarm.clock.now + 25)} third attempt")
    follow(every_rank=every_rank)
    mark = "  node0 | " if every_rank else "  "
    said = [line for line in follow.shown if "failed" not in line]
    assert said == [f"{mark}second attempt", f"{mark}third attempt"]


def test_an_attempt_that_dies_before_it_was_heard_is_shown(swarm, call, follow):
    compose = definition()
    for service in compose["services"].values():
        service["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
    done = ("complete", 0, "", 60)
    swarm.outcomes = {"demo_node0": [("failed", 1, "task: non-zero exit (1)", 2), done], "demo_node1": done}
    call(compose=[compose], later=0)
    swarm.log(swarm.newest("demo_node0")["ID"], f"{stamp(swarm.clock.now + 1)} its last word")
    follow()
    assert follow.shown == ["  node0 on host1 failed: task: non-zero exit (1)", "  its last word"]


def test_what_fails_meanwhile_is_told_once(swarm, call, follow):
    """Not what had failed before one began to look."""
    compose = definition()
    for service in compose["services"].values():
        service["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
    swarm.outcomes = {
        "demo_node0": ("complete", 0, "", 60),
        "demo_node1": [("failed", 1, "early"), ("failed", 1, "task: non-zero exit (1)", 15), ("complete", 0, "", 30)],
    }
    write(swarm, (-1, "begin"))
    call(compose=[compose], later=0)
    swarm.swarm.settle(4)
    follow()
    assert follow.shown == ["  begin", "  node1 on host1 failed: task: non-zero exit (1)"]


def test_it_ends_at_once_when_all_is_complete(swarm, call, follow):
    done = ("complete", 0, "")
    started(swarm, call, done, done)
    swarm.swarm.settle()
    assert follow()["seconds"] == 0
    assert follow.looks == 1


def test_it_ends_when_something_has_failed_for_good_at_the_second_look(swarm, call, follow):
    started(swarm, call, ("running", 0, ""), ("failed", 1, "boom"))
    swarm.swarm.settle()
    result = follow()
    assert not result.get("failed")
    assert follow.looks == 2


def test_it_ends_when_the_stack_is_gone(swarm, call, follow):
    assert not follow().get("failed")
    assert follow.looks == 2


def test_what_looks_like_the_end_for_a_moment_is_not(swarm, call, follow):
    """Between a failed task and its successor there may be such a moment; two of them are not one end."""
    done = ("complete", 0, "", 60)
    started(swarm, call, done, done)
    follow.instead = {number: {"failed_for_good": True, "exists": True, "tasks": []} for number in (2, 4, 6, 8)}
    result = follow()
    assert 60 <= result["seconds"] <= 70
    assert not result["timed_out"]


def test_the_time_is_up(swarm, call, follow):
    started(swarm, call)
    result = follow(timeout=100)
    assert 100 < result["seconds"] < 110
    assert result["timed_out"]


@pytest.mark.parametrize("trouble", [{"failed": True, "msg": "no engine"}, AnsibleError("no connection")])
def test_patience(swarm, call, follow, trouble):
    """The manager's engine restarts: so many looks in a row may fail, and a good one begins the count anew."""
    done = ("complete", 0, "", 300)
    started(swarm, call, done, done)
    follow.instead = {number: trouble for number in [*range(2, 2 + PATIENCE), *range(3 + PATIENCE, 3 + 2 * PATIENCE)]}
    result = follow()
    assert not result.get("failed")
    assert 300 <= result["seconds"] <= 310


@pytest.mark.parametrize("trouble", [{"failed": True, "msg": "no engine"}, AnsibleError("no engine")])
def test_the_end_of_patience(swarm, call, follow, trouble):
    started(swarm, call)
    follow.instead = {"all": trouble}
    result = follow(timeout=10_000)
    assert (result["failed"], result["msg"]) == (True, "no engine")
    assert follow.looks == PATIENCE + 1


def test_nothing_is_shown_of_a_look_that_failed(swarm, call, follow):
    """Its answer holds no tasks and no lines; those that came meanwhile are shown by the next one."""
    done = ("complete", 0, "", 40)
    write(swarm, (-1, "begin"), (6, "one"), (11, "two"), (16, "three"))
    started(swarm, call, done, done)
    follow.instead = {number: {"failed": True, "msg": "no engine"} for number in (2, 3)}
    follow()
    assert follow.shown == ["  begin", "  one", "  two", "  three"]


def test_a_log_that_cannot_be_had_is_no_trouble(swarm, call, follow):
    done = ("complete", 0, "", 40)
    write(swarm, (-1, "begin"), (6, "one"))
    started(swarm, call, done, done)
    swarm.refusals = {"service logs": ["node is down"] * 3}
    assert not follow().get("failed")
    # Whoever begins to look begins with the last line.
    assert follow.shown == ["  one"]


def test_the_looks_are_as_far_apart_as_asked(swarm, call, follow):
    done = ("complete", 0, "", 40)
    started(swarm, call, done, done)
    swarm.clock.slept.clear()
    follow(interval=7)
    assert set(swarm.clock.slept) == {7.0}


def test_check_mode_waits_for_nothing(swarm, call, follow):
    started(swarm, call)
    with pytest.raises(AnsibleActionSkip):
        follow(check=True)
    assert follow.looks == 0


def test_after_looks_at_a_stack_that_runs_the_end_takes_two_as_well(swarm, call, follow):
    started(swarm, call)
    follow.instead = {number: {"failed_for_good": True, "exists": True, "tasks": []} for number in (3, 4)}
    assert not follow().get("failed")
    assert follow.looks == 4


def test_of_every_rank_all_lines_are_told_apart_and_in_the_order_of_time(swarm, call, follow):
    done = ("complete", 0, "", 40)
    write(swarm, (-2, "old 0"), (6, "one"), (8, "three"), (30, "five"))
    write(swarm, (-1, "old 1"), (7, "!two"), (14, "four"), rank=1)
    started(swarm, call, done, done)
    follow(every_rank=True, interval=5)
    assert follow.shown == [
        "  node0 | old 0", "  node1 | old 1", "  node0 | one", "  node1 | two", "  node0 | three", "  node1 | four", "  node0 | five",
    ]  # fmt: skip


def test_a_rank_that_is_started_anew_is_followed_further(swarm, call, follow):
    compose = definition()
    for service in compose["services"].values():
        service["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
    swarm.outcomes = {
        "demo_node0": ("complete", 0, "", 60),
        "demo_node1": [("failed", 1, "task: non-zero exit (1)", 15), ("complete", 0, "", 30)],
    }
    write(swarm, (5, "before"), (30, "after"), rank=1)
    call(compose=[compose], later=0)
    follow(every_rank=True)
    assert follow.shown == ["  node1 | before", "  node1 on host1 failed: task: non-zero exit (1)", "  node1 | after"]


def test_who_follows_for_hours_is_patient(swarm, call, follow):
    done = ("complete", 0, "", 3000)
    started(swarm, call, done, done)
    follow.instead = {number: AnsibleError("no connection") for number in range(2, 100)}
    result = follow(patience=200, every_rank=True, timeout=10_000)
    assert not result.get("failed")
    assert result["seconds"] >= 3000
