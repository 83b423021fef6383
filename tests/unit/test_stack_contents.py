"""Configs and secrets that swarm_stack makes itself."""

import base64
import hashlib
import json
import re

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import Content, service_view
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError
from swarm_stand_in.fixtures import definition
from test_stack_definition import prepare, service


class TestContents:
    def compose(self, text="one", secret="geheimnis"):
        compose = definition(configs=[{"source": "c", "target": "/c"}], secrets=["s"])
        return {**compose, "configs": {"c": {"content": text}}, "secrets": {"s": {"content": secret}}}

    def test_a_new_content_is_a_new_name(self, swarm, call):
        call(compose=[self.compose()])
        (old,) = [name for name in swarm.configs if "_c_" in name]
        made = call(compose=[self.compose("two")], wait_for="running")
        assert made["actions"] == ["update service node1: configs.0.name"]
        assert [diff["before_header"] for diff in made["diff"]] == ["service node1", "config c"]
        assert (made["diff"][1]["before"], made["diff"][1]["after"]) == ("one", "two")
        names = [name for name in swarm.configs if "_c_" in name]
        assert len(names) == 1
        assert names != [old]
        assert not call(compose=[self.compose("two")])["changed"]

    def test_a_secret_is_never_shown(self, swarm, call):
        made = call(compose=[self.compose()])
        changed = call(compose=[self.compose(secret="neues geheimnis")])
        assert changed["actions"] == ["update service node1: secrets.0.name"]
        assert "geheimnis" not in json.dumps([made, changed])
        assert [row["Spec"]["Data"] for row in swarm.secrets.values()] == ["neues geheimnis"]
        assert not any("geheimnis" in str(argument) for arguments in swarm.calls for argument in arguments)

    def test_old_contents_stay_while_swarm_may_roll_back(self, swarm, call):
        first, second = self.compose(), self.compose("two")
        for compose in (first, second):
            compose["services"]["node1"]["deploy"]["update_config"] = {"failure_action": "rollback"}
        call(compose=[first])
        call(compose=[second])
        assert len([name for name in swarm.configs if "_c_" in name]) == 2

    @pytest.mark.parametrize(("monitor", "left"), [("1h", 2), ("1s", 1)])
    def test_old_contents_stay_while_an_update_is_watched(self, swarm, call, monitor, left):
        """Its tasks may all run, and swarm still go back to what was before."""
        for text in ("one", "two"):
            compose = self.compose(text, secret=f"geheimnis {text}")
            update = {"failure_action": "rollback", "monitor": monitor}
            compose["services"]["node1"]["deploy"]["update_config"] = update
            made = call(compose=[compose], wait_for="running", stability_period=8)
            assert not made.get("failed"), made["msg"]
        assert len([name for name in swarm.configs if "_c_" in name]) == left
        assert len(swarm.secrets) == left
        if monitor == "1h":
            swarm.swarm.settle(7200)
            assert call(compose=[compose])["actions"] == []
            assert len(swarm.secrets) == 1

    def test_any_bytes(self, swarm, call):
        def compose(data):
            return {**self.compose(), "configs": {"c": {"content_base64": base64.b64encode(data).decode()}}}

        call(compose=[compose(b"PK\xff")])
        ((old, row),) = [(name, row) for name, row in swarm.configs.items() if "_c_" in name]
        assert row["Spec"]["Data"].encode("utf-8", "surrogateescape") == b"PK\xff"
        assert not call(compose=[compose(b"PK\xff")])["changed"]
        made = call(compose=[compose(b"one")])
        assert made["actions"] == ["update service node1: configs.0.name"]
        assert old not in swarm.configs
        # There is nothing to read in what was no text.
        assert [diff["before_header"] for diff in made["diff"]] == ["service node1"]
        made = call(compose=[compose(b"two")])
        assert [(diff["before"], diff["after"]) for diff in made["diff"][1:]] == [("one", "two")]
        assert [diff["before_header"] for diff in call(compose=[compose(b"\xff")])["diff"]] == ["service node1"]

    def test_files(self, swarm, call, tmp_path):
        path = tmp_path / "c"
        compose = {**self.compose(), "configs": {"c": {"file": str(path)}}}
        assert "on the target: No such file or directory" in call(compose=[compose])["msg"]
        assert call(compose=[compose], check=True)["changed"]
        path.write_text("one")
        call(compose=[compose])
        assert [call[-1] for call in swarm.calls if call[:2] == ("config", "create") and "_c_" in call[-2]] == [
            str(path)
        ]
        assert [row["Spec"]["Data"] for name, row in swarm.configs.items() if "_c_" in name] == ["one"]
        path.write_text("two")
        assert call(compose=[compose])["actions"] == ["update service node1: configs.0.name"]


