"""No text of a secret is shown, wherever it stands and whatever goes wrong."""

import json

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack import module
from swarm_stand_in.fixtures import definition

SHORT, LONG = "S3CR3T", "S3CR3T-of-more-letters"


def refused(**secrets):
    """What the swarm would refuse, with these secrets."""
    return {**definition(build="."), "secrets": secrets}


class TestSecretsOfWhatIsRefused:
    """Nothing of a secret is in the result, wherever it stands and whatever it is refused for."""

    def hidden(self, capsys, result, secret, *words):
        assert result["failed"]
        assert secret not in json.dumps(result)
        assert secret not in capsys.readouterr().err
        for word in words:
            assert word in result["msg"]
        return result

    @pytest.mark.parametrize("secret", [SHORT, LONG, "a1", "pw7", "x.y-z w", 'a"b\\c', f"\n  {SHORT}\n", "häßlich"])
    @pytest.mark.parametrize(
        "secrets",
        [
            {"token": {"content": "S"}},
            {"token": {"content": {"user": "u", "inner": [{"key": "S"}]}}},
            {"token": {"content": ["one", "S"]}},
            {"token": "S"},
            {"token": ["S"]},
            {"token": {"value": "S"}},
            {"token": {"value": {"deep": "S"}}},
            {"token": {"S": None}},
            {"good": {"content": "another text"}, "token": {"contents": "S"}},
            {"token": {"content": "x", "file": "/etc/x", "value": "S"}},
        ],
        ids=str,
    )
    def test_each_place(self, swarm, call, capsys, secrets, secret):
        def placed(value):
            if isinstance(value, dict):
                return {placed(key): placed(item) for key, item in value.items()}
            if isinstance(value, list):
                return [placed(item) for item in value]
            return secret if value == "S" else value

        compose = placed(secrets)
        for sources in ([refused(**compose)], refused(**compose), [definition(), {"secrets": compose}, {"include": 1}]):
            result = call(compose=sources)
            assert result["failed"]
            text = json.dumps(result, ensure_ascii=False)
            assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text
            assert secret.strip() not in text.replace('\\"', '"').replace("\\\\", "\\")
        assert swarm.calls == []

    @pytest.mark.parametrize("secrets", [SHORT, [SHORT], [{"token": SHORT}], {"token": {"content": SHORT}}, 12345678])
    @pytest.mark.parametrize("place", ["top", "service", "list in a list", "services"])
    def test_secrets_that_are_no_mapping(self, swarm, call, capsys, secrets, place):
        compose = {
            "top": {**definition(), "include": 1, "secrets": secrets},
            "service": definition(
                build=".", secrets=secrets if isinstance(secrets, (dict, int)) else {"token": secrets}
            ),
            "list in a list": [{**definition(), "secrets": secrets}],
            "services": {"services": {"secrets": {"token": secrets}}},
        }[place]
        self.hidden(capsys, call(compose=[compose]), str(secrets) if secrets == 12345678 else SHORT)

    @pytest.mark.parametrize(
        ("secrets", "sentence"),
        [
            ({"token": SHORT}, "secrets.token must be a mapping such as {content: ...}, and is a text"),
            ({"token": [SHORT]}, "secrets.token must be a mapping such as {content: ...}, and is a list"),
            (SHORT, "secrets must be a mapping such as {NAME: {content: ...}}, and is a text"),
            ({"token": {"value": SHORT}}, "secret token needs exactly one of file, content and external"),
        ],
    )
    def test_the_key_is_named(self, swarm, call, capsys, secrets, sentence):
        compose = {**definition(secrets=["token"]), "secrets": secrets}
        self.hidden(capsys, call(compose=[compose]), SHORT, sentence)

    @pytest.mark.parametrize(
        "source",
        [
            f"services: {{}}\nsecrets: {{token: {{content: {SHORT}}}}}\n",
            f"secrets: {{token: {{content: {SHORT}}}}}",
            json.dumps({"secrets": {"token": {"content": SHORT}}}),
            f"services:\n  broken: [\nsecrets: {SHORT}\n",
        ],
    )
    def test_a_text_for_a_mapping(self, swarm, call, capsys, source):
        """It may be secret in each of its lines, so that none is shown."""
        for compose in (source, [source], [definition(), source]):
            self.hidden(capsys, call(compose=compose), SHORT, "this entry is a text", "from_yaml")

    @pytest.mark.parametrize(
        "options",
        [
            {"wait_timeout": "soon"},
            {"composes": [{"secrets": {"other": {"content": "0TH3R"}}}], "wait_timeout": "0TH3R"},
            {"secrets": {"other": "0TH3R"}, "wait_timeout": "0TH3R"},
            {"name": "in valid"},
            {"docker_host": "tcp://h", "cli_context": "c"},
        ],
    )
    def test_options_that_are_refused(self, swarm, call, capsys, options):
        compose = {**definition(), "secrets": {"token": {"content": SHORT}}}
        result = self.hidden(capsys, call(compose=[compose], **options), SHORT)
        assert "0TH3R" not in json.dumps(result)

    @pytest.mark.parametrize(
        "service",
        [
            {"environment": f"DB_PASS={SHORT}"},
            {"environment": {"DB_PASS": f"pa$5{SHORT}"}},
            {"environment": {"DB_PASS": f"${{{SHORT}"}},
            {"environment": {"DB_PASS": f"pa${{{SHORT}?}}"}},
            {"environment": [f"DB_PASS=pa${{X}}$5{SHORT}"]},
            {"command": ["redis-server", "--requirepass", f"$5{SHORT}"]},
        ],
        ids=str,
    )
    def test_values_of_an_environment(self, swarm, call, capsys, service):
        result = call(compose=[definition(**service), {"secrets": {}}])
        assert result["invocation"]
        self.hidden(capsys, result, SHORT, "service")

    @pytest.mark.parametrize("key", ["environment", "labels"])
    def test_a_text_without_a_name(self, swarm, call, key):
        result = call(compose=[definition(**{key: SHORT})])
        assert result["msg"] == f"service node1: {key} must be a mapping or a list, and is a text"

    @pytest.mark.parametrize(
        "environment",
        [
            {"DB_PASS": f"pa$w{SHORT}", "A": "$nope"},
            [f"DB_PASS=pa$w{SHORT}", "A=$nope"],
            {"B": f"--token=${SHORT}", "A": "$nope"},
        ],
        ids=str,
    )
    def test_part_of_a_password_is_no_name_of_a_variable(self, swarm, call, environment):
        command = ["redis-server", "--requirepass", f"pa$w{SHORT}"]
        result = call(compose=[definition(environment=environment, command=command)])
        assert SHORT not in json.dumps(result)
        assert "the variable nope is not set" in json.dumps(result)

    def test_part_of_a_secret_is_none_either(self, swarm, call, capsys):
        compose = {**definition(secrets=["t"]), "secrets": {"t": {"value": f"pa${{{SHORT}?}}"}}}
        self.hidden(capsys, call(compose=[compose]), SHORT, "secrets.t.value: the variable is required")

    def test_a_service_that_is_a_text(self, swarm, call, capsys):
        compose = {"services": {"s": f"DB_PASS={SHORT}"}, "secrets": {}}
        self.hidden(capsys, call(compose=[compose]), SHORT, 'services.s must be a mapping, and is "DB_PASS=(hidden 1)"')

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (f"secrets: {{token: {SHORT}}}", "secrets.token must be"),
            (f"services: {{s: {{image: i, build: {SHORT}}}}}\nsecrets: {{token: {{content: {SHORT}}}}}", "build"),
            (json.dumps({"secrets": {"token": {"content": [SHORT]}}}), "no service"),
            (f"secrets:\n  token:\n    content: [{SHORT}\n  x: y", "line"),
            (f"secrets: {{token: {{content: *{SHORT}}}}}", "line 1"),
            (f"secrets: {{token: {{content: !{SHORT} x}}}}", "line 1"),
            (f"secrets: {{token: {{content: !!int {SHORT}}}}}", "not valid YAML"),
            (f"secrets: {{token: {{content: '{SHORT}\x01'}}}}", "not valid YAML"),
            (f"- {SHORT}", "does not hold a mapping"),
            (
                f"services: {{s: {{image: i, volumes: ['{SHORT}:/x']}}}}\nsecrets: {{token: {{content: {SHORT}}}}}",
                "volume ******** is used",
            ),
        ],
    )
    def test_a_file_on_the_target(self, swarm, call, capsys, tmp_path, text, words):
        path = tmp_path / "stack.yml"
        path.write_text(text)
        self.hidden(capsys, call(compose=[str(path)]), SHORT, words)

    def test_the_file_of_a_secret(self, swarm, call, capsys, tmp_path):
        """It is read, and what is refused after it may be a line of it."""
        (tmp_path / "key").write_text(f"{LONG}\nsecond\n")
        compose = definition(secrets=["b", "c"])
        compose["secrets"] = {"b": {"file": str(tmp_path / "key")}, "c": {"file": f"/no/{LONG}"}}
        self.hidden(capsys, call(compose=[compose]), LONG, "secret c")

    def test_what_docker_says(self, swarm, call, capsys):
        swarm.refusals = {
            "stack deploy": [f"services.node0.environment.DB_PASS {SHORT} is of the wrong kind; token {LONG}"]
        }
        compose = definition(environment={"DB_PASS": SHORT}, secrets=["t"])
        compose["secrets"] = {"t": {"content": LONG}}
        self.hidden(capsys, call(compose=[compose]), SHORT, "is of the wrong kind")

    def test_what_nobody_thought_of(self, swarm, call, capsys, monkeypatch):
        def crash(*_arguments):
            raise RuntimeError(f"so {SHORT} it goes")

        monkeypatch.setattr(module, "read_live", crash)
        compose = {**definition(), "secrets": {"token": {"content": SHORT}}}
        self.hidden(capsys, call(compose=[compose]), SHORT, "RuntimeError", "it goes")

    def test_nothing_goes_to_the_log_of_the_host(self, swarm, call, monkeypatch):
        logged = []
        monkeypatch.setattr(
            "ansible.module_utils.basic.AnsibleModule._log_to_syslog", lambda _, text: logged.append(text)
        )
        call(compose=[refused(token={"content": SHORT})])
        call(compose=[definition()])
        assert logged == []


