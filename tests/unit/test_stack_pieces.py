"""The parts from which swarm_stack compares: specifications, records, differences, and their text."""

import base64
import json
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.stack.apply import may_roll_back
from ansible_collections.ddp.swarm.plugins.module_utils.stack.diff import (
    differences,
    make_diff,
    pick,
    readable,
    shorten,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import Live
from ansible_collections.ddp.swarm.plugins.module_utils.stack.plan import attached, endless_services, own_networks
from ansible_collections.ddp.swarm.plugins.module_utils.stack.record import (
    Record,
    content_ids,
    normal_spec,
    read_config,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.wait import why_failed
from swarm_stand_in.fixtures import definition
from test_stack_explain import judged
from test_stack_judge import make_task


def used(kind, name, identifier):
    return {f"{kind}Name": name, f"{kind}ID": identifier}


SPEC = {
    "Name": "demo_s",
    "Labels": {},
    "Networks": [{"Target": "n1"}],
    "Mode": {"Replicated": {"Replicas": 0}},
    "TaskTemplate": {
        "ForceUpdate": 3,
        "Networks": [{"Target": "n1", "Aliases": ["s"]}, {"Target": "n2"}],
        "Placement": {"Constraints": [], "Preferences": None},
        "ContainerSpec": {
            "Image": "i",
            "Configs": [used("Config", "c", "c1")],
            "Secrets": [used("Secret", "t", "t1")],
            "Healthcheck": {"Interval": 0, "Test": [{}, {"a": []}]},
        },
    },
}


class TestSpecs:
    def test_what_says_nothing_is_left_out_and_identifiers_become_names(self):
        kept = json.dumps(SPEC)
        assert normal_spec({"Spec": SPEC}, {"n1": {"Name": "demo_default"}}) == {
            "Name": "demo_s",
            "Networks": [{"Target": "demo_default"}],
            "Mode": {"Replicated": {"Replicas": 0}},
            "TaskTemplate": {
                "Networks": [{"Target": "demo_default", "Aliases": ["s"]}, {"Target": "missing network n2"}],
                "ContainerSpec": {
                    "Image": "i",
                    "Configs": [{"ConfigName": "c"}],
                    "Secrets": [{"SecretName": "t"}],
                    "Healthcheck": {"Interval": 0, "Test": [{}, {}]},
                },
            },
        }
        assert json.dumps(SPEC) == kept

    def test_a_spec_that_says_little(self):
        assert normal_spec({"Spec": {"Name": "s"}}, {}) == {"Name": "s"}

    def test_configs_and_secrets_in_use(self):
        bare = {"Spec": {"Name": "demo_a"}}
        live = Live("demo", services={"demo_a": bare, "demo_s": {"Spec": SPEC}})
        assert content_ids(live) == {"config c": "c1", "secret t": "t1"}

    @pytest.mark.parametrize(
        ("networks", "found"),
        [
            (["x"], ["demo_b", "demo_s"]),
            (["y"], ["demo_a"]),
            (["x", "y"], ["demo_a", "demo_b", "demo_s"]),
            ([], []),
            (["z"], []),
        ],
    )
    def test_services_on_a_network(self, networks, found):
        services = {
            "demo_s": {"Spec": SPEC},
            "demo_b": {"Spec": {"TaskTemplate": {"Networks": [{"Target": "n2"}]}}},
            "demo_a": {"Spec": {"Networks": [{"Target": "n3"}], "TaskTemplate": {}}},
            "demo_none": {"Spec": {"Networks": None}},
        }
        rows = {"n1": {"Name": "x"}, "n2": {"Name": "x"}, "n3": {"Name": "y"}, "n4": {"Name": "z"}}
        assert attached(services, Live("demo", networks=rows), networks) == found

    def test_networks_that_the_stack_creates(self):
        networks = {"a": {}, "b": {"name": "own"}, "c": {"external": True}}
        assert own_networks("demo", {"networks": networks}) == {"demo_a": {}, "own": {"name": "own"}}
        assert own_networks("demo", {}) == {}


class TestRecords:
    def test_what_was_written_is_read(self):
        record = Record({"a": 1}, {"s": {"b": 2}}, {"n": "id"}, {"config c": "id"})
        assert Record.from_json(record.to_json()) == record

    def test_one_of_an_earlier_release_is_read(self):
        empty = {section: {} for section in ("services", "networks", "volumes", "configs", "secrets")}
        assert Record.from_json('{"format": 1, "definition": {"a": 1}}') == Record(empty)

    @pytest.mark.parametrize(
        "data", ["{}", "3", "null", '"x"', '{"format": 3}', '{"format": 0}', '{"format": 1, "x": 1}', "["]
    )
    def test_one_of_another_kind_counts_as_none(self, data):
        assert Record.from_json(data) is None

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            ([{"Spec": {"Data": base64.b64encode("grüße".encode()).decode()}}], "grüße"),
            ([{"Spec": {"Data": base64.b64encode(b"\xff").decode()}}], None),
            ([{"Spec": {"Data": "x"}}], None),
            ([{"Spec": {}}], None),
            ([{"Spec": None}], None),
            ([], None),
            (None, None),
        ],
    )
    def test_a_config_that_is_no_text_counts_as_none(self, answer, text):
        docker = SimpleNamespace(run=lambda *_words, **_options: CompletedDocker(0, json.dumps(answer), ""))
        assert read_config(docker, "c") == text

    @pytest.mark.parametrize(("said", "fails"), [("no such config: c", False), ("boom\n", True), ("", True)])
    def test_a_config_that_is_not_there(self, said, fails):
        docker = SimpleNamespace(run=lambda *_words, **_options: CompletedDocker(1, "[]", said))
        if not fails:
            assert read_config(docker, "c") is None
            return
        with pytest.raises(DockerError, match=f"^docker config inspect: {said.strip()}$"):
            read_config(docker, "c")


