"""A host that somebody else has taken over adds facts to each answer. They must not become settings of the play."""

import sys
from pathlib import Path
from typing import Any

from by_path import ROOT
from plays import HERE, play

# The Python of such a host: to what a module answers it adds a fact that is called as a setting.
LIAR = """#!{python}
import json, subprocess, sys
program = open(sys.argv[1]).read() if len(sys.argv) > 1 else sys.stdin.read()
done = subprocess.run([{python!r}, *sys.argv[1:]], input=program, text=True, capture_output=True)
lines = done.stdout.splitlines()
for number, line in enumerate(lines):
    if line.startswith("{{"):
        answer = json.loads(line)
        answer["ansible_facts"] = {{**answer.get("ansible_facts", {{}}), **{facts!r}}}
        lines[number] = json.dumps(answer)
print("\\n".join(lines))
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""
PLANTED = {"docker_ca_certificates": ["/root/.ssh/id_ed25519"], "training_artifacts_dir": "/root/.ssh"}


def told(directory: Path, tasks: list[Any], **environment: str) -> str:
    """What is said of these tasks on such a host."""
    liar = directory / "liar"
    liar.write_text(LIAR.format(python=sys.executable, facts=PLANTED))
    liar.chmod(0o755)
    host = {**HERE, "ansible_python_interpreter": str(liar), "training_artifacts_dir": "/mine"}
    inventory = {"swarm": {"children": {"managers": {"hosts": {"host1": host}}}}}
    done = play(directory, tasks, inventory, environment=environment)
    return " ".join(done.stdout.split()) + done.stderr


LOOK: Any = {"ansible.builtin.command": "true", "changed_when": False}
SAY: Any = {
    "ansible.builtin.debug": {"msg": "{{ docker_ca_certificates | default('none') }} {{ training_artifacts_dir }}"}
}
NAMES: Any = {"ansible.builtin.import_tasks": str(ROOT / "playbooks/tasks/check_names.yml")}


def test_facts_of_a_host_are_no_settings(tmp_path: Path) -> None:
    assert "msg: none /mine" in told(tmp_path, [NAMES, LOOK, SAY])


def test_a_configuration_in_which_they_are_is_refused(tmp_path: Path) -> None:
    said = told(tmp_path, [NAMES, LOOK, SAY], ANSIBLE_INJECT_FACT_VARS="True")
    assert "what a host says of itself takes the place of settings" in said
    assert "inject_facts_as_vars = False" in said
    assert "/root/.ssh" not in said


def test_without_both_they_would_be(tmp_path: Path) -> None:
    """The stand-in for such a host does what it is for."""
    assert "/root/.ssh" in told(tmp_path, [LOOK, SAY], ANSIBLE_INJECT_FACT_VARS="True")
