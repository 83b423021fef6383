"""What is shown of a difference, and what is hidden."""

import json

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.masking import mask
from ansible_collections.ddp.swarm.plugins.module_utils.stack.diff import differences, make_diff, readable, shorten
from swarm_stand_in.fixtures import definition


class TestDiff:
    def test_secret_looking_values_are_hidden_but_differ(self):
        one = make_diff("s", {"environment": {"DB_PASSWORD": "alpha", "A": "1"}}, None)["before"]
        two = make_diff("s", {"environment": {"DB_PASSWORD": "beta", "A": "1"}}, None)["before"]
        assert "alpha" not in one
        assert one != two
        assert "A: 1" in one

    @pytest.mark.parametrize(
        "value",
        [
            {"DB_PASSWORD_FILE": "/run/x"},
            {"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "2048"},
            ["--lr", "0.1", "--epochs=3", "node.role == worker"],
            "http://host:8080/a b@c",
        ],
    )
    def test_what_is_not_secret_is_shown(self, value):
        assert mask(value) == value

    @pytest.mark.parametrize(
        "value",
        [
            {"HF_TOKEN": "hush"},
            ["API_KEY=hush"],
            ["run", "--token", "hush"],
            ["sh", "-c", "exec run --wandb-api-key hush -v"],
            ["--password=hush"],
            {"DATABASE_URL": "postgres://user:hush@db/name"},
            '  "password": "hush",',
            "secret: hush",
        ],
    )
    def test_secrets_are_hidden(self, value):
        assert "hush" not in str(mask(value))
        assert "(hidden " in str(mask(value))

    def test_readable(self):
        text = readable({"b": [1, {"x": "y", "z": [2]}], "a": {}, "c": "with: colon", "d": None})
        assert text == 'a: {}\nb:\n  - 1\n  - x: y\n    z:\n      - 2\nc: "with: colon"\nd: null\n'

    def test_many_paths_are_shortened(self):
        assert shorten(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
        assert shorten(["command.0", "command.1", "command.12", "image"]) == "command, image"
        assert shorten(["command.1", "ports.0.target", "ports.1.target"]) == "command.1, ports.0.target, ports.1.target"

    @pytest.mark.parametrize(
        ("before", "after", "paths"),
        [
            ({"Env": ["A=1", "B=1"]}, {"Env": ["B=2", "A=1"]}, ["Env.B"]),
            ({"c": ["node.role == worker"]}, {"c": ["node.role == manager"]}, ["c.0"]),
            ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2, 3]}}, ["a.b.2"]),
            ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {}}, ["a"]),
            ({"a": [{"b": 1}]}, {}, ["a"]),
            ({"a": 1}, {"a": 1}, []),
        ],
    )
    def test_paths(self, before, after, paths):
        assert differences(before, after) == paths

    def test_options_that_repeat_are_told_apart(self):
        assert differences({"command": ["--x=1", "--x=2"]}, {"command": ["--x=3", "--x=2"]}) == ["command.0"]
        assert differences({"command": ["--x=1", "--y=2"]}, {"command": ["--y=2", "--x=1"]})


class TestDiffOfSecrets:
    def test_options_of_a_command_that_someone_changed(self, swarm, call):
        """The diff of a drift shows single items, without the option before them."""
        compose = definition(command=["redis-server", "--requirepass", "one-hush"])
        call(compose=[compose])
        args = swarm.services["demo_node1"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"]
        args[2] = "two-hush"
        (diff,) = call(compose=[compose], check=True)["diff"]
        assert "hush" not in str(diff)
        assert diff["before"] != diff["after"]

    def test_names_of_every_kind(self, swarm, call):
        environment = {"RABBITMQ_DEFAULT_PASS": "hush", "MYSQL_PWD": "hush", "ARGS": "--requirepass hush", "PORT": "80"}
        made = call(compose=[definition(environment=environment)])
        assert "hush" not in json.dumps(made["diff"])
        assert "PORT: 80" in json.dumps(made["diff"])

    def test_changed_configs(self, swarm, call):
        def compose(key):
            text = (
                f"port: 1\npassword: |\n  {key}\n\n-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\nend"
            )
            return {**definition(configs=["c"]), "configs": {"c": {"content": text}}}

        call(compose=[compose("one-hush")])
        diff = call(compose=[compose("two-hush")])["diff"][-1]
        assert diff["before_header"] == "config c"
        assert "hush" not in json.dumps(diff)
        assert diff["before"].startswith("port: 1\n")
        assert diff["before"].endswith("\nend")
        assert diff["before"] != diff["after"]