class TestDifferences:
    @pytest.mark.parametrize(
        ("before", "after", "paths"),
        [
            ({}, {}, []),
            (None, {}, []),
            ({"a": 1}, None, ["a"]),
            (None, {"b": 1, "a": {"c": 1}}, ["a", "b"]),
            ({"a": []}, {"a": {}}, ["a"]),
            ({"a": ["x"]}, {"a": {0: "x"}}, ["a"]),
            ({"a": {"b": 1}}, {"a": {"b": 1, "c": {"d": 1, "e": 2}}}, ["a.c"]),
            ({"a": {"Env": ["A=1", "B=1=2", "C"]}}, {"a": {"Env": ["B=1=3", "C", "A=1"]}}, ["a.Env.B"]),
            ({"a": {"Args": ["A=1", "B=1"]}}, {"a": {"Args": ["B=1", "A=1"]}}, ["a.Args.0", "a.Args.1"]),
            ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, ["a.1.b"]),
            ({"a": {"b": 1}}, {"a": "x"}, ["a"]),
        ],
    )
    def test_where_they_are(self, before, after, paths):
        assert differences(before, after) == paths

    @pytest.mark.parametrize(
        ("paths", "found"),
        [
            ([], {}),
            (["a"], {"a": {"b": [1, {"c": 2}]}}),
            (["a.b.0", "a.b.1.c"], {"a.b.0": 1, "a.b.1.c": 2}),
            (["Env.B"], {"Env.B": "2"}),
            (["gone", "d"], {"d": None}),
        ],
    )
    def test_what_is_there(self, paths, found):
        assert pick({"a": {"b": [1, {"c": 2}]}, "Env": ["A=1", "B=2"], "d": None}, paths) == found

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, ""),
            (1, "a"),
            (6, "a, b, c, d, e, f"),
            (7, "a, b, c, d, e, f and 1 more"),
            (9, "a, b, c, d, e, f and 3 more"),
        ],
    )
    def test_six_are_named(self, number, text):
        assert shorten(list("abcdefghi")[:number]) == text


