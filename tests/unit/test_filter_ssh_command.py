"""What people are told to type reaches a host the way in which Ansible does."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.ssh_command import FilterModule, ssh_command, ssh_words

LOGS = "docker service logs -f simple-training_node0"


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, f"ssh -t host1 sudo {LOGS}"),
        ({"ansible_host": "10.0.0.1"}, f"ssh -t 10.0.0.1 sudo {LOGS}"),
        ({"ansible_host": "10.0.0.1", "ansible_user": "ada", "ansible_port": 2222}, f"ssh -t -p 2222 ada@10.0.0.1 sudo {LOGS}"),
        ({"ansible_ssh_host": "a.example", "ansible_ssh_user": "ada", "ansible_ssh_port": "22"}, f"ssh -t ada@a.example sudo {LOGS}"),
        ({"ansible_host": "fd00::1", "ansible_user": "ada"}, f"ssh -t ada@fd00::1 sudo {LOGS}"),
        (
            {"ansible_ssh_private_key_file": "~/my keys/k", "ansible_ssh_common_args": "-o ProxyJump=ada@gate -o 'UserKnownHostsFile=/a b'"},
            f"ssh -t -i '~/my keys/k' -o ProxyJump=ada@gate -o 'UserKnownHostsFile=/a b' host1 sudo {LOGS}",
        ),
        ({"ansible_private_key_file": "/k", "ansible_ssh_extra_args": "-J gate"}, f"ssh -t -i /k -J gate host1 sudo {LOGS}"),
        ({"ansible_user": "root"}, f"ssh root@host1 {LOGS}"),
        ({"ansible_become": False}, f"ssh host1 {LOGS}"),
        ({"ansible_become": "no"}, f"ssh host1 {LOGS}"),
        ({"ansible_become_method": "ansible.builtin.su"}, f"ssh -t host1 su -c '\"{LOGS}\"'"),
        ({"ansible_become_method": "doas"}, f"ssh -t host1 doas {LOGS}"),
        ({"ansible_become_user": "admin"}, f"ssh -t host1 sudo -u admin {LOGS}"),
        ({"ansible_connection": "local"}, f"sudo {LOGS}"),
        ({"ansible_connection": "local", "ansible_user": "root"}, LOGS),
        ({"ansible_host": None, "ansible_user": ""}, f"ssh -t host1 sudo {LOGS}"),
    ],
    ids=str,
)  # fmt: skip
def test_the_way_in(variables: dict[str, Any], command: str) -> None:
    assert ssh_command(variables, "host1", LOGS) == command


def test_a_shell_there() -> None:
    assert ssh_command({"ansible_user": "ada"}, "GPU-Box_1") == "ssh ada@GPU-Box_1"
    assert set(FilterModule().filters()) == {"ssh_command", "ssh_words"}
    assert ssh_words({"ansible_user": "ada", "ansible_port": 2222}, "box", ["-N"]) == [
        "ssh",
        "-N",
        "-p",
        "2222",
        "ada@box",
    ]
    assert ssh_words({"ansible_connection": "local"}, "box") == []


def test_what_a_name_holds_is_no_command() -> None:
    assert ssh_command({"ansible_host": "x; reboot", "ansible_user": "a b"}, "host1") == "ssh 'a b@x; reboot'"
