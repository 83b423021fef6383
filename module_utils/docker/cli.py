"""The docker command line, as the modules call it: one client, its connection, its answers and its errors."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO, Any

from ..text import lines_of

# A manager that has lost its peers answers late or never; nothing that only asks may hang with it.
ANSWER_TIMEOUT = 60.0
# To deploy or to remove is many calls in one, and may ask a registry about each image.
DEPLOY_TIMEOUT = 600.0
# A container that only looks at something, and is gone: of an image that is here, and nobody hears it.
THROWAWAY = ("run", "--rm", "--pull", "never", "--network", "none")
# Swarm changes nodes and services by itself, and refuses what a client has read before such a change (store.ErrSequenceConflict in
# moby/swarmkit). The command line reads anew when it is called again.
LOST_RACE = "update out of sequence"
RACES = 5
# The connection options have the names that community.docker users know.
CONNECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "docker_cli": {"type": "path"},
    "docker_host": {"type": "str", "aliases": ["docker_url"]},
    "cli_context": {"type": "str"},
    "api_version": {"type": "str", "aliases": ["docker_api_version"]},
    "tls": {"type": "bool", "default": False},
    "validate_certs": {"type": "bool", "default": False, "aliases": ["tls_verify"]},
    "ca_path": {"type": "path", "aliases": ["tls_ca_cert", "cacert_path"]},
    "client_cert": {"type": "path", "aliases": ["tls_client_cert", "cert_path"]},
    "client_key": {"type": "path", "aliases": ["tls_client_key", "key_path"]},
}
CONNECTION_MUTUALLY_EXCLUSIVE = [("docker_host", "cli_context")]


class DockerError(Exception):
    """A docker command that failed; the text is what docker said, fit to be shown to a user."""


@dataclass(frozen=True)
class CompletedDocker:
    rc: int
    stdout: str
    stderr: str


class DockerCli:
    """Runs docker commands with the connection options of an Ansible module, and counts them in `calls`."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._command: list[str] | None = None
        self.calls = 0

    def run(
        self,
        *args: str,
        check: bool = True,
        input: str | bytes | None = None,
        timeout: float | None = None,
        cwd: str | None = None,
        unset: Collection[str] = (),
    ) -> CompletedDocker:
        """Run `docker ARGS`, again where it lost a race against the swarm itself.

        With `check`, a non-zero exit raises DockerError. Input is never part of an error. `unset` names variables that the command
        must not have from here: what this class sets by itself.
        """
        result = self._run_once(args, input, timeout, cwd, unset)
        for _ in range(RACES):
            if result.rc == 0 or LOST_RACE not in result.stderr:
                break
            time.sleep(0.5)
            result = self._run_once(args, input, timeout, cwd, unset)
        if check and result.rc != 0:
            said = result.stderr.strip() or result.stdout.strip() or f"exit code {result.rc}"
            raise DockerError(f"{_title(args)}: {said}")
        return result

    def _run_once(
        self,
        args: tuple[str, ...],
        input: str | bytes | None,
        timeout: float | None,
        cwd: str | None,
        unset: Collection[str],
    ) -> CompletedDocker:
        command = [*self._base_command(), *args]
        self.calls += 1
        try:
            done = subprocess.run(
                command,
                input=input.encode("utf-8") if isinstance(input, str) else input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                env=self._environment(unset),
                timeout=timeout,
                cwd=cwd,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DockerError(f"{_title(args)}: no answer within {timeout:g} s") from error
        except OSError as error:
            raise DockerError(f"{_title(args)}: {error}") from error
        # Containers log arbitrary bytes, and a module's result must be valid UTF-8.
        return CompletedDocker(
            done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )

    def limited(self, *args: str, limit: int, timeout: float) -> tuple[int, bytes, str]:
        """Exit code, output and complaint of a command in a container, which may write without an end: what passes `limit` ends it."""
        command = [*self._base_command(), *args]
        self.calls += 1
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment(),
            )
        except OSError as error:
            raise DockerError(f"{_title(args)}: {error}") from error
        late = threading.Timer(timeout, process.kill)
        late.start()
        assert process.stdout and process.stderr
        complaints: list[bytes] = []
        beside = threading.Thread(target=_drain, args=(process.stderr, complaints), daemon=True)
        beside.start()
        try:
            said = process.stdout.read(limit)
            if len(said) >= limit:
                process.kill()
            rc = process.wait()
        finally:
            expired = not late.is_alive()
            late.cancel()
        beside.join(5)
        if expired and rc:
            raise DockerError(f"{_title(args)}: no answer within {timeout:g} s")
        return rc, said, b"".join(complaints).decode("utf-8", "replace").strip()

    def json_lines(self, *args: str) -> list[dict[str, Any]]:
        """Run a listing command (`ls`, `ps`) and return its rows, one mapping for each."""
        return parse_json_lines(self.run(*args, "--format", "{{json .}}", timeout=ANSWER_TIMEOUT).stdout)

    def _base_command(self) -> list[str]:
        if self._command is None:
            params = self._module.params
            binary = params.get("docker_cli") or self._module.get_bin_path("docker")
            if not binary:
                raise DockerError("the docker command line is not installed on this host")
            self._command = [str(binary), *connection_options(params)]
        return self._command

    def _environment(self, unset: Collection[str] = ()) -> dict[str, str]:
        own = {"LC_ALL": "C", "DOCKER_CLI_HINTS": "false"}
        environment = {**os.environ, **{name: value for name, value in own.items() if name not in unset}}
        if self._module.params.get("api_version") not in (None, "", "auto"):
            environment["DOCKER_API_VERSION"] = str(self._module.params["api_version"])
        if self._module.params.get("docker_host") or self._module.params.get("cli_context"):
            # What the task says wins over what the user's shell profile says.
            environment.pop("DOCKER_CONTEXT", None)
            environment.pop("DOCKER_HOST", None)
        return environment


def connection_options(params: dict[str, Any]) -> list[str]:
    """The docker options that stand before the subcommand."""
    options: list[str] = []
    for name, option in (
        ("docker_host", "--host"),
        ("cli_context", "--context"),
        ("ca_path", "--tlscacert"),
        ("client_cert", "--tlscert"),
        ("client_key", "--tlskey"),
    ):
        if params.get(name):
            options += [option, str(params[name])]
    if params.get("validate_certs"):
        options.append("--tlsverify")
    elif params.get("tls"):
        options.append("--tls")
    return options


def parse_json_lines(text: str) -> list[dict[str, Any]]:
    """Parse one JSON object per line; anything else in the text (a CLI's warning) is an error that shows the line."""
    rows: list[dict[str, Any]] = []
    for line in lines_of(text):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DockerError(f"docker printed a line that is not JSON: {line[:200]}") from error
        if not isinstance(row, dict):
            raise DockerError(f"docker printed a line that is not a JSON object: {line[:200]}")
        rows.append(row)
    return rows


def _drain(stream: IO[bytes], into: list[bytes]) -> None:
    """All of it is read, and the beginning is kept."""
    while data := stream.read1(2**16):  # type: ignore[attr-defined]
        if sum(map(len, into)) < 2**16:
            into.append(data)


def _title(args: tuple[str, ...]) -> str:
    """The command's name without options and operands: those may be long, and say nothing to a user."""
    words: list[str] = []
    for word in args:
        if word.startswith("-") or len(words) == 2:
            break
        words.append(word)
    return " ".join(["docker", *words])