class TestText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ({}, "{}\n"),
            ([], "[]\n"),
            ("x", "x\n"),
            (["a", ["b", {"c": [], "d": ["e"]}], {}], "- a\n- - b\n  - c: []\n    d:\n      - e\n- {}\n"),
            ({"a": {"b": {"c": [[1], 2]}}, "A": False}, "A: false\na:\n  b:\n    c:\n      - - 1\n      - 2\n"),
            ({"n": 1, "e": "", "s": "a b", "q": "#x", "u": "http://h", "w": "node.role == worker"},
             'e: ""\nn: 1\nq: "#x"\ns: a b\nu: http://h\nw: node.role == worker\n'),
        ],
    )  # fmt: skip
    def test_of_a_structure(self, value, text):
        assert readable(value) == text

    @pytest.mark.parametrize(("before", "after"), [(None, {"a": 1}), ({"a": 1}, None), ({}, {"a": 1})])
    def test_what_was_not_there_is_no_text(self, before, after):
        diff = make_diff("t", before, after)
        assert diff == {
            "before_header": "t",
            "after_header": "t",
            "before": "a: 1\n" if before else "",
            "after": "a: 1\n" if after else "",
        }

    @pytest.mark.parametrize(
        ("task", "why"),
        [
            ({"exit_code": 3, "error": "boom"}, "failed on host1 with exit code 3"),
            ({"exit_code": 3, "node": ""}, "failed with exit code 3"),
            ({"state": "rejected", "error": "no image"}, "rejected on host1 (no image)"),
            ({"state": "orphaned"}, "orphaned on host1"),
            ({"exit_code": 0, "node": ""}, "failed"),
        ],
    )
    def test_why_a_service_is_started_again(self, task, why):
        state = judged(
            [make_task("running", slot="0"), make_task(**{"state": "failed", "desired": "shutdown", **task})]
        )
        assert why_failed(state) == why

    def test_why_one_is_of_which_no_task_has_failed(self):
        assert why_failed(judged([make_task()], update={"State": "rollback_paused"})) == "update rollback_paused"

    @pytest.mark.parametrize(
        ("deploy", "endless"),
        [
            ({}, True),
            ({"restart_policy": None}, True),
            ({"restart_policy": {"condition": "any"}, "mode": "global"}, True),
            ({"restart_policy": {"condition": "none"}}, False),
            ({"restart_policy": {"condition": "on-failure"}}, False),
            ({"mode": "global-job"}, False),
            ({"mode": "replicated-job", "restart_policy": {"condition": "any"}}, False),
        ],
    )
    def test_what_never_ends(self, deploy, endless):
        services = {"s": {"deploy": deploy}, "job": {"deploy": {"mode": "global-job"}}, "a": {"deploy": {}}}
        assert endless_services({"services": services}) == ["a", *(["s"] if endless else [])]

    @pytest.mark.parametrize(
        ("config", "status", "may"),
        [
            (None, None, False),
            ({"FailureAction": "pause"}, {"State": "updating"}, False),
            ({"FailureAction": "rollback"}, {"State": "updating"}, True),
            ({"FailureAction": "rollback"}, {"State": "rollback_started"}, True),
            # Swarm has not begun yet.
            ({"FailureAction": "rollback"}, None, True),
            ({"FailureAction": "rollback"}, {"State": "completed"}, False),
        ],
    )
    def test_what_swarm_may_go_back_to(self, config, status, may):
        assert may_roll_back({"Spec": {"UpdateConfig": config}, "UpdateStatus": status}) == may


class TestDiffsOfConfigs:
    def compose(self, **texts):
        compose = definition(configs=list(texts), secrets=["t"])
        contents = {key: value if isinstance(value, dict) else {"content": value} for key, value in texts.items()}
        return {**compose, "configs": contents, "secrets": {"t": {"content": "geheimnis"}}}

    def diffs(self, made):
        return [
            (diff["before_header"], diff["before"], diff["after"])
            for diff in made["diff"]
            if diff["before_header"].startswith("config")
        ]

    def test_each_that_has_changed(self, swarm, call):
        """The first one has not, and one is new: nothing to compare."""
        call(compose=[self.compose(a="same", c="one", d="1")])
        made = call(compose=[self.compose(a="same", b="new", c="two", d="2")])
        assert self.diffs(made) == [("config c", "one", "two"), ("config d", "1", "2")]

    def test_of_a_file(self, swarm, call, tmp_path):
        path = tmp_path / "f"
        path.write_text("one")
        call(compose=[self.compose(c={"file": str(path)})])
        path.write_text("zwei ä")
        assert self.diffs(call(compose=[self.compose(c={"file": str(path)})], check=True)) == [
            ("config c", "one", "zwei ä")
        ]
        for make in (lambda: path.write_bytes(b"\xff"), path.unlink):
            make()
            made = call(compose=[self.compose(c={"file": str(path)})], check=True)
            assert (made["changed"], self.diffs(made)) == (True, [])

    def test_of_one_that_somebody_has_removed(self, swarm, call):
        call(compose=[self.compose(c="one")])
        (name,) = [name for name in swarm.configs if "_c_" in name]
        swarm.swarm.edit("demo_node1", lambda spec: spec["TaskTemplate"]["ContainerSpec"].pop("Configs"))
        swarm.run(f"config rm {name}")
        assert self.diffs(call(compose=[self.compose(c="two")], check=True)) == []
