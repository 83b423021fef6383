"""Which of the secrets that a user wrote down are none."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.secrets import malformed_secrets


@pytest.mark.parametrize(
    ("secret", "right"),
    [
        ({"content": "x"}, True),
        ({"content": ""}, True),
        ({"file": "/etc/hostname"}, True),
        ({"external": True}, True),
        ({"external": True, "name": "other"}, True),
        ({"content": "x", "external": False}, True),
        ({"content": "x", "file": "/etc/hostname"}, False),
        ({"content": "x", "external": True}, False),
        ({"value": "x"}, False),
        ({}, False),
        (None, False),
        ("x", False),
        (["x"], False),
    ],
)
def test_a_secret_has_one_source(secret: Any, right: bool) -> None:
    assert malformed_secrets({"good": {"content": "y"}, "token": secret}) == ([] if right else ["token"])


@pytest.mark.parametrize("secrets", ["x", [], None])
def test_what_is_no_mapping_has_no_names(secrets: Any) -> None:
    assert malformed_secrets(secrets) == []
