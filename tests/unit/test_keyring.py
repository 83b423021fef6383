"""Whether a file is the one key, by what gpg says of it. tests/roles/test_apt_key.py has gpg say it, of real keys."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host.keyring import keyring_problem, primary_keys

RIGHT, OTHER, SUB = "A" * 40, "B" * 40, "C" * 40


def key(kind: str, state: str, fingerprint: str) -> str:
    """A key's line, and that of its fingerprint (doc/DETAILS in GnuPG)."""
    return f"{kind}:{state}:255:22:{fingerprint[-16:]}:1700000000:::-:::scSC:::::ed25519:::0:\nfpr:::::::::{fingerprint}:\n"


USER = "uid:-::::1700000000::0123::Docker Release (CE deb)::::::::::0:\n"


def judged(listing: str, pinned: str = RIGHT) -> str:
    return keyring_problem({"rc": 0, "stdout": listing, "stderr": ""}, pinned)


@pytest.mark.parametrize(
    ("listing", "keys"),
    [
        ("", []),
        ("tru::1:1700000000:0:3:1:5\n", []),
        (key("pub", "-", RIGHT) + USER, [("pub", "-", RIGHT)]),
        (key("pub", "r", RIGHT) + USER + key("sub", "e", SUB), [("pub", "r", RIGHT)]),
        (key("sec", "", RIGHT) + key("ssb", "", SUB), [("sec", "", RIGHT)]),
        (key("pub", "-", RIGHT) + key("sub", "-", SUB) + key("pub", "-", OTHER), [("pub", "-", RIGHT), ("pub", "-", OTHER)]),
        # What stands between a key and its fingerprint does not count, and only the first fingerprint after it does.
        (key("pub", "-", RIGHT).replace("fpr", USER + "fpr"), [("pub", "-", RIGHT)]),
        (key("pub", "-", RIGHT) + f"fpr:::::::::{OTHER}:\n", [("pub", "-", RIGHT)]),
        (f"fpr:::::::::{OTHER}:\n", []),
        (f"pub\nfpr:::::::::{RIGHT}:\n", [("pub", "", RIGHT)]),
        ("pub:-\nfpr\n", [("pub", "-", "")]),
    ],
)  # fmt: skip
def test_primary_keys_are_read_with_their_fingerprints(listing: str, keys: list[tuple[str, str, str]]) -> None:
    assert primary_keys(listing) == keys


@pytest.mark.parametrize("pinned", [RIGHT, RIGHT.lower(), " ".join([RIGHT[:4]] * 10)])
def test_the_right_key_is_known_however_its_fingerprint_is_written(pinned: str) -> None:
    assert judged(key("pub", "-", RIGHT) + USER + key("sub", "-", SUB), pinned) == ""


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ("", "there is no key in it"),
        (key("sub", "-", RIGHT), "there is no key in it"),
        (key("pub", "-", OTHER), f"its fingerprint is {OTHER}"),
        (key("pub", "-", OTHER) + key("sub", "-", RIGHT), f"its fingerprint is {OTHER}"),
        (key("pub", "-", RIGHT) + key("pub", "-", OTHER),
         f"there are 2 keys in it ({RIGHT}, {OTHER}), and apt would trust each of them"),
        (key("sec", "-", RIGHT), "it is the secret key, which somebody has published"),
        (key("sec", "e", RIGHT), "it is the secret key, which somebody has published"),
        (key("pub", "r", RIGHT), "the key is revoked"),
        (key("pub", "e", RIGHT), "the key has expired"),
        (key("pub", "i", RIGHT), "the key is invalid"),
        (key("pub", "d", RIGHT), "the key is disabled"),
        (key("pub", "u", RIGHT), ""),
        # Of another key it does not matter what else is wrong with it.
        (key("pub", "e", OTHER), f"its fingerprint is {OTHER}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key(listing: str, said: str) -> None:
    assert judged(listing) == said


@pytest.mark.parametrize(
    ("stderr", "why"),
    [
        ("gpg: first\ngpg: no valid OpenPGP data found.\n", "gpg: no valid OpenPGP data found."),
        ("", "exit code 2"),
    ],
)
def test_what_gpg_cannot_read_is_told_with_its_last_words(stderr: str, why: str) -> None:
    read = {"rc": 2, "stdout": key("pub", "-", RIGHT), "stderr": stderr}
    assert keyring_problem(read, RIGHT) == f"gpg cannot read it ({why})"
