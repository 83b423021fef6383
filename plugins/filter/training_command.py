"""Filter: the command that starts a rank, from the training's settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# Its arguments are pairs of a variable and a secret, --, and a command, in whose place it is gone. Each $ is doubled, for the command is part
# of a compose definition. What is read is only in the environment of the program.
READ_SECRETS = 'while [ "$$1" != -- ]; do __secret=$$(cat "/run/secrets/$$2") || exit; export "$$1=$$__secret"; shift 2; done; shift; exec "$$@"'


def words(value: Any) -> list[str]:
    """The words of a command: of a list its entries, of a text what a shell takes for words, with its quotes. ValueError if one is open."""
    return shlex.split(value) if isinstance(value, str) else [str(entry) for entry in value or []]


def world_size(ranks: list[Mapping[str, Any]]) -> str:
    """The processes of all ranks; empty where torchrun itself is to count a host's cores."""
    counts = [str(rank["processes"]) for rank in ranks]
    return str(sum(map(int, counts))) if all(count.isdecimal() for count in counts) else ""


def with_secrets(command: list[str], variables: Mapping[str, Any]) -> list[str]:
    """The command, started with the secrets in its environment. `variables` has the names of secrets by those of variables."""
    pairs = [str(word) for pair in sorted(variables.items()) for word in pair]
    return ["sh", "-c", READ_SECRETS, "sh", *pairs, "--", *command] if pairs else command


def training_command(settings: Mapping[str, Any], ranks: list[Mapping[str, Any]], rank: int, master: str) -> list[str]:
    """The words for one rank. `settings` are variables by their names, `ranks` those of gpu_plan, `master` the address of rank 0.

    An AnsibleFilterError says that training_command asks for a world size that nobody knows before the start.
    """
    processes, port = str(ranks[rank]["processes"]), str(settings["training_master_port"])
    own = words(settings["training_command"])
    secrets = settings["training_secret_env"]
    if own:
        places = {
            "{rank}": str(rank),
            "{hosts}": str(len(ranks)),
            "{processes}": processes,
            "{world_size}": world_size(ranks),
            "{master_addr}": master,
            "{master_port}": port,
        }
        if not places["{world_size}"] and any("{world_size}" in word for word in own):
            raise AnsibleFilterError(
                "training_command asks for {world_size}, which is known only where training_nproc_per_node is a number, or 'gpu' with "
                "GPUs on every host: set it to a number."
            )
        for place, value in places.items():
            own = [word.replace(place, value) for word in own]
        return with_secrets(own, secrets)
    torchrun = [
        "torchrun",
        f"--nproc_per_node={processes}",
        f"--nnodes={len(ranks)}",
        f"--node_rank={rank}",
        f"--master_addr={master}",
        f"--master_port={port}",
        f"--rdzv_conf=timeout={settings['training_rendezvous_timeout']}",
        # --tee is not added for several processes: torchrun writes all that they print into files of the container first, without a bound.
        *words(settings["training_torchrun_args"]),
        # Without it, torchrun takes what looks like an option of its own from the script's arguments, even shortened.
        "--",
        str(settings["training_script"]),
        *words(settings["training_args"]),
    ]
    return with_secrets(torchrun, secrets)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"training_command": training_command}