class TestNames:
    def contents(self, kind, value, **options):
        prepared = prepare({**service(**{f"{kind}s": ["c"]}), f"{kind}s": {"c": value}}, **options)
        return prepared.definition[f"{kind}s"]["c"], prepared.contents, prepared.warnings

    @pytest.mark.parametrize("kind", ["config", "secret"])
    @pytest.mark.parametrize(
        ("value", "base", "text", "options"),
        [
            ({"content": "one"}, "demo_c", "one", ()),
            ({"content": "one", "name": "own"}, "own", "one", ()),
            ({"content": {"b": 1, "a": [True]}}, "demo_c", '{"a": [true], "b": 1}', ()),
            (
                {"content": "one", "labels": {"b": 1, "a": True}, "template_driver": "golang"},
                "demo_c",
                "one",
                ("--label", "a=true", "--label", "b=1", "--template-driver", "golang"),
            ),
        ],
    )
    def test_a_text_is_named_after_what_is_in_it(self, kind, value, base, text, options):
        entry, (content,), warnings = self.contents(kind, value)
        whole = hashlib.sha256(text.encode() + "\0".join(options).encode()).hexdigest()
        assert entry == {"external": True, "name": f"{base}_{whole[:12]}"}
        assert content == Content(kind, "c", entry["name"], text.encode(), None, options)
        assert warnings == []

    @pytest.mark.parametrize("kind", ["config", "secret"])
    @pytest.mark.parametrize(
        ("value", "entry"),
        [
            ({"external": True}, {"external": True, "name": "c"}),
            ({"external": True, "name": "real"}, {"external": True, "name": "real"}),
            ({"external": {"name": "real"}}, {"external": True, "name": "real"}),
            ({"driver": "vault", "name": "n"}, {"driver": "vault", "name": "n"}),
        ],
    )
    def test_what_is_not_made_here_is_left_as_it_is(self, kind, value, entry):
        assert self.contents(kind, value) == (entry, [], [])

    @pytest.mark.parametrize(
        "value",
        [None, {}, {"name": "n"}, {"content": "x", "file": "/x"}, {"content": "x", "content_base64": "eA=="}],
    )
    def test_one_source_is_needed(self, value):
        with pytest.raises(
            ComposeError, match=r"^config c needs exactly one of file, content, content_base64 and external$"
        ):
            self.contents("config", value)

    def test_any_bytes_may_be_in_a_config(self):
        entry, (content,), _warnings = self.contents("config", {"content_base64": "UEsD/w=="})
        assert entry["name"] == f"demo_c_{hashlib.sha256(b'PK' + bytes([3, 255])).hexdigest()[:12]}"
        assert (content.data, content.path) == (b"PK\x03\xff", None)
        text = self.contents("config", {"content": "one"})
        assert self.contents("config", {"content_base64": "b25l"}) == text

    @pytest.mark.parametrize("value", ["UEsD/w=", "UEs D/w==", "$UEs", "\u00e9", 7, None, ["UEsD"]])
    def test_what_is_no_base64_is_refused(self, value):
        said = "needs exactly one of" if value is None else "content_base64 is not base64"
        with pytest.raises(ComposeError, match=f"^config c:? {said}"):
            self.contents("config", {"content_base64": value})

    def test_a_secret_has_no_such_source(self):
        """What is hidden of a secret is its text."""
        with pytest.raises(ComposeError, match="^secret c needs exactly one of file, content and external$"):
            self.contents("secret", {"content_base64": "UEsD"})

    def test_a_file_is_read_and_may_be_any_bytes(self, tmp_path):
        (tmp_path / "f").write_bytes(b"\xff")
        entry, (content,), _warnings = self.contents("config", {"file": str(tmp_path / "f")})
        assert entry["name"] == f"demo_c_{hashlib.sha256(bytes([255])).hexdigest()[:12]}"
        assert (content.data, content.path) == (None, str(tmp_path / "f"))

    def test_a_file_that_is_not_there_yet(self, tmp_path):
        path = str(tmp_path / "f")
        with pytest.raises(
            ComposeError, match=f"^config c: cannot read {path} on the target: No such file or directory$"
        ):
            self.contents("config", {"file": path})
        entry, (content,), warnings = self.contents("config", {"file": path}, missing_files=True)
        assert re.fullmatch("demo_c_[0-9a-f]{12}", entry["name"])
        assert content.path == path
        assert warnings == [f"config c: there is no file {path} yet; assuming that it will be new"]

    def test_a_file_that_cannot_be_read(self, tmp_path):
        for missing in (True, False):
            with pytest.raises(ComposeError, match=f"^config c: cannot read {tmp_path} on the target: Is a directory$"):
                self.contents("config", {"file": str(tmp_path)}, missing_files=missing)

    @pytest.mark.parametrize(
        ("entries", "seen"),
        [
            (["c"], [{"source": "c", "name": "demo_c_1"}]),
            ([{"source": "c", "target": "/c", "mode": None}], [{"source": "c", "target": "/c", "name": "demo_c_1"}]),
            (["other", "empty"], [{"source": "other"}, {"source": "empty"}]),
        ],
    )
    def test_a_service_is_compared_with_the_real_names(self, entries, seen):
        definition = {
            "services": {"s": {"image": "i", "configs": entries, "secrets": entries}},
            "configs": {"c": {"name": "demo_c_1"}, "empty": None},
            "secrets": {"c": {"name": "demo_c_1"}},
        }
        kept = json.dumps(definition)
        assert service_view(definition, "s") == {"image": "i", "configs": seen, "secrets": seen}
        assert json.dumps(definition) == kept
        assert service_view({"services": {"s": {"configs": ["c"]}}}, "s") == {"configs": [{"source": "c"}]}
