"""Row 1 of the situations from the field: a secret in the wrong place. The key is named, the value never."""

from typing import Any

import pytest
from labs import Lab

SECRET = "S3CR3T-of-the-field"


@pytest.mark.parametrize(
    ("secrets", "named"),
    [
        ({"token": SECRET}, "token"),
        ({"token": {"value": SECRET}}, "token"),
        ({"token": [SECRET]}, "token"),
        (SECRET, "training_secrets"),
        ({"token": {"content": SECRET, "file": "/etc/hostname"}}, "token"),
    ],
    ids=["as text", "under a wrong key", "as a list", "instead of the mapping", "twice"],
)
@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/training.yml"])
def test_a_secret_in_the_wrong_place_is_named_and_not_shown(playbook: str, secrets: Any, named: str, lab: Lab) -> None:
    run = lab.play(playbook, options="-vvv --diff", training_secrets=secrets, image_min_free_mb=1)
    assert run.rc != 0
    assert named in run.failure()
    assert run.changed() == []
    assert SECRET not in run.stdout
    for file in lab.directory.rglob("*"):
        if file.is_file() and "env/extravars" not in str(file):
            assert SECRET.encode() not in file.read_bytes(), file
