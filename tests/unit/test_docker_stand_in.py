"""The stand-in for docker, held against answers of real engines, and against what it promises to the tests that use it.

The recordings are made by `DDP_RECORD=1 make integration` (tests/integration/test_stand_in.py).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from swarm_stand_in import calls
from swarm_stand_in.compose import ComposeRefused, load
from swarm_stand_in.fixtures import Cluster, Hangs, definition
from swarm_stand_in.store import NAMESPACE
from swarm_stand_in.template import NotPlayed, Row, TemplateError, render

RECORDINGS = Path(__file__).parent / "recordings"
ENGINES = sorted({"20.10", "26.1", "28.5"} | {path.stem for path in RECORDINGS.glob("*.json")})


def played(version):
    """The stand-in's answers to the recorder's list of calls."""
    cluster = Cluster(f"{version}.5")
    cluster.swarm.outcomes = {f"{calls.STACK}_b": ("failed", 3, "task: non-zero exit (3)")}
    cluster.log(f"{calls.STACK}_b.1", "2025-01-01T10:00:00Z out", "!2025-01-01T10:00:01Z err")
    return calls.play(lambda argv, stdin: cluster.docker.run(argv, stdin), lambda goal: cluster.swarm.settle())


class TestRecordings:
    @pytest.mark.parametrize("version", ENGINES)
    def test_a_real_engine_answers_so_too(self, version):
        path = RECORDINGS / f"{version}.json"
        assert calls.compare(played(version), json.loads(path.read_text())["calls"]) == []

    @pytest.mark.parametrize("version", ENGINES)
    def test_the_list_of_calls_can_be_played(self, version):
        """Also where no engine was recorded: with the answers that its calls are there for."""
        answers = {each["call"]: each for each in played(version)}
        assert answers[f"service ls --filter {calls.LABEL}"]["stdout"]["columns"][:2] == ["ID", "NAME"]
        assert answers["service ls --bogus"]["rc"] == 125
        assert (
            answers[f"service ls --filter {calls.LABEL} --format {calls.JSON}"]["stdout"]["rows"][0]["Replicas"]
            == "str"
        )
        assert answers["inspect SERVICE_A nope TASK_B"]["rc"] == 1
        assert answers["inspect SERVICE_A nope TASK_B"]["stdout"]["json"][0]["DesiredState"] == "str"
        assert answers["service logs --raw --tail 5 TASK_B"]["stdout"] == ["out"]
        assert answers["service logs --raw --tail 5 TASK_B"]["stderr"] == ["err"]
        assert answers[f"service ls --filter label={NAMESPACE}=record --format {calls.JSON}"]["stdout"] == []

    def test_a_comparison_finds_what_differs(self):
        """In exit code, stream, words, columns, keys and types."""
        real = played("26.1")
        assert calls.compare(played("26.1"), real) == []
        for place, change in [
            ("rc", 7),
            ("stderr", ["other words"]),
            ("stdout", ["other words"]),
        ]:
            for number in (0, 30, 60):
                changed = json.loads(json.dumps(real))
                changed[number][place] = change
                assert len(calls.compare(real, changed)) == 1, (place, number)
        rows = next(number for number, each in enumerate(real) if "rows" in each["stdout"] and "Replicas" in str(each))
        for change, told in [
            (lambda row: row.update(Replicas="int"), "where docker has 'int'"),
            (lambda row: row.pop("Replicas"), "docker has no such key"),
            (lambda row: row.update(New="str"), "the stand-in's row lacks New"),
        ]:
            changed = json.loads(json.dumps(real))
            change(changed[rows]["stdout"]["rows"][0])
            (said,) = calls.compare(real, changed)
            assert told in said


@pytest.fixture
def cluster():
    return Cluster()


def docker(cluster, words, *more, stdin=""):
    return cluster.docker.run([*words.split(), *more], stdin)


def deploy(cluster, compose=None, name="demo"):
    text = json.dumps({"version": "3.9", **(compose or definition())})
    return docker(cluster, "stack deploy --detach=true --resolve-image never -c -", name, stdin=text)


class TestStrictness:
    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            ("service ls --bogus", 125, "unknown flag: --bogus"),
            ("service ls --filter foo", 125, "bad format of filter (expected name=value)"),
            ("service ls --filter foo=bar", 1, "invalid filter 'foo'"),
            ("service ls --format", 125, "flag needs an argument: --format"),
            ("service ls x", 1, '"docker service ls" accepts no arguments.'),
            ("service bogus", 1, "Usage:  docker service COMMAND"),
            ("bogus", 1, "docker: 'bogus' is not a docker command."),
            ("stack ps", 1, '"docker stack ps" requires exactly 1 argument.'),
            ("stack ps --detach=maybe demo", 125, "unknown flag: --detach"),
            ("stack deploy -c - --detach=maybe demo", 125, "invalid argument"),
            ("inspect --type nonsense x", 1, '"nonsense" is not a valid value for --type'),
            ("service logs nope", 1, "no such task or service: nope"),
        ],
    )
    def test_what_docker_does_not_know(self, cluster, words, code, said):
        answer = docker(cluster, words)
        assert answer[0] == code
        assert said in answer[2]
        assert answer[1] == ""

    @pytest.mark.parametrize(
        "words", ["swarm init", "run x", "service create x", "stack deploy -c - --detach=false demo"]
    )
    def test_what_only_docker_knows(self, cluster, words):
        """No answer is better than a guess, and no `except Exception` hides it."""
        assert not issubclass(NotPlayed, Exception)
        assert not issubclass(Hangs, Exception)
        with pytest.raises(NotPlayed):
            docker(cluster, words, stdin=json.dumps({"version": "3.9", **definition()}))

    def test_filters_go_by_value(self, cluster):
        def names(filter):
            return docker(cluster, "service ls --format {{.Name}} --filter", filter)[1].split()

        assert names(f"label={NAMESPACE}=demo_two") == ["demo_two_lost", "demo_two_web"]
        assert names(f"label={NAMESPACE}=demo") == []
        assert names(f"label={NAMESPACE}") == names(f"label={NAMESPACE}=") == ["demo_two_lost", "demo_two_web"]
        assert names("label=other") == []
        assert names("name=demo_two_w") == ["demo_two_web"]

    def test_labels_are_those_that_were_given(self, cluster):
        docker(cluster, "config create plain -", stdin="x")
        docker(cluster, "config create --label a=b --label c=d labelled -", stdin="x")
        listed = docker(cluster, "config ls --format", "{{.Name}}:{{.Labels}}")[1].split()
        assert "plain:" in listed
        assert "labelled:a=b,c=d" in listed

    def test_identifiers_are_cut_off_and_are_no_names(self, cluster):
        deploy(cluster)
        cluster.swarm.settle()
        whole = docker(cluster, "stack ps --no-trunc -q demo")[1].split()
        assert [len(each) for each in whole] == [25, 25]
        assert {len(each) for each in docker(cluster, "stack ps -q demo")[1].split()} == {12}
        assert {len(each) for each in docker(cluster, "service ls -q")[1].split()} == {12}
        assert {len(each) for each in docker(cluster, "config ls -q")[1].split()} == {25}
        assert {len(each) for each in docker(cluster, "network ls -q")[1].split()} == {12}
        assert {len(each) for each in docker(cluster, "network ls -q --no-trunc")[1].split()} == {25, 64}

    def test_inspect_of_several_with_one_that_is_missing(self, cluster):
        code, out, said = docker(cluster, "inspect demo_two_web nope demo_two_lost")
        assert code == 1
        assert [item["Spec"]["Name"] for item in json.loads(out)] == ["demo_two_web", "demo_two_lost"]
        assert said == "Error: No such object: nope\n"

    def test_tasks_come_in_any_order(self, cluster):
        compose = definition()
        compose["services"]["node0"]["deploy"]["replicas"] = 6
        deploy(cluster, compose)
        orders = [docker(cluster, "stack ps -q demo")[1] for _ in range(5)]
        assert len(set(orders)) > 1
        assert len({tuple(sorted(order.split())) for order in orders}) == 1

    def test_what_is_in_use_stays(self, cluster):
        for words, told in [
            ("network rm demo_two_own", "is in use by service"),
            ("config rm demo_two_text_0123456789ab", "is in use by the following service: demo_two_web"),
            ("secret rm demo_two_text_0123456789ab", "is in use by the following service: demo_two_web"),
            ("network rm host", "is a pre-defined network"),
        ]:
            code, out, said = docker(cluster, words)
            assert (code, out) == (1, "")
            assert told in said
        cluster.untouched()

    def test_a_stack_goes_step_by_step(self, cluster):
        """Its services at once, its tasks when their containers have stopped, its network after those."""
        deploy(cluster)
        cluster.swarm.settle()
        tasks = docker(cluster, "stack ps --no-trunc -q demo")[1].split()
        code, _out, said = docker(cluster, "stack rm demo")
        assert code == 1
        assert "Failed to remove some resources from stack: demo" in said
        assert docker(cluster, f"service ls -q --filter label={NAMESPACE}=demo")[1] == ""
        assert len(json.loads(docker(cluster, "inspect --type task", *tasks)[1])) == 2
        assert docker(cluster, "network rm demo_default")[0] == 1
        cluster.swarm.settle(2)
        assert docker(cluster, "inspect --type task", *tasks)[0] == 1
        assert docker(cluster, "network rm demo_default")[0] == 0
        cluster.untouched()

    def test_an_update_advances(self, cluster):
        def state():
            (service,) = json.loads(docker(cluster, "inspect demo_node1")[1])
            return service.get("UpdateStatus", {}).get("State")

        deploy(cluster)
        cluster.swarm.settle()
        assert state() is None
        deploy(cluster, definition(image="trainer:2"))
        assert state() == "updating"
        cluster.swarm.settle()
        assert state() == "completed"
        cluster.outcomes = {"demo_node1": ("failed", 1, "boom")}
        deploy(cluster, definition(image="trainer:3"))
        assert state() == "updating"
        cluster.swarm.settle()
        assert state() == "paused"
        rolling = definition(image="trainer:4")
        rolling["services"]["node1"]["deploy"]["update_config"] = {"failure_action": "rollback"}
        cluster.outcomes = {"demo_node1": [("failed", 1, "boom", 2), ("running", 0, "")]}
        deploy(cluster, rolling)
        assert state() == "updating"
        cluster.swarm.settle(5)
        assert state() == "rollback_started"
        cluster.swarm.settle()
        assert state() == "rollback_completed"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"nonsense": 1}, "services.node1 Additional property nonsense is not allowed"),
            ({"deploy": {"nonsense": 1}}, "services.node1.deploy Additional property nonsense is not allowed"),
            ({"extends": "x"}, "Compose file contains unsupported options:\n\nextends"),
            ({"configs": ["c"]}, 'service node1: undefined config "c"'),
            ({"networks": ["n"]}, 'service node1: undefined network "n"'),
            ({"command": ["${"]}, 'invalid interpolation format for services.node1.command.[]: "${"'),
        ],
    )
    def test_definitions_that_docker_refuses(self, cluster, changes, said):
        code, _out, told = deploy(cluster, definition(**changes))
        assert code == 1
        assert said in told
        assert cluster.services == {}

    def test_templates(self):
        row = Row("*x.rowContext", {"B": 1, "A": {"C": [{"D": "e"}, {"D": "f"}], "G": {"h.i": "j"}}}, {"l": "m"})
        for template, text in [
            ("{{json .}}", '{"A":{"C":[{"D":"e"},{"D":"f"}],"G":{"h.i":"j"}},"B":1}'),
            ("{{.B}}-{{json .A.G}}", '1-{"h.i":"j"}'),
            ("{{range .A.C}}<{{.D}}>{{end}}.", "<e><f>."),
            ('{{index .A.G "h.i"}}', "j"),
            ('{{.Label "l"}}', "m"),
        ]:
            assert render(template, row) == text
        for template in ("{{.Nope}}", "{{.A.Nope}}", "{{json .Nope}}", "{{.B", "{{end}}"):
            with pytest.raises(TemplateError):
                render(template, row)
        for template in ("{{if .B}}x{{end}}", "{{.B | upper}}", "{{printf .B}}"):
            with pytest.raises((NotPlayed, TemplateError)):
                render(template, row)

    def test_the_others_are_watched(self, cluster):
        """Whatever happens to them is noticed."""
        for words in (
            "service rm demo_two_web",
            "config rm demo_foreign_config",
            "service update --detach --force demo_two_web",
        ):
            fresh = Cluster()
            assert docker(fresh, words)[0] == 0
            with pytest.raises(AssertionError):
                fresh.untouched()
        cluster.untouched()

    def test_a_name_that_does_not_exist_is_a_mistake(self, cluster):
        with pytest.raises(AttributeError):
            cluster.old_cli = True


COMPOSES = [
    {"version": "3.9", "services": {"a": {"image": "i"}}},
    {"version": "3", "services": {"a": {"image": "i"}}},
    {"version": "4", "services": {"a": {"image": "i"}}},
    {"version": "3.9", "x-any": 1, "services": {"a": {"image": "i", "x-any": 1}}},
    {"version": "3.9", "include": [], "services": {"a": {"image": "i"}}},
    *[
        {"version": "3.9", "services": {"a": {"image": "i", **extra}}}
        for extra in (
            {"nonsense": 1},
            {"deploy": {"nonsense": 1}},
            {"deploy": {"replicas": "x"}},
            {"deploy": {"replicas": 2}},
            {"environment": {"A": True}},
            {"environment": {"A": 1, "B": None, "C": "x"}},
            {"environment": ["A=1"]},
            {"oom_score_adj": 1},
            {"extends": "x"},
            {"cpuset": "1"},
            {"mem_limit": "1g"},
            {"volume_driver": "x"},
            {"build": ".", "privileged": True, "container_name": "x", "expose": ["1"], "depends_on": ["a"]},
            {"shm_size": "1g", "restart": "always", "security_opt": ["x"], "pid": "host", "network_mode": "host"},
            {"command": ["$$X", "${Y:-d}", "$Z"]},
            {"command": ["${"]},
            {"command": ["$1"]},
            {
                "cap_add": ["SYS_ADMIN"],
                "init": True,
                "tty": True,
                "read_only": True,
                "user": "1",
                "sysctls": {"a": "1"},
            },
        )
    ],
]


@pytest.mark.parametrize("compose", COMPOSES, ids=json.dumps)
def test_docker_itself_takes_and_refuses_the_same(compose, monkeypatch):
    """`docker stack config` needs no engine: where there is a docker command, it is an oracle."""
    command = shutil.which("docker")
    version = (
        subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout if command else ""
    )
    if not version or int(version.split()[2].split(".")[0]) < 25:
        pytest.skip("no docker command here that knows `stack config`")
    for name in "XYZ":
        monkeypatch.delenv(name, raising=False)
    text = json.dumps(compose)
    real = subprocess.run(
        [command, "stack", "config", "--compose-file", "-"], input=text, capture_output=True, text=True, check=False
    )
    try:
        load(text, {}, None)
        said = ""
    except ComposeRefused as refused:
        said = str(refused)
    complaint = real.stderr.strip().splitlines()[-1] if real.returncode else ""
    assert said == complaint


def test_it_can_be_a_program(tmp_path):
    """For what starts docker itself: the same swarm, kept in a file between two calls."""
    from swarm_stand_in.executable import install

    command = install(Cluster(), tmp_path)
    run = lambda *words, **options: subprocess.run(
        [command, *words], capture_output=True, text=True, check=False, **options
    )
    assert run("config", "create", "made", "-", input="text").returncode == 0
    assert "made" in run("config", "ls", "--format", "{{.Name}}").stdout.split()
    failed = run("service", "ls", "--bogus")
    assert (failed.returncode, failed.stdout) == (125, "")
    assert "unknown flag: --bogus" in failed.stderr
    assert sys.executable in Path(command).read_text().splitlines()[0]
