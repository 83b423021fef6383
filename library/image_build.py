#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: an image built from a context that was shipped as an archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build an image from the archive of its context
description:
  - Gives docker the archive as it is. Of a folder, BuildKit would take a file for the one that it was given before if its path, size
    and time are the same, and the time is the same in every context here (fsutil, sameFile in diff_containerd.go).
  - The classic builder leaves each stage as an image without a name. Those with the label C(io.ddp-swarm.stage) are removed after the
    build, C(program) at once, since the next program makes another, and C(packages) beyond O(keep).
  - What the build did is told step by step, with the seconds that each step took; where it fails, with the failing step's output.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  tags:
    description:
      - Names for the image. The first, without its tag, is also the image's label C(io.ddp-swarm.image), by which
        C(image_state) knows it as one of ours.
    type: list
    elements: str
    required: true
  context:
    description: The archive of the context, as a file on the host.
    type: path
  archive:
    description: The archive of the context itself, compressed with gzip, in base64.
    type: str
  args:
    description:
      - Build arguments. They reach docker in its environment, where only root can read them, and not in its command line. What is secret in
        them, such as the password in a URL, is in no result and in no log.
    type: dict
    default: {}
  builder:
    description: Which builder to use.
    type: str
    choices: [buildkit, classic]
    required: true
  keep:
    description: How many stages with packages are to stay, the last ones made. 0 keeps all.
    type: int
    default: 0
  progress:
    description: A file in which each step is written as it begins, for others to read.
    type: path
"""

EXAMPLES = r"""
- name: Build the image
  image_build:
    tags: [my-ddp-trainer:0123456789ab]
    context: /var/lib/ddp-swarm/context.tar
    builder: classic
"""

RETURN = r"""
steps:
  description: One line for each step, such as C(RUN make (12.3 s)), or C(RUN make (cached)).
  returned: always
  type: list
  elements: str
"""

import base64
import gzip
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from ..module_utils.docker.cli import DockerCli
from ..module_utils.image.layers import streamed
from ..module_utils.masking import mask
from ..module_utils.names import OWN_LABEL, STAGE_LABEL
from ..module_utils.reporting import ReportingModule, tell
from ..module_utils.text import printable

# On the stages of training/Dockerfile: packages, and program.
LAST_LINES = 25
CLASSIC_STEP = re.compile(r"Step \d+/\d+ : (.*)")
BUILDKIT_STEP = re.compile(r"#(\d+) (\[.*?\d+/\d+\] .*|exporting layers.*)")
# Steps that only write into the image's settings, and the options of an instruction.
SETS = re.compile(r"^(?:Step \d+/\d+ :|\[.*?\d+/\d+\]) (?:LABEL|ENV|ARG|WORKDIR)\b")
OPTIONS = re.compile(r"\b(RUN|COPY|ADD|FROM)(?: --\S+)+(?= )")
BUILDKIT_END = re.compile(r"#(\d+) (DONE ([\d.]+)s|CACHED|exporting layers ([\d.]+)s done)")


class BuildModule(ReportingModule):  # type: ignore[misc,unused-ignore]
    """Keeps the context, in base64, out of the host's log and of the result."""

    logs = False

    def secrets_in(self, params: dict[str, Any]) -> list[str]:
        hidden: dict[str, int] = {}
        mask(params.get("args"), hidden)
        return list(hidden)

    def shown_params(self) -> dict[str, Any]:
        return {name: value for name, value in super().shown_params().items() if name != "archive"}


def tell_step(progress: str | None, step: str) -> None:
    """One that takes time, without its options."""
    if not SETS.search(step):
        tell(progress, OPTIONS.sub(r"\1", step))


def follow(stream: IO[str], progress: str | None = None) -> tuple[list[str], list[str]]:
    """Read a build's output as it comes; returns its steps, and its lines. Each step that begins is told."""
    lines: list[str] = []
    steps: dict[str, str] = {}
    ends: dict[str, str] = {}
    current, began = "", time.monotonic()
    for raw in stream:
        line = printable(raw).rstrip()
        lines.append(line)
        classic, end, step = CLASSIC_STEP.match(line), BUILDKIT_END.match(line), BUILDKIT_STEP.match(line)
        if classic or line.startswith("Successfully built"):
            if current:
                ends.setdefault(current, f"{time.monotonic() - began:.1f} s")
            current, began = str(len(steps)), time.monotonic()
            if classic:
                steps[current] = classic.group(1)
                tell_step(progress, line)
        elif line == " ---> Using cache":
            ends[current] = "cached"
        elif end:
            ends[end.group(1)] = "cached" if end.group(2) == "CACHED" else f"{end.group(3) or end.group(4)} s"
        elif step and step.group(1) not in steps:
            steps[step.group(1)] = step.group(2)
            tell_step(progress, step.group(2))
    return [f"{text[:100]} ({ends.get(key, 'not finished')})" for key, text in steps.items()], lines


@contextmanager
def opened(context: str | None, archive: str | None) -> Iterator[IO[bytes]]:
    if context:
        with open(context, "rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as stream:
        stream.write(gzip.decompress(base64.b64decode(archive or "")))
        stream.seek(0)
        yield stream


def remove_stages(docker: DockerCli, keep: int) -> None:
    docker.run("image", "prune", "--force", f"--filter=label={STAGE_LABEL}=program", check=False)
    packages = [f"--filter=label={STAGE_LABEL}=packages", "--filter=dangling=true"]
    # The last made come first.
    old = docker.run("image", "ls", "--quiet", *packages, check=False).stdout.split()[keep:] if keep else []
    if old:
        docker.run("image", "rm", *old, check=False)


def main() -> None:
    module = BuildModule(
        argument_spec={
            "tags": {"type": "list", "elements": "str", "required": True},
            "context": {"type": "path"},
            "archive": {"type": "str"},
            "args": {"type": "dict", "default": {}},
            "builder": {"type": "str", "choices": ["buildkit", "classic"], "required": True},
            "keep": {"type": "int", "default": 0},
            "progress": {"type": "path"},
        },
        mutually_exclusive=[("context", "archive")],
        required_one_of=[("context", "archive")],
        supports_check_mode=False,
    )
    buildkit = module.params["builder"] == "buildkit"
    # Without its value in the command line, docker takes an argument from the environment (ValidateEnv in docker/cli's opts).
    arguments = {name: str(value) for name, value in module.params["args"].items()}
    command = [str(module.get_bin_path("docker", required=True)), "build"]
    command += [f"--tag={tag}" for tag in module.params["tags"]]
    command += [f"--label={OWN_LABEL}={module.params['tags'][0].rsplit(':', 1)[0]}"]
    command += [f"--build-arg={name}" for name in arguments]
    command += ["--progress=plain", "-"] if buildkit else ["-"]
    try:
        with (
            opened(module.params["context"], module.params["archive"]) as archive,
            streamed(
                command,
                env={**os.environ, **arguments, "DOCKER_BUILDKIT": str(int(buildkit)), "LC_ALL": "C"},
                stdin=archive,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                errors="replace",
            ) as process,
        ):
            assert process.stdout
            steps, lines = follow(process.stdout, module.params["progress"])
    except OSError as error:
        module.fail_json(msg=f"The build context cannot be read: {error}.", steps=[])
    if process.returncode:
        module.fail_json(msg="The build failed. The last lines:\n" + "\n".join(lines[-LAST_LINES:]), steps=steps)
    if not buildkit:
        remove_stages(DockerCli(module), module.params["keep"])
    module.exit_json(changed=True, steps=steps)


if __name__ == "__main__":
    main()
