"""The launcher's options, and its course."""

from __future__ import annotations

import argparse
import os
import sys

from . import stacks
from .child import Child
from .files import OWN, Unfit
from .log import Log, say
from .peers import Peer, bound_server
from .ranks import Bystander, First, Follower
from .stall import Watch
from .store import Store

EXIT_FAILED = 1


def options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher", allow_abbrev=False)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--hosts", default="", help="the ranks' names, with commas")
    parser.add_argument("--port", type=int, default=22355)
    parser.add_argument("--listen", default="", help="the address to listen on; empty is all of this container's")
    parser.add_argument("--results", default="", help="the directory in the volume; none keeps nothing")
    parser.add_argument("--snapshots", choices=["shared", "rank0"], default="rank0")
    parser.add_argument("--secret_file", default="", help="the file with the job's secret")
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for the other ranks")
    parser.add_argument("--log_max_mb", type=float, default=0, help="of this rank's logs in the volume; 0 keeps none")
    parser.add_argument(
        "--stacks", default="", help="a directory in memory, by which the ranks' processes can be asked where they are"
    )
    parser.add_argument(
        "--stall_minutes",
        type=float,
        default=0,
        help="without progress, after which rank 0 says who hangs; 0 never does",
    )
    parser.add_argument("command", nargs="+")
    return parser.parse_args(words)


def peers_of(asked: argparse.Namespace) -> list[Peer]:
    """One for each rank. None, where there is nobody to talk to."""
    hosts = asked.hosts.split(",")
    if not asked.results or len(hosts) < 2:
        return []
    with open(asked.secret_file, "rb") as file:
        secret = file.read().strip()
    if len(secret) < 32:
        raise Unfit(f"the secret in {asked.secret_file} is shorter than 32 bytes")
    return [Peer(rank, host, asked.port, secret) for rank, host in enumerate(hosts)]


def part(asked: argparse.Namespace, peers: list[Peer]) -> First | Follower | Bystander | None:
    """What this rank does beside its command. None, where there is nobody to do it with."""
    if not peers:
        return None
    secret, shared = peers[0].secret, asked.snapshots == "shared"
    made: First | Follower | Bystander
    try:
        store = Store(asked.results)
        if asked.rank == 0:
            made = First(store, peers[1:], shared, asked.patience)
        else:
            made = Follower(store, asked.rank, peers[0], shared, asked.patience)
    except OSError as error:
        say(f"nothing is brought here from other ranks, or kept for them: {error.strerror}: {error.filename}")
        made = Bystander(asked.rank, peers[0])
    bound_server((asked.listen, asked.port), secret, made)
    return made


def log_of(asked: argparse.Namespace) -> Log | None:
    if not asked.results or not asked.log_max_mb:
        return None
    try:
        return Log(os.path.join(asked.results, OWN, "logs"), int(asked.log_max_mb * 1e6))
    except OSError as error:
        say(f"there is no log in the volume: {error.strerror}: {error.filename}")
        return None


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    if len(words) == 2 and words[0] == "--dump":
        return stacks.dump(words[1])
    asked = options(words)
    log = log_of(asked)
    child = Child(log)
    # The name server may take long to say that a rank is not there yet. Of the environment the command gets none of it.
    environment = dict(os.environ)
    stacks.try_to_prepare(asked.stacks, environment)
    os.environ["RES_OPTIONS"] = "timeout:1 attempts:2"
    try:
        peers = peers_of(asked)
        beside = part(asked, peers)
        if asked.stacks:
            Watch(asked.stacks, asked.stall_minutes * 60, child, peers[1:], asked.rank == 0, asked.results)
        while True:
            child.cancelled = False
            if isinstance(beside, Follower):
                beside.end_child = child.end
            if beside:
                beside.begin()
            code = child.run(asked.command, environment)
            if not isinstance(beside, Follower) or not beside.superseded or child.stopping:
                break
            child.end_the_rest()
    except Unfit as error:
        say(f"{error}.")
        return EXIT_FAILED
    except OSError as error:
        say(
            f"rank {asked.rank} cannot begin: {error.strerror or error}"
            + (f": {error.filename}" if error.filename else "")
        )
        return EXIT_FAILED
    if log:
        log.close()
    if beside and (code == 0 or child.stopping):
        beside.end(child.stopping)
    return code
