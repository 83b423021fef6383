"""What stack_compose makes of a definition: merged, resolved, in one form, with names."""

import json

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import network_name, references
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare as real_prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.interpolate import escape, interpolate
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.load import is_path
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.merge import merge
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError


def prepare(*sources, environment=None, **options):
    return real_prepare(list(sources), "demo", environment or {}, **options)


def service(**keys):
    return {"services": {"s": {"image": "i", **keys}}}


def made(compose, **options):
    """The one service."""
    return prepare(compose, **options).definition["services"]["s"]


class TestMerging:
    @pytest.mark.parametrize(
        ("key", "base", "extra", "merged"),
        [
            ("volumes", ["/x"], ["v:/x:ro"], ["v:/x:ro"]),
            ("volumes", ["v:/x:ro"], ["/x"], ["/x"]),
            ("volumes", ["/x", "/y"], ["/z"], ["/x", "/y", "/z"]),
            ("volumes", ["a:/x", "b:/y"], ["a:/z"], ["a:/x", "b:/y", "a:/z"]),
            ("volumes", [{"target": "/x"}, {"target": "/y"}], ["v:/y"], [{"target": "/x"}, "v:/y"]),
            ("configs", ["a", "b"], [{"source": "b", "target": "/b"}], ["a", {"source": "b", "target": "/b"}]),
            ("secrets", [{"source": "a"}, {"source": "b"}], ["a"], [{"source": "b"}, "a"]),
            ("ports", ["80:80", "81:81"], ["80:80"], ["81:81", "80:80"]),
            ("ports", [{"target": 1, "published": 2}], [{"published": 2, "target": 1}], [{"published": 2, "target": 1}]),
            ("ports", [{"source": 1, "target": 2}], [{"source": 1, "target": 3}],
             [{"source": 1, "target": 2}, {"source": 1, "target": 3}]),
            ("entrypoint", ["a", "b"], ["a"], ["a"]),
            ("healthcheck", {"test": ["a"], "retries": 1}, {"test": ["b"]}, {"test": ["b"], "retries": 1}),
            ("deploy", {"labels": ["a=1", "b=1"]}, {"labels": {"b": "2"}}, {"labels": {"a": "1", "b": "2"}}),
            ("sysctls", ["a=1"], ["b=1", "c"], {"a": "1", "b": "1", "c": None}),
            ("environment", {"A": "1"}, ["B=x=y"], {"A": "1", "B": "x=y"}),
            ("deploy", {"replicas": 2, "mode": "global"}, {"replicas": None}, {"replicas": None, "mode": "global"}),
            ("image", "a", "b", "b"),
            ("healthcheck", {"a": 1}, None, None),
            ("healthcheck", None, {"a": 1}, {"a": 1}),
            ("command", "text", ["list"], ["list"]),
        ],
    )  # fmt: skip
    def test_by_what_each_is_about(self, key, base, extra, merged):
        kept = json.dumps([base, extra])
        assert merge({key: base}, {key: extra}) == {key: merged}
        assert json.dumps([base, extra]) == kept

    def test_what_only_one_has_is_kept(self):
        assert merge({"a": 1}, {"b": {"c": 2}}) == {"a": 1, "b": {"c": 2}}


