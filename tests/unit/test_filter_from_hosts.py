"""What hosts say of themselves, and which certificates are the registry's."""

import base64
import hashlib
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import from_hosts

NAME = hashlib.sha256(b"a layer").hexdigest()
DIGEST = f"sha256:{NAME}"
SAVED = {
    "id": DIGEST,
    "config": "",
    "diff_ids": [DIGEST],
    "layers": [{"diff_id": DIGEST, "chain": DIGEST, "file": f"{NAME}.tar", "sha256": NAME, "bytes": 7, "size": 7}],
}


@pytest.mark.parametrize("id", ["../../etc", "", None, DIGEST + "\n"])
def test_other_lies_are_named_too(id: Any) -> None:
    assert "which is no SHA-256 digest" in from_hosts.saved_problem({**SAVED, "id": id})
    assert from_hosts.saved_problem(SAVED) == ""


@pytest.mark.parametrize("saved", [{}, {"failed": True}, None, [], {**SAVED, "layers": 1}, {**SAVED, "layers": ["x"]}])
def test_what_is_no_answer_at_all(saved: Any) -> None:
    assert "it is not shaped as what image_save returns" in from_hosts.saved_problem(saved)


@pytest.mark.parametrize(
    "node",
    [
        {"NodeAddr": "192.0.2.1", "NodeID": "abcdefghij0123456789klmno"},
        {"NodeAddr": "2001:db8::1", "NodeID": "abcdefghij0123456789klmno"},
        {"NodeAddr": "", "NodeID": ""},
        {"NodeAddr": "", "NodeID": "abcdefghij0123456789klmno"},
        {"NodeAddr": "192.0.2.1"},
        {},
    ],
)
def test_a_node(node: Any) -> None:
    assert from_hosts.node_problem(node) == ""


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"NodeAddr": "../../cron.d"}, "its address is '../../cron.d', which is no IP address"),
        ({"NodeAddr": "fe80::1%../../cron.d"}, "which is no IP address"),
        ({"NodeAddr": "192.0.2.1\n"}, "which is no IP address"),
        ({"NodeAddr": 1}, "which is no IP address"),
        ({"NodeAddr": None}, "its address is None, which is no IP address"),
        (
            {"NodeAddr": "192.0.2.1", "NodeID": "x == y"},
            "its node ID is 'x == y', which is not 25 small letters and digits",
        ),
        ({"NodeAddr": "192.0.2.1", "NodeID": "a" * 24}, "which is not 25 small letters and digits"),
        ({"NodeAddr": "192.0.2.1", "NodeID": "a" * 26}, "which is not 25 small letters and digits"),
        ({"NodeAddr": "192.0.2.1", "NodeID": "A" * 25}, "which is not 25 small letters and digits"),
        ({"NodeAddr": "192.0.2.1", "NodeID": "a" * 25 + "\n"}, "which is not 25 small letters and digits"),
        ({"NodeAddr": "192.0.2.1", "NodeID": None}, "its node ID is None"),
        (None, "its swarm is None"),
        ("active", "its swarm is 'active'"),
    ],
)
def test_what_is_no_node(node: Any, said: str) -> None:
    assert said in from_hosts.node_problem(node)


def certificate(subject: str, folder: str, encoded: bool = True) -> dict[str, str]:
    """As slurp returns it. What a certificate says stands in it as it is."""
    body = base64.encodebytes(b"\x30\x82" + subject.encode() + b"\x00" * 60).decode() if encoded else subject
    pem = f"Certificate:\n-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    return {"source": f"/etc/certs.d/{folder}/ca.crt", "content": base64.b64encode(pem.encode()).decode()}


OURS, THEIRS = "ddp-swarm registry CA", "Company CA"
FILES = [f"/etc/certs.d/{folder}/{name}" for folder in ("a:5000", "b:5000") for name in ("ca.crt", "client.key")]


@pytest.mark.parametrize(
    ("certificates", "files", "left"),
    [
        ([], FILES, []),
        ([certificate(OURS, "a:5000")], FILES, ["/etc/certs.d/a:5000"]),
        ([certificate(THEIRS, "a:5000"), certificate(OURS, "b:5000")], FILES, ["/etc/certs.d/b:5000"]),
        (
            [certificate(OURS, "a:5000"), certificate(OURS, "b:5000")],
            FILES,
            ["/etc/certs.d/a:5000", "/etc/certs.d/b:5000"],
        ),
        # Beside what is somebody else's, only the files of the role.
        (
            [certificate(OURS, "a:5000")],
            [*FILES, "/etc/certs.d/a:5000/notes"],
            ["/etc/certs.d/a:5000/ca.crt", "/etc/certs.d/a:5000/client.key"],
        ),
        ([certificate(OURS, "a:5000")], [*FILES, "/etc/certs.d/a:5000/client.cert"], ["/etc/certs.d/a:5000"]),
        # What is no certificate is nobody's.
        ([certificate(OURS, "a:5000", encoded=False)], FILES, []),
        ([{"source": "/etc/certs.d/a:5000/ca.crt", "content": base64.b64encode(OURS.encode()).decode()}], FILES, []),
    ],
)
def test_folders_with_the_registrys_certificate_are_the_roles(
    certificates: list[dict[str, Any]], files: list[str], left: list[str]
) -> None:
    assert from_hosts.registry_leftovers(certificates, files) == left


def test_only_the_first_certificate_of_a_file_counts() -> None:
    both = base64.b64encode(
        b"".join(base64.b64decode(certificate(subject, "a:5000")["content"]) for subject in (THEIRS, OURS))
    ).decode()
    assert from_hosts.registry_leftovers([{"source": "/etc/certs.d/a:5000/ca.crt", "content": both}], FILES) == []


def test_the_filters_have_their_names() -> None:
    filters = from_hosts.FilterModule().filters()
    assert filters["node_problem"] is from_hosts.node_problem
    assert filters["registry_leftovers"] is from_hosts.registry_leftovers
    assert filters["saved_problem"](SAVED) == ""
