"""Whether a file of OpenPGP keys may become a keyring of apt, which trusts every key in it. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

from typing import Any

STATES = {"r": "is revoked", "e": "has expired", "i": "is invalid", "d": "is disabled"}


def primary_keys(listing: str) -> list[tuple[str, str, str]]:
    """Kind (pub or sec), state and fingerprint of each primary key in the output of `gpg --show-keys --with-colons`.

    The fingerprint follows its key; those of subkeys follow theirs (doc/DETAILS in GnuPG).
    """
    keys: list[tuple[str, str, str]] = []
    open_key = ("", "")
    for line in listing.splitlines():
        fields = [*line.split(":"), *[""] * 10]
        if fields[0] == "fpr" and open_key[0] in ("pub", "sec"):
            keys.append((*open_key, fields[9]))
        if fields[0] in ("pub", "sec", "sub", "ssb", "fpr"):
            open_key = (fields[0], fields[1])
    return keys


def keyring_problem(read: dict[str, Any], fingerprint: str) -> str:
    """Why this is not the one key with this fingerprint; empty if it is. `read` is the result of the command gpg."""
    if read["rc"]:
        return f"gpg cannot read it ({(read['stderr'].splitlines() or ['exit code ' + str(read['rc'])])[-1]})"
    keys = primary_keys(read["stdout"])
    if not keys:
        return "there is no key in it"
    names = ", ".join(found for _, _, found in keys)
    if len(keys) > 1:
        return f"there are {len(keys)} keys in it ({names}), and apt would trust each of them"
    [(kind, state, found)] = keys
    if found != fingerprint.replace(" ", "").upper():
        return f"its fingerprint is {found}"
    if kind == "sec":
        return "it is the secret key, which somebody has published"
    return f"the key {STATES[state]}" if state in STATES else ""
