"""The launcher's options, and its course."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from . import first_step, growth, room, stacks
from .child import Child
from .clock import Clock
from .files import OWN, Unfit
from .log import Log, say
from .origin import container, deployment
from .peers import Peer, bound_server
from .ranks import Bystander, First, Follower
from .stall import Watch
from .store import Store

if TYPE_CHECKING:
    from .notify import Notifier

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
    parser.add_argument("--job", default="", help="the job's name, for who is told of it")
    parser.add_argument(
        "--notify_file", default="", help="a file with whom to tell how the job goes; none tells nobody"
    )
    parser.add_argument(
        "--notify_stall", type=float, default=0, help="minutes without output after which it is told; 0 is never"
    )
    parser.add_argument(
        "--restarts", type=int, default=0, help="how often swarm starts a rank again, for who is told of it"
    )
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


def part(
    asked: argparse.Namespace, peers: list[Peer], notifier: Notifier | None
) -> First | Follower | Bystander | None:
    """What this rank does beside its command. None, where there is nobody to do it with."""
    if not peers:
        return None
    shared = asked.snapshots == "shared"
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
    server = bound_server((asked.listen, asked.port), peers[0].secret, made)
    if notifier:
        server.heard = notifier.heard
    return made


def log_of(asked: argparse.Namespace) -> Log | None:
    if not asked.results or not asked.log_max_mb:
        return None
    try:
        about = {"container": container(), "deployed": deployment(asked.secret_file)}
        return Log(os.path.join(asked.results, OWN, "logs"), int(asked.log_max_mb * 1e6), about)
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
    if asked.stacks and asked.results:
        stacks.keep_dumps(asked.results, environment)
    os.environ["RES_OPTIONS"] = "timeout:1 attempts:2"
    notifier = None
    try:
        peers = peers_of(asked)
        if asked.notify_file:
            from .notify import notifier_of  # with an HTTP client, which takes a moment to load

            notifier = notifier_of(asked, peers, child.output, os.path.join(asked.results, OWN))
        if notifier:
            notifier.began()
        if asked.results and asked.rank == 0 and room.is_full(asked.results):
            raise Unfit(f"rank 0 does not start: {room.sentence(asked.results)}")
        beside = part(asked, peers, notifier)
        if asked.results:
            growth.watch(asked.results, os.path.join(asked.results, OWN))
        if asked.stacks:
            clock = Clock(asked.stacks, asked.rank, peers[0] if peers else None)
            watch = Watch(asked.stacks, asked.stall_minutes * 60, child, peers[1:], asked.rank == 0, asked.results)
            first_step.watch(asked.stacks, asked.rank, child)
            if notifier:
                notifier.verdict, notifier.ahead = watch.sentence, clock.ahead
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
        return unable(f"{error}.", notifier)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return unable(f"rank {asked.rank} cannot begin: {error.strerror or error}{where}", notifier)
    if log:
        log.close()
    lines = child.output.last()
    if asked.results and code and not child.stopping and room.ended_by(asked.results, lines):
        lines = [*lines, f"rank {asked.rank} ended with exit code {code}: {room.sentence(asked.results)}."]
        say(lines[-1])
    if notifier:
        notifier.ended(code, child.stopping, lines)
    if beside and (code == 0 or child.stopping):
        beside.end(child.stopping)
    if notifier:
        notifier.close()
    return code


def unable(why: str, notifier: Notifier | None) -> int:
    say(why)
    if notifier:
        notifier.unable(why)
        notifier.close()
    return EXIT_FAILED