class TestShortSecrets:
    def test_the_result_stays_readable(self, swarm, call):
        """A secret of few characters is a part of many words."""
        plain = definition(secrets=["t"])
        expected = call(compose=[{**plain, "secrets": {"t": {"content": "another text"}}}], check=True)
        for secret in ("1", "0", "host", "de", "node", "run", "task", "svc"):
            made = call(compose=[{**plain, "secrets": {"t": {"content": secret}}}], check=True)
            for key in ("actions", "changes", "state", "services", "tasks", "failures", "changed", "running"):
                assert made[key] == expected[key], (secret, key)

    def test_it_is_hidden_where_it_stands_alone(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)")}
        text = "token is host now: (host) on host1, 'host'."
        swarm.log("demo_node1.1", f"2025-01-01T10:00:00Z {text}", "2025-01-01T10:00:01Z \x1b]52;c;aGk=\x07end")
        compose = {**definition(secrets=["t"]), "secrets": {"t": {"content": "host"}}}
        result = call(compose=[compose], wait_for="running")
        (failure,) = result["failures"]
        assert failure["log"] == ["token is ******** now: (********) on host1, '********'.", "end"]
        assert failure["node"] == "host1"
        assert "on host1" in result["msg"]

    def test_a_line_of_a_secret_in_a_log(self, swarm, call):
        """Of a key file a program may print one line."""
        swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)")}
        swarm.log("demo_node1.1", "2025-01-01T10:00:00Z key is second-line here", "2025-01-01T10:00:01Z and first-line")
        compose = {
            **definition(secrets=["t"]),
            "secrets": {"t": {"content": "first-line\n  second-line\nthird-line\n"}},
        }
        result = call(compose=[compose], wait_for="running")
        assert result["failures"][0]["log"] == ["key is ******** here", "and ********"]
        assert "-line" not in result["msg"]
