"""Configs and secrets that swarm_stack makes itself."""

import json

from swarm_stand_in.fixtures import definition


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

    def test_files(self, swarm, call, tmp_path):
        path = tmp_path / "c"
        compose = {**self.compose(), "configs": {"c": {"file": str(path)}}}
        assert "there is no file" in call(compose=[compose])["msg"]
        assert call(compose=[compose], check=True)["changed"]
        path.write_text("one")
        call(compose=[compose])
        assert [call[-1] for call in swarm.calls if call[:2] == ("config", "create") and "_c_" in call[-2]] == [
            str(path)
        ]
        assert [row["Spec"]["Data"] for name, row in swarm.configs.items() if "_c_" in name] == ["one"]
        path.write_text("two")
        assert call(compose=[compose])["actions"] == ["update service node1: configs.0.name"]
