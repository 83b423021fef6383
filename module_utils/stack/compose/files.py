"""Reads the files that a definition names, on the target."""

from __future__ import annotations

import codecs

from .shapes import ComposeError

# No stack file, env_file or content comes near it. A device such as /dev/zero has no end.
MOST = 16 * 1024 * 1024


def read_bytes(path: str, what: str) -> bytes:
    """`what` begins the sentence, such as "cannot read env_file /srv/e"."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(MOST + 1)
    except OSError as error:
        raise ComposeError(f"{what}: {error.strerror}") from error
    except ValueError as error:
        raise ComposeError(f"{what}: a path cannot hold this: {error}") from error
    if len(data) > MOST:
        raise ComposeError(f"{what}: it has more than {MOST // 1024 // 1024} MiB")
    return data


def read_text(path: str, what: str, yaml: bool = False) -> str:
    """`yaml`: also in UTF-16, which YAML may be, and PowerShell writes."""
    data = read_bytes(path, what)
    wide = yaml and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ComposeError(f"{what}: it is no text in UTF-8") from error
