"""What leaves a module that reports through ReportingModule, and what a playbook prints of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils._internal import _traceback
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.reporting import ReportingModule

ROOT = Path(__file__).resolve().parents[2]
SHORT, LONG = "S3CR3T", "S3CR3T-of-more-letters"
# From 2.21 on, a result has its invocation only if that is asked for.
INVOCATION = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
TITLE = "\x1b]0;title\x07"


class Module(ReportingModule):
    def secrets_in(self, params):
        return [params.get("key") or "none"]


@pytest.fixture
def report(capsys, monkeypatch):
    """Run a module's code, and return its whole output and its result."""
    # Tests of plugins make this process a controller, which shows a warning by itself, and once.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def report(code, kind=Module, spec=None, **params):
        with patch_module_args({**params, **INVOCATION}), pytest.raises(SystemExit):
            code(kind(argument_spec=spec or {"key": {"type": "str"}, "other": {"type": "raw"}}))
        captured = capsys.readouterr()
        return captured.out + captured.err, json.loads(captured.out.strip().splitlines()[-1])

    return report


@pytest.mark.parametrize("secret", [SHORT, LONG])
class TestSecrets:
    def test_of_a_result(self, report, secret):
        def code(module):
            module.exit_json(
                changed=True, msg=f"it is {secret}.", diff=[{"before": secret, "after": "x"}], rows=[{"a": (secret, 1)}]
            )

        out, result = report(code, key=secret, other={"x": [secret]})
        assert secret not in out
        assert result["changed"] is True
        assert result["msg"] == "it is ********."
        assert result["diff"] == [{"before": "********", "after": "x"}]
        assert result["rows"] == [{"a": ["********", 1]}]
        assert result["invocation"]["module_args"] == {"key": "********", "other": {"x": ["********"]}}

    def test_of_a_failure(self, report, secret):
        out, result = report(lambda module: module.fail_json(msg=f"no {secret}", stdout=f"a {secret} b"), key=secret)
        assert secret not in out
        assert (result["failed"], result["msg"], result["stdout"]) == (True, "no ********", "a ******** b")

    def test_of_an_exception(self, report, secret, monkeypatch):
        """Those that are given, those that are being handled, and their causes."""
        monkeypatch.setattr(_traceback, "is_traceback_enabled", lambda _event: True)

        def given(module):
            module.fail_json(msg="given", exception=ValueError(f"bad {secret}"))

        def text(module):
            module.fail_json(msg="text", exception=f"Traceback: {secret}")

        def handled(module):
            try:
                try:
                    raise ValueError(f"first {secret}")
                except ValueError as error:
                    raise RuntimeError(f"second {secret}") from error
            except RuntimeError:
                module.fail_json(msg="handled")

        for code in (given, text, handled):
            out, result = report(code, key=secret)
            assert secret not in out
            assert "********" in str(result["exception"])
        assert report(given, key=secret)[1]["msg"] == "given: bad ********"

    def test_of_warnings(self, report, secret):
        def code(module):
            module.warn(f"warned {secret}")
            module.deprecate(f"old {secret}", version="9.9")
            module.error_as_warning("went on", OSError(f"error {secret}"))
            module.exit_json()

        out, _result = report(code, key=secret)
        assert secret not in out
        for words in ("warned ********", "old ********", "went on: error ********"):
            assert words in out

    def test_of_arguments_that_are_refused(self, report, secret):
        out, result = report(lambda module: module.exit_json(), key=secret, typo=secret)
        assert secret not in out
        assert "Unsupported parameters" in result["msg"]
        spec = {"key": {"type": "str"}, "other": {"type": "int"}}
        out, result = report(lambda module: module.exit_json(), spec=spec, key=secret, other=secret)
        assert secret not in out
        assert "other" in result["msg"]

    def test_with_control_characters_in_it(self, report, secret):
        text = f"{secret[:3]}\x1b[0m{secret[3:]}"
        assert report(lambda module: module.exit_json(msg=text), key=secret)[1]["msg"] == "********"

    def test_that_ansible_may_print_itself(self, report, secret):
        """It would replace short ones within words."""
        _out, result = report(lambda module: module.exit_json(known=secret in module.no_log_values), key=secret)
        assert result["known"] == (secret == LONG)

    def test_that_the_module_learns_later(self, report, secret):
        def code(module):
            module.keep_secret({secret})
            module.fail_json(msg=f"no {secret}")

        assert report(code)[1]["msg"] == "no ********"

    def test_of_the_host_s_log(self, report, secret, monkeypatch):
        logged = []
        monkeypatch.setattr(basic, "has_journal", False)
        monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda _module, text: logged.append(text))

        def code(module):
            module.log(f"one {secret} {TITLE}")
            module.log(f"two {secret}".encode())
            module.exit_json()

        report(code, key=secret)
        assert len(logged) == 3
        assert "Invoked with" in logged[0]
        assert secret not in str(logged)
        assert "one ********" in logged[1]
        logged.clear()
        report(code, kind=type("Silent", (Module,), {"logs": False}), key=secret)
        assert logged == []


