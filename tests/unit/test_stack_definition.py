"""What stack_compose makes of a definition: merged, resolved, in one form, with names."""

import json

import merge_rows
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import network_name, references
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare as real_prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.interpolate import escape, interpolate
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.load import is_path
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError


def prepare(*sources, environment=None, **options):
    return real_prepare(list(sources), "demo", environment or {}, **options)


def service(**keys):
    return {"services": {"s": {"image": "i", **keys}}}


def made(*compose, **options):
    """The one service."""
    return prepare(*compose, **options).definition["services"]["s"]


class TestMerging:
    @pytest.mark.parametrize(("key", "base", "extra", "merged"), merge_rows.ROWS)
    def test_services_are_merged_as_docker_merges_them(self, key, base, extra, merged):
        found = made(*merge_rows.pair(key, base, extra))
        expected = {"replicas": 1, **merged} if key == "deploy" else merged
        assert found[key] == expected

    @pytest.mark.parametrize(("section", "base", "extra", "merged"), merge_rows.OBJECTS)
    def test_the_last_definition_of_an_object_is_all(self, section, base, extra, merged):
        assert prepare(*merge_rows.object_pair(section, base, extra)).definition[section] == {"o": merged}

    def test_what_is_given_stays_as_it_was(self):
        parts = merge_rows.pair("environment", {"A": "$B"}, ["A=1"])
        text = json.dumps(parts)
        prepare(*parts)
        assert json.dumps(parts) == text

    def test_each_definition_has_its_variables_replaced_before_they_are_merged(self):
        parts = merge_rows.pair("deploy", {"labels": ["a.$A.b=1"]}, {"labels": {"a.x.b": "2"}})
        assert made(*parts, environment={"A": "x"})["deploy"]["labels"] == {"a.x.b": "2"}
        parts = merge_rows.pair("volumes", ["$A:/x"], ["/other:/x"])
        assert [mount["source"] for mount in made(*parts, environment={"A": "/y"})["volumes"]] == ["/other"]


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

    @pytest.mark.parametrize("value", ["2025-01-01T00:00:00Z", "!!set {x}"])
    def test_a_file_that_json_cannot_express(self, tmp_path, value):
        (tmp_path / "f").write_text(f"services: {{s: {{image: i, labels: {{x: {value}}}}}}}")
        if value.startswith("2025"):
            # As docker prints it.
            assert made(str(tmp_path / "f"))["labels"] == {"x": "2025-01-01 00:00:00 +0000 UTC"}
            return
        with pytest.raises(ComposeError, match=r"^compose holds what JSON cannot express: "):
            prepare(str(tmp_path / "f"))

    @pytest.mark.parametrize(
        ("scalar", "text"),
        [("yes", "yes"), ("On", "On"), ("true", "true"), ("0o440", "288"), ("0440", "288"), ("1_000", "1000"), ("22:22", "22:22"),
         ("1.10", "1.1"), ("1e6", "1e+06"), ("999999.5", "999999.5"), ("2025-01-01", "2025-01-01 00:00:00 +0000 UTC"), ("0x1F", "31"),
         ("08", "8"), ("~", ""), (".5", "0.5"), ("=", "="), ("'1_000'", "1_000"), ("!!str 1_000", "1_000"), ("0.00001", "1e-05"),
         ("18446744073709551616", "1.8446744073709552e+19"), ("2025-13-01", "2025-13-01"), ("-", "-"), (".inf", ".inf")],
    )  # fmt: skip
    def test_scalars_are_what_they_are_to_docker(self, tmp_path, scalar, text):
        (tmp_path / "f").write_text(f"services: {{s: {{image: i, labels: {{x: {scalar}}}}}}}")
        assert made(str(tmp_path / "f"))["labels"] == {"x": text}

    def test_of_several_documents_docker_reads_the_first(self, tmp_path):
        (tmp_path / "f").write_text("services: {s: {image: i}}\n---\nservices: {s: {image: j}}\n")
        assert made(str(tmp_path / "f"))["image"] == "i"


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

    def said(self, value, where=("services", "s", "hostname")):
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
        _value, (warning,) = self.said(definition, where=())
        assert warning == f"{where} not set on the target, it became empty; write $$ for a dollar sign"

    @pytest.mark.parametrize("section", ["configs", "secrets"])
    def test_the_text_of_a_content_stays_and_its_file_does_not(self, section):
        value = {section: {"c": {"content": "$A", "file": "/$A"}, "content": {"file": "/$A"}}}
        assert self.said(value, where=()) == (
            {section: {"c": {"content": "$A", "file": "/1"}, "content": {"file": "/1"}}},
            [],
        )

    def test_what_is_no_text_stays(self):
        assert self.said({"a": [1, None, True, 1.5, {"b": "$A"}]})[0] == {"a": [1, None, True, 1.5, {"b": "1"}]}

    def test_what_is_resolved_is_protected_from_dockers_own_interpolation(self):
        assert escape({"$a": ["$b", {"c": "$$"}, 1, None]}) == {"$a": ["$$b", {"c": "$$$$"}, 1, None]}