class TestSources:
    @pytest.mark.parametrize(
        ("source", "path"),
        [("/a/b.yml", True), ("a b", True), ("a:b", True), ("a: b", False), ("a\nb", False), ("{a", False), ("a}", False),
         (3, False), (None, False), ({}, False)],
    )  # fmt: skip
    def test_what_is_a_path(self, source, path):
        assert is_path(source) == path

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (None, "this entry is empty"),
            (3, "this entry is a number"),
            (["x"], "this entry is a list"),
            ("a: b", "this entry is a text: turn it into a mapping with the filter from_yaml"),
        ],
    )
    def test_what_is_none(self, source, said):
        with pytest.raises(ComposeError) as caught:
            prepare(source)
        assert str(caught.value) == f"compose takes mappings and paths of files on the target; {said}"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (b"a: [1\nb: 2", "is not valid YAML: expected ',' or ']', but got ':' (line 2, column 2)"),
            (b"a: *x", "is not valid YAML: found undefined alias (line 1, column 4)"),
            (b"a: '\x01'", "is not valid YAML: special characters are not allowed"),
            (b"a: !!int x", "is not valid YAML: a value is not of its kind"),
            (b"a: !!int ''", "is not valid YAML: a value is not of its kind"),
            (b"a: !!bool x", "is not valid YAML: a value is not of its kind"),
            (b"a: !!timestamp x", "is not valid YAML: a value is not of its kind"),
            (b"[1]", "does not hold a mapping"),
        ],
    )
    def test_a_file_that_is_no_definition(self, tmp_path, text, said):
        (tmp_path / "f").write_bytes(text)
        with pytest.raises(ComposeError) as caught:
            prepare(str(tmp_path / "f"))
        assert str(caught.value) == f"{tmp_path}/f {said}"

    def test_a_file_that_is_no_text(self, tmp_path):
        (tmp_path / "f").write_bytes(b"a: \xff")
        with pytest.raises(ComposeError, match=f"cannot read the compose file {tmp_path}/f on the target: "):
            prepare(str(tmp_path / "f"))

    @pytest.mark.parametrize("value", ["&a [*a]", "&a {b: *a}", "2025-01-01T00:00:00Z", "!!set {x}"])
    def test_a_file_that_json_cannot_express(self, tmp_path, value):
        (tmp_path / "f").write_text(f"services: {{s: {{image: i, labels: {{x: {value}}}}}}}")
        if value.startswith("2025"):
            assert made(str(tmp_path / "f"))["labels"] == {"x": value}
            return
        with pytest.raises(ComposeError, match=r"^compose holds what JSON cannot express: "):
            prepare(str(tmp_path / "f"))

    def test_numbers_with_a_colon_are_texts_and_no_others(self, tmp_path):
        (tmp_path / "f").write_text("services: {s: {image: i, ports: [22:22, 8080, 1:30.5], stop_grace_period: 1.5}}")
        found = made(str(tmp_path / "f"))
        assert (found["ports"], found["stop_grace_period"]) == (["22:22", 8080, "1:30.5"], 1.5)