class TestText:
    def test_nothing_moves_a_terminal(self, report):
        def code(module):
            module.warn(f"warned{TITLE}")
            module.fail_json(msg=f"a{TITLE}b", log=[f"x\x1b[2Jy\x9b1mz\x00\r\n{TITLE}"], key={f"k{TITLE}": 1})

        out, result = report(code, other=f"o{TITLE}")
        assert [part for part in ("\\u00", "\x1b", "title") if part in out] == []
        assert (result["msg"], result["log"], result["key"]) == ("ab", ["xyz\n"], {"k": 1})
        assert result["invocation"]["module_args"]["other"] == "o"

    def test_the_invocation_goes_by_names_too(self, report):
        _out, result = report(lambda module: module.exit_json(), other={"DB_PASS": "x"})
        assert result["invocation"]["module_args"]["other"] == {"DB_PASS": "(hidden 1)"}

    def test_the_keys_of_a_result_stay(self, report):
        _out, result = report(lambda module: module.exit_json(services=["services 1"]), key="services")
        assert result["services"] == ["******** 1"]


class TestEdges:
    @pytest.mark.parametrize(("length", "shown"), [(10_000, "x" * 10_000), (10_001, "(10001 characters)")])
    def test_of_a_long_parameter_only_its_length_is_shown(self, report, length, shown):
        _out, result = report(lambda module: module.exit_json(), other="x" * length)
        assert result["invocation"]["module_args"]["other"] == shown

    @pytest.mark.parametrize(("secret", "known"), [("S3CR3T8", False), ("S3CR3T88", True)])
    def test_ansible_knows_secrets_that_are_not_in_words(self, report, secret, known):
        _out, result = report(lambda module: module.exit_json(known=secret in module.no_log_values), key=secret)
        assert result["known"] is known

    def test_a_module_without_secrets_hides_none(self, report):
        _out, result = report(lambda module: module.exit_json(msg="none"), kind=ReportingModule, key="none")
        assert (result["msg"], result["invocation"]["module_args"]["key"]) == ("none", "none")

    def test_an_exception_that_is_in_the_message_is_not_told_twice(self, report):
        _out, result = report(lambda module: module.fail_json(msg="it is bad: so", exception=ValueError("bad")))
        assert result["msg"] == "it is bad: so"
        _out, result = report(lambda module: module.fail_json(msg="it", exception="Traceback: bad"))
        assert result["msg"] == "it"

    def test_a_failure_without_an_exception_has_none(self, report, monkeypatch):
        monkeypatch.setattr(_traceback, "is_traceback_enabled", lambda _event: False)
        _out, result = report(lambda module: module.fail_json(msg="no"))
        assert "Traceback" not in str(result)

    def test_an_error_may_be_a_warning_without_other_words(self, report):
        def code(module):
            module.error_as_warning(None, OSError("alone"))
            module.exit_json()

        out, _result = report(code)
        assert "alone" in out
        assert "None" not in out

    def test_a_module_may_say_itself_what_it_was_asked(self, report):
        _out, result = report(lambda module: module.exit_json(invocation={"mine": TITLE}), other="x")
        assert result["invocation"] == {"mine": ""}


# Training secrets that are refused, by a host of the playbook below, and what must be said of each.
REFUSED = {
    "text": (SHORT, "unable to convert to dict"),
    "list": ([SHORT], "unable to convert to dict"),
    "short": ({"token": SHORT}, "secrets.token must be a mapping such as {content: ...}, and is a text"),
    "long": ({"token": LONG}, "secrets.token must be a mapping such as {content: ...}, and is a text"),
    "key": ({"token": {"value": SHORT}}, "secret token needs exactly one of file, content and external"),
    "mapping": ({"token": {"content": {"a": [SHORT]}}, "b": LONG}, "secrets.b must be a mapping"),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Ansible itself, with -vvv. No engine is needed: what is deployed here is refused first.

    The role is a stand-in for the role training, which needs a swarm before it comes so far: it has that role's description of its
    variables, and hands its secrets to the module in the same way.
    """
    tree = tmp_path_factory.mktemp("playbook")
    role = tree / "roles/training"
    (role / "tasks").mkdir(parents=True)
    for name in ("meta/argument_specs.yml", "defaults/main.yml", "vars/main.yml"):
        (role / name).parent.mkdir()
        shutil.copy(ROOT / "roles/training" / name, role / name)
    compose = (
        "{{ [{'services': {'node0': {'image': 'i', 'secrets': training_secrets.keys() | list}}}]"
        " + ([{'secrets': training_secrets}] if training_secrets else []) }}"
    )
    task = {"name": "Compare", "swarm_stack": {"name": "demo", "compose": compose}}
    (role / "tasks/main.yml").write_text(yaml.safe_dump([task]))
    hosts = {name: {"training_secrets": secrets} for name, (secrets, _sentence) in REFUSED.items()}
    swarm = {"children": {"managers": {"hosts": hosts}, "workers": {}}}
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"children": {"swarm": swarm}, "vars": variables}}
    (tree / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (tree / "play.yml").write_text("- {hosts: all, gather_facts: false, roles: [training]}\n")
    environment = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LIBRARY": str(ROOT / "library"),
        "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils"),
        "ANSIBLE_ROLES_PATH": str(tree / "roles"),
        "ANSIBLE_DISPLAY_TRACEBACK": "always",
        "ANSIBLE_INJECT_INVOCATION": "true",
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-vvv", "--diff", "-i", "inventory.yml", "play.yml"]
    return subprocess.run(
        command, cwd=tree, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_playbook_prints_no_secret(played):
    output = played.stdout + played.stderr
    assert played.returncode == 2, output
    assert output.count("FAILED!") == len(REFUSED), output
    assert SHORT not in output


def test_a_playbook_says_what_is_wrong(played):
    # In the output lines are folded.
    output = " ".join((played.stdout + played.stderr).split())
    for _secrets, sentence in REFUSED.values():
        assert sentence in output
