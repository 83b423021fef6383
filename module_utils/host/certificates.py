"""CA certificates that were added to a host. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

# Where they are added, what is made of all, and by which command: update-ca-trust(8) of the family redhat, update-ca-certificates(8).
WAYS = (
    ("etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "update-ca-trust"),
    ("usr/local/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt", "update-ca-certificates"),
)


def look(root: Path) -> dict[str, Any]:
    """`folder`, `bundle` and `command` are this host's way; `files` are the SHA-256 of those in the folder, by their names; `untrusted` says
    that one of them has not been read by the command."""
    folder, bundle, command = next((way for way in WAYS if (root / way[0]).is_dir()), WAYS[-1])
    files = [path for path in sorted((root / folder).glob("*.crt")) if path.is_file()]
    read = (root / bundle).stat().st_mtime if (root / bundle).exists() else float("-inf")
    return {
        "folder": f"/{folder}",
        "bundle": f"/{bundle}",
        "command": command,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "untrusted": any(path.stat().st_mtime > read for path in files),
    }