class TestServices:
    def test_the_last_word_about_a_variable(self, tmp_path):
        (tmp_path / "1").write_bytes(
            b"\xef\xbb\xbfA=0\n  # B=0\n\n   \nA=1\n B=1\nC=x=y\nD\nE\nH=\r\nI= a\xe2\x80\xa8b \n"
        )
        (tmp_path / "2").write_text("A=2\n")
        files = [str(tmp_path / "1"), str(tmp_path / "2")]
        environment = {"D": "of the target", "F": "too", "H": "filled in"}
        found = made(service(env_file=files, environment={"B": 3, "F": None, "G": None}), environment=environment)
        assert found["environment"] == {
            "A": "2",
            "B": "3",
            "C": "x=y",
            "D": "of the target",
            "F": "too",
            # Without a value it takes away the image's.
            "G": None,
            "H": "filled in",
            "I": " a\u2028b ",
        }
        assert "env_file" not in found

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("export A=1", "line 1 of env_file {} begins with export, which docker does not know"),
            ("\nA =1", "line 2 of env_file {} has a blank in its name"),
            ("=1", "line 1 of env_file {} has no name"),
        ],
    )
    def test_a_line_that_docker_does_not_take(self, tmp_path, line, said):
        (tmp_path / "f").write_text(line)
        with pytest.raises(ComposeError) as caught:
            prepare(service(env_file=str(tmp_path / "f")))
        assert str(caught.value) == f"service s: {said.format(tmp_path / 'f')}"

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
            ({"labels": None}, {"replicas": 1}),
        ],
    )
    def test_a_number_of_replicas_is_always_said(self, deploy, made_of_it):
        assert made(service(deploy=deploy))["deploy"] == made_of_it

    def test_keys_that_say_nothing_and_those_of_the_user_are_left_out(self):
        assert made(service(hostname=None, tty=False, **{"x-any": 1})) == {
            "image": "i",
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
            (
                [
                    {"type": "bind", "source": "/x", "target": "/y"},
                    {"type": "bind", "source": "/z/../a", "target": "/a"},
                ],
                None,
            ),
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

    def test_paths_begin_at_the_first_file_and_are_absolute(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "f.json").write_text(json.dumps(service(volumes=["./x/../y:/y", "../z:/z", "~/h:/h"])))
        found = made(str(tmp_path / "a" / "f.json"), environment={"HOME": "/home/user"})
        assert [mount["source"] for mount in found["volumes"]] == [f"{tmp_path}/a/y", f"{tmp_path}/z", "/home/user/h"]


class TestUse:
    @pytest.mark.parametrize(
        ("section", "entries", "names"),
        [
            ("networks", None, ["default"]),
            ("networks", [], ["default"]),
            ("networks", {}, ["default"]),
            ("networks", {"a": None, "b": {}}, ["a", "b"]),
            ("volumes", None, []),
            (
                "volumes",
                [{"type": "volume", "source": "v"}, {"type": "volume"}, {"type": "bind", "source": "b"}, {}],
                ["v"],
            ),
            ("volumes", [{"type": "cluster", "source": "c"}, {"type": "cluster", "source": "group:g"}], ["c"]),
            ("configs", None, []),
            ("secrets", [{"source": "a"}, {"source": "b", "target": "c"}], ["a", "b"]),
        ],
    )
    def test_what_a_service_uses(self, section, entries, names):
        assert references({section: entries}, section) == names

    def test_a_credential_spec_is_a_config_that_is_used(self):
        assert references({"credential_spec": {"config": "a"}, "configs": [{"source": "b"}]}, "configs") == ["b", "a"]

    @pytest.mark.parametrize(
        ("short", "named"),
        [("va:/v", "va"), ("va:/w:ro", "va"), ("/anonymous", None), ("/h:/h", None), ("~/x:/x", None), ("C:\\y:/x", None),
         ("\\\\host\\x:/x", None), ("v:/v", None)],
    )  # fmt: skip
    def test_what_a_short_volume_names(self, short, named):
        """A single letter before a colon is a drive of Windows."""
        definition = prepare({**service(volumes=[short]), "volumes": {"va": None}}).definition
        assert list(definition["volumes"]) == ([named] if named else [])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"networks": ["n"]}, "network n is used by a service, but not defined under networks"),
            ({"configs": ["default"]}, "config default is used by a service, but not defined under configs"),
            ({"secrets": ["a"]}, "secret a is used by a service, but not defined under secrets"),
            ({"volumes": ["none:/x"]}, "volume none is used, but not defined under the top-level volumes"),
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
            ({"driver": None, "x-any": 1, "name": "", "labels": {}}, {}),
            ({"external": False, "name": "own"}, {"name": "own"}),
            ({"external": True}, {"external": True, "name": "o"}),
            ({"external": {"name": "real"}}, {"external": True, "name": "real"}),
            ({"labels": ["a", "b=1"]}, {"labels": {"a": "", "b": "1"}}),
        ],
    )
    def test_the_one_form_of_a_network_and_a_volume(self, given, canonical):
        compose = {
            **service(networks=["o"], volumes=[merge_rows.volume("o", "/o")]),
            "networks": {"o": given},
            "volumes": {"o": given},
        }
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