class TestShapes:
    @pytest.mark.parametrize("section", ["networks", "volumes", "configs", "secrets"])
    @pytest.mark.parametrize("value", [None, {}, {"x": None}, {"x": {}}])
    def test_what_is_empty_is_as_good_as_none(self, section, value):
        assert made({**service(deploy=None, environment=None, networks=None), section: value})["image"] == "i"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"image": 1}, "image must be a text, and is 1"),
            ({"image": ["x"]}, "image must be a text, and is a list"),
            ({"image": {"x": 1}}, "image must be a text, and is a mapping"),
            ({"volumes": "x"}, 'volumes must be a list, and is "x"'),
            ({"volumes": "x" * 58}, f'volumes must be a list, and is "{"x" * 58}"'),
            ({"volumes": "x" * 59}, "volumes must be a list, and is a text"),
            ({"deploy": ["x"]}, "deploy must be a mapping, and is a list"),
            ({"deploy": {"restart_policy": "any"}}, 'deploy.restart_policy must be a mapping, and is "any"'),
            (
                {"deploy": {"resources": {"reservations": 1}}},
                "deploy.resources.reservations must be a mapping, and is 1",
            ),
            ({"deploy": {"labels": "a=hush"}}, "deploy.labels must be a mapping or a list, and is a text"),
            ({"environment": "A=hush"}, "environment must be a mapping or a list, and is a text"),
            ({"environment": 1234}, "environment must be a mapping or a list, and is a number"),
            ({"secrets": [1234]}, "secrets.0 must be a text or a mapping, and is a number"),
            ({"secrets": "hush"}, "secrets must be a list, and is a text"),
            ({"ports": ["80", [1]]}, "ports.1 must be a text or a number or a mapping, and is a list"),
            ({"configs": ["a", None]}, "configs.1 must be a text or a mapping, and is null"),
            ({"env_file": {"a": 1}}, "env_file must be a text or a list, and is a mapping"),
            ({"networks": {"a": ["x"]}}, "networks.a must be a mapping, and is a list"),
            ({"networks": {"b": None, "a": "x"}}, 'networks.a must be a mapping, and is "x"'),
            ({"networks": ["b", 1]}, "networks.1 must be a text, and is 1"),
        ],
    )
    def test_what_a_service_must_not_have(self, changes, said):
        with pytest.raises(ComposeError) as caught:
            prepare(service(**changes))
        assert str(caught.value) == f"service s: {said}"

    @pytest.mark.parametrize(
        ("sections", "said"),
        [
            ({"networks": "x"}, 'networks must be a mapping, and is "x"'),
            ({"networks": ["x"]}, "networks must be a mapping, and is a list"),
            ({"networks": {"a": {}, "b": 3}}, "networks.b must be a mapping, and is 3"),
            ({"configs": {"c": "hush"}}, "configs.c must be a mapping, and is a text"),
            ({"configs": "hush"}, "configs must be a mapping, and is a text"),
            ({"volumes": {"v": "x"}}, 'volumes.v must be a mapping, and is "x"'),
        ],
    )
    def test_what_a_section_must_not_be(self, sections, said):
        with pytest.raises(ComposeError) as caught:
            prepare({**service(), **sections})
        assert str(caught.value) == said


class TestInterpolation:
    ENVIRONMENT = (("A", "1"), ("E", ""), ("LONG_1", "x"))

    def said(self, value, where="services.s.hostname"):
        warnings = []
        return interpolate(value, dict(self.ENVIRONMENT), warnings, where), warnings

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a$A.${LONG_1}-b", "a1.x-b"),
            ("$E", ""),
            ("${A:-x}", "1"),
            ("${A-x}", "1"),
            ("${E:+y}", ""),
            ("${E+y}", "y"),
            ("${B:+y}", ""),
            ("${A:?x}", "1"),
            ("${A?x}", "1"),
            ("${E?x}", ""),
            ("${B:-}", ""),
            ("$$$A$$", "$1$"),
        ],
    )
    def test_nothing_is_amiss(self, text, value):
        assert self.said(text) == (value, [])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("${B:?must be}", "the variable B is required: must be"),
            ("${E:?must be}", "the variable E is required: must be"),
            ("${B?}", "the variable B is required: it is not set on the target"),
            ("${B", "the value is no valid interpolation: write $$ for a dollar sign"),
            ("--token=pa${B?w}", "the variable is required: it is not set on the target"),
        ],
    )
    def test_what_is_required(self, text, said):
        with pytest.raises(ComposeError) as caught:
            self.said(text)
        assert str(caught.value) == f"services.s.hostname: {said}"

    @pytest.mark.parametrize(
        ("definition", "where"),
        [
            ({"services": {"s": {"command": ["x", "$B"]}}}, "services.s.command.1: the variable B is"),
            # The name of a service, or of a network, says nothing about what is in it.
            ({"services": {"password": {"image": "$B"}}}, "services.password.image: the variable B is"),
            ({"networks": {"token": {"name": "$B"}}}, "networks.token.name: the variable B is"),
            (
                {"services": {"s": {"environment": {"DB_PASS": "$B"}}}},
                "services.s.environment.DB_PASS: the variable is",
            ),
            (
                {"services": {"s": {"labels": {"password": {"x": ["$B"]}}}}},
                "services.s.labels.password.x.0: the variable is",
            ),
            ({"services": {"s": {"command": ["--token", "$B"]}}}, "services.s.command.1: the variable is"),
            ({"secrets": {"t": {"name": "$B"}}}, "secrets.t.name: the variable is"),
            (
                {"services": {"s": {"environment": {"content": "$B"}}}},
                "services.s.environment.content: the variable B is",
            ),
        ],
    )
    def test_where_a_variable_is_not_set(self, definition, where):
        _value, (warning,) = self.said(definition, where="")
        assert warning == f"{where} not set on the target, it became empty; write $$ for a dollar sign"

    @pytest.mark.parametrize("section", ["configs", "secrets"])
    def test_the_text_of_a_content_stays_and_its_file_does_not(self, section):
        value = {section: {"c": {"content": "$A", "file": "/$A"}, "content": {"file": "/$A"}}}
        assert self.said(value, where="") == (
            {section: {"c": {"content": "$A", "file": "/1"}, "content": {"file": "/1"}}},
            [],
        )

    def test_what_is_no_text_stays(self):
        assert self.said({"a": [1, None, True, 1.5, {"b": "$A"}]})[0] == {"a": [1, None, True, 1.5, {"b": "1"}]}

    def test_what_is_resolved_is_protected_from_dockers_own_interpolation(self):
        assert escape({"$a": ["$b", {"c": "$$"}, 1, None]}) == {"$a": ["$$b", {"c": "$$$$"}, 1, None]}


class TestServices:
    def test_the_last_word_about_a_variable(self, tmp_path):
        (tmp_path / "1").write_bytes(b"# A=0\n  # B=0\n\n   \nA=1\n B =1\nC=x=y\nD\nE\n")
        (tmp_path / "2").write_text("A=2\n")
        files = [str(tmp_path / "1"), str(tmp_path / "2")]
        environment = {"D": "of the target", "F": "too"}
        found = made(service(env_file=files, environment={"B": 3, "F": None, "G": None}), environment=environment)
        assert found["environment"] == {"A": "2", "B": "3", "C": "x=y", "D": "of the target", "F": "too"}
        assert "env_file" not in found

    def test_a_path_may_begin_at_the_users_home(self, monkeypatch, tmp_path):
        (tmp_path / "f").write_text("A=1\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert made(service(env_file="~/f"))["environment"] == {"A": "1"}

    def test_without_a_variable_there_is_no_environment(self):
        assert made(service()) == {"image": "i", "deploy": {"replicas": 1}}

    def test_a_file_of_variables_that_is_no_text(self, tmp_path):
        (tmp_path / "f").write_bytes(b"\xff")
        with pytest.raises(ComposeError, match=f"^service s: cannot read env_file {tmp_path}/f: "):
            prepare(service(env_file=str(tmp_path / "f")))

    def test_labels_become_texts(self):
        labels = {"a": None, "b": True, "c": False, "d": 1.5}
        texts = {"a": "", "b": "true", "c": "false", "d": "1.5"}
        found = made(
            {**service(labels=labels, deploy={"labels": labels}, networks=["n"]), "networks": {"n": {"labels": labels}}}
        )
        assert found["labels"] == found["deploy"]["labels"] == texts
        assert made(service(labels=["a", "b=1=2"]))["labels"] == {"a": "", "b": "1=2"}

    @pytest.mark.parametrize(
        ("deploy", "made_of_it"),
        [
            ({"replicas": 3}, {"replicas": 3}),
            ({"replicas": 0}, {"replicas": 0}),
            ({"mode": "replicated", "x-any": 1}, {"mode": "replicated", "replicas": 1}),
            ({"mode": "replicated-job"}, {"mode": "replicated-job"}),
            ({"labels": None}, {"labels": None, "replicas": 1}),
        ],
    )
    def test_a_number_of_replicas_is_always_said(self, deploy, made_of_it):
        assert made(service(deploy=deploy))["deploy"] == made_of_it

    def test_keys_without_a_value_and_those_of_the_user_are_left_out(self):
        assert made(service(hostname=None, tty=False, **{"x-any": 1})) == {
            "image": "i",
            "tty": False,
            "deploy": {"replicas": 1},
        }

    @pytest.mark.parametrize(
        ("volumes", "refused"),
        [
            (["../x:/y"], "../x"),
            ([{"type": "bind", "source": "x", "target": "/y"}], "x"),
            (["/a:/a", "./x:/y"], "./x"),
            ([{"type": "volume", "source": "v", "target": "/y"}], None),
            ([{"type": "tmpfs", "target": "/y"}], None),
            ([{"type": "bind", "source": "/x", "target": "/y"}, "~/x:/y"], None),
        ],
    )
    def test_a_relative_path_needs_a_file_that_it_begins_at(self, volumes, refused):
        compose = {**service(volumes=volumes), "volumes": {"v": None}}
        if refused is None:
            assert made(compose)["volumes"] == volumes
            return
        with pytest.raises(ComposeError) as caught:
            prepare(compose)
        assert str(caught.value) == (
            f"service s: volumes: {refused} is relative, and an inline definition has no directory: write the full path"
        )


class TestUse:
    @pytest.mark.parametrize(
        ("section", "entries", "names"),
        [
            ("networks", None, ["default"]),
            ("networks", [], ["default"]),
            ("networks", {}, ["default"]),
            ("networks", ["a", "b"], ["a", "b"]),
            ("networks", {"a": None}, ["a"]),
            ("volumes", None, []),
            (
                "volumes",
                ["v:/v", "w:/w:ro", "/anonymous", "/h:/h", "./r:/r", "~/x:/x", "C:/x", "\\\\host\\x:/x"],
                ["v", "w", "C"],
            ),
            (
                "volumes",
                [{"type": "volume", "source": "v"}, {"type": "volume"}, {"type": "bind", "source": "b"}, {}],
                ["v"],
            ),
            ("configs", None, []),
            ("secrets", ["a", {"source": "b", "target": "c"}], ["a", "b"]),
        ],
    )
    def test_what_a_service_uses(self, section, entries, names):
        assert references({section: entries}, section) == names

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"networks": ["n"]}, "network n is used by a service, but not defined under networks"),
            ({"configs": ["default"]}, "config default is used by a service, but not defined under configs"),
            ({"secrets": ["a"]}, "secret a is used by a service, but not defined under secrets"),
            ({"volumes": ["default:/x"]}, "volume default is used, but not defined under the top-level volumes"),
        ],
    )
    def test_what_is_used_must_be_defined(self, changes, said):
        with pytest.raises(ComposeError) as caught:
            prepare(service(**changes))
        assert str(caught.value) == said

    @pytest.mark.parametrize(
        ("given", "canonical"),
        [
            (None, {}),
            ({"driver": None, "x-any": 1, "attachable": False}, {"attachable": False}),
            ({"external": False, "name": "own"}, {"name": "own"}),
            ({"external": True}, {"external": True}),
            ({"external": {"name": "real"}}, {"external": True, "name": "real"}),
            ({"external": {"name": "real"}, "name": "own"}, {"external": True, "name": "own"}),
            ({"labels": ["a", "b=1"]}, {"labels": {"a": "", "b": "1"}}),
        ],
    )
    def test_the_one_form_of_a_network_and_a_volume(self, given, canonical):
        compose = {**service(networks=["o"], volumes=["o:/o"]), "networks": {"o": given}, "volumes": {"o": given}}
        definition = prepare(compose).definition
        assert definition["networks"] == definition["volumes"] == {"o": canonical}

    @pytest.mark.parametrize(
        ("network", "name"),
        [
            ({}, "demo_n"),
            ({"name": "own"}, "own"),
            ({"external": True}, "n"),
            ({"external": True, "name": "real"}, "real"),
        ],
    )
    def test_the_real_name_of_a_network(self, network, name):
        assert network_name("demo", "n", network) == name
