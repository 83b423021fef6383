"""The subcommands of ./ddp. Each runs the playbook that it prints."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from ansible_collections.ddp.swarm.plugins.module_utils.typed import near, typed
from rich.console import Console

from . import ROOT
from . import board as boarding
from . import look as looking
from . import tunnel as tunneling
from . import watch as watching
from .command import LAB, Settings, Usage, command, inventories
from .options import Job, Jobs, with_settings
from .run import Done, attended, unattended

app = typer.Typer(
    name="ddp",
    help="From SSH access to a few Linux machines to a running PyTorch DDP job. Each command runs a playbook, and prints the command for it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERVAL = 5.0


def subcommand(example: str) -> Callable[[Callable[..., int]], Callable[..., None]]:
    def add(function: Callable[..., int]) -> Callable[..., None]:
        made = with_settings(function)
        # Given, because typer would cut what it takes from the docstring.
        short = (function.__doc__ or "").split(" (")[0].split(". ")[0].rstrip(".")
        app.command(function.__name__, epilog=f"Example: {example}", short_help=short)(made)
        return made

    return add


def play(
    settings: Settings, playbook: str, variables: dict[str, Any] | None = None, inventory: list[str] | None = None
) -> int:
    """Runs a playbook for a person, or for a program that asks for JSON."""
    words = command(settings, playbook, inventory, **(variables or {}))
    if settings.json:
        refuse_to_ask(settings)
    say_command(words)
    if not settings.json:
        refuse_limit(settings, words)
        return 1 if attended(words) else 0
    done = unattended(words)
    watching.print_json(result(sys.argv[1:2], words, done), 2)
    return 1 if done.rc else 0


def result(name: list[str], words: list[str], done: Done) -> dict[str, Any]:
    """What a program reads of a run. `schema` changes when a field is renamed or goes."""
    return {
        "schema": 1,
        "command": "".join(name),
        "run": typed(words, ROOT),
        "state": "failed" if done.rc else "done",
        "rc": done.rc,
        "seconds": round(done.seconds, 1),
        "changed": done.changed,
        "failures": done.failures,
        "message": done.sentence,
    }


def say_command(words: list[str]) -> None:
    """Beside the output, so that this can be read by a program."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"$ {typed(words, ROOT)}", style="dim", markup=False)


def refuse_to_ask(settings: Settings) -> None:
    if settings.asks:
        raise Usage(
            f"{settings.asks} asks for a password, which this command cannot: name a file with --become-password-file, "
            "--connection-password-file or --vault-password-file."
        )


def refuse_limit(settings: Settings, words: list[str]) -> None:
    """Ansible's own words for one that fits no host are shown before any plugin of ours is asked."""
    # What asks for a password would ask twice.
    if settings.limit and not settings.asks:
        sentence = unattended([*words, "--list-hosts"]).sentence
        if (said := looking.explained(sentence, words)) != sentence:
            raise Usage(said)


def named(job: str, **more: Any) -> dict[str, Any]:
    """Variables: the job's name if one is given, and of the others those that are set."""
    return {name: value for name, value in {"training_stack": job, **more}.items() if value}


@subcommand("ddp up --wait -e 'training_args=14 2'")
def up(
    settings: Settings,
    job: Job = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until the training has ended, and fetch the results.")] = False,
) -> int:
    """Bring the machines from nothing to a running job, or repair what is broken (site.yml)."""
    return play(settings, "site.yml", named(job, training_wait_for="complete" if wait else ""))


@subcommand("ddp preflight --limit host1,host2")
def preflight(settings: Settings, job: Job = "") -> int:
    """Check the network, GPUs and image on every rank (playbooks/preflight.yml)."""
    return play(settings, "playbooks/preflight.yml", named(job))


@subcommand("ddp status --json")
def status(settings: Settings, jobs: Jobs = None) -> int:
    """Show all jobs and their ranks. Exits with 0 (done), 1 (failed) or 3 (running)."""
    refuse_to_ask(settings)
    words = looking.status_command(settings)
    say_command(words)
    seen = looking.look(words, jobs or [])
    if seen.problem:
        raise watching.Unanswered(seen.problem)
    told = looking.Memory().take(seen)
    if settings.json:
        watching.print_json(watching.document("status", seen.at, told, seen.nodes), 2)
    else:
        watching.show(Console(), told, seen.nodes)
    return looking.EXIT[looking.outcome(told)]


@subcommand("ddp watch simple-training")
def watch(
    settings: Settings,
    jobs: Jobs = None,
    interval: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between two looks.")] = INTERVAL,
) -> int:
    """Watch jobs until they end; Ctrl-C leaves and the jobs go on. Exits with 0 (done), 1 (failed) or 3 (running)."""
    refuse_to_ask(settings)
    words = looking.status_command(settings)
    say_command(words)
    return watching.watch(terminal(), words, jobs or [], interval, settings.json)


@subcommand("ddp logs simple-training --rank 1 --follow")
def logs(
    settings: Settings,
    job: Job = "",
    rank: Annotated[int, typer.Option(min=-1, help="Of one rank.", show_default=False)] = -1,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=5000, help="How many of each rank.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends, or Ctrl-C.")] = False,
) -> int:
    """Show what the ranks wrote last. All of it: ddp collect. Exits with 0 (done), 1 (failed) or 3 (running)."""
    refuse_to_ask(settings)
    words = looking.status_command(settings, lines, False)
    say_command(words)

    def shown(name: str, number: int, line: dict[str, Any]) -> None:
        if settings.json:
            watching.print_json({"job": name, "rank": number, **line})
        else:
            print(line["text"] if rank >= 0 else f"node{number}: {line['text']}", flush=True)

    def chosen(_job: str, number: int) -> bool:
        return rank in (-1, number)

    if follow:
        return watching.follow_logs(watching.Looker(words, [job] if job else [], INTERVAL), chosen, shown)
    seen = looking.look(words, [job] if job else [])
    if seen.problem:
        raise watching.Unanswered(seen.problem)
    if len(seen.jobs) > 1:
        raise Usage(f"Of which job? The swarm has {', '.join(one['name'] for one in seen.jobs)}.")
    ranks = [one["rank"] for one in seen.jobs[0]["ranks"]] if seen.jobs else []
    if rank >= 0 and ranks and rank not in ranks:
        raise Usage(f"{seen.jobs[0]['name']} has no rank {rank}; its ranks are {ranks[0]} to {ranks[-1]}.")
    memory = looking.Memory()
    told = memory.take(seen)
    for name, number, line in memory.fresh:
        if chosen(name, number):
            shown(name, number, line)
    return looking.EXIT[looking.outcome(told)]


@subcommand("ddp diagnose simple-training")
def diagnose(settings: Settings, job: Job = "") -> int:
    """Say which rank of a job hangs, and on which line (playbooks/diagnose.yml)."""
    return play(settings, "playbooks/diagnose.yml", named(job))


@subcommand("ddp stop simple-training")
def stop(
    settings: Settings,
    job: Job = "",
    every: Annotated[bool, typer.Option("--all", help="Every job of the swarm.")] = False,
) -> int:
    """Stop a job with time to save, and collect it; ddp up goes on from there (playbooks/stop.yml)."""
    if every and job:
        raise Usage("--all stops every job: leave the name out, or --all.")
    if job and not settings.check and not settings.asks:
        # Where there is no such job, that is said as `ddp status` says it.
        looking.look(looking.status_command(settings), [job])
    return play(settings, "playbooks/stop.yml", named(job, all=every))


@subcommand("ddp collect simple-training")
def collect(settings: Settings, job: Job = "") -> int:
    """Fetch logs, snapshot and metrics, also while it trains (playbooks/collect.yml)."""
    return play(settings, "playbooks/collect.yml", named(job))


@subcommand("ddp report simple-training")
def report(settings: Settings, job: Job = "") -> int:
    """Make one page of what was fetched: artifacts/JOB/report.html (playbooks/report.yml)."""
    try:
        inventory = inventories(settings.inventory)
    except Usage:
        if settings.inventory:
            raise
        inventory = ["localhost,"]  # it asks no host
    return play(settings, "playbooks/report.yml", named(job), inventory)


@subcommand("ddp board simple-training --port 6007")
def board(
    settings: Settings,
    job: Job = "",
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Of this machine, on its loopback address.")] = 6006,
    every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between two fetches.")] = 30.0,
) -> int:
    """Show a job's curves in TensorBoard, also while it trains, until Ctrl-C (playbooks/board.yml)."""
    refuse_to_ask(settings)
    if settings.json or settings.check:
        raise Usage(f"A board is to be looked at: leave {'--json' if settings.json else '--check'} out.")
    words = command(settings, "playbooks/board.yml", **named(job))
    say_command(words)
    return boarding.board(words, job, every, port, lambda text: print(text, flush=True))


@subcommand("ddp monitoring --port 3001")
def monitoring(
    settings: Settings,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Of this machine, for Grafana.")] = 3000,
    prometheus_port: Annotated[int, typer.Option(min=1024, max=65535, help="Of this machine, for Prometheus.")] = 9090,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it, and keep what Prometheus has stored.")] = False,
) -> int:
    """Run Prometheus and Grafana beside the jobs, and open a tunnel to them until Ctrl-C (playbooks/monitoring.yml)."""
    if remove:
        return play(settings, "playbooks/monitoring.yml", {"monitoring_state": "absent"})
    if settings.json or settings.check:
        return play(settings, "playbooks/monitoring.yml")
    refuse_to_ask(settings)
    words = command(settings, "playbooks/monitoring.yml")
    say_command(words)
    ports = {"grafana": port, "prometheus": prometheus_port}
    return tunneling.monitoring(words, ports, lambda text: print(text, flush=True))


@subcommand("ddp down --volumes")
def down(
    settings: Settings,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove the volumes with snapshots, too.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the images and what else was installed, too, but no volume.")
    ] = False,
) -> int:
    """Take the jobs and the swarm down, and keep the snapshots (playbooks/teardown.yml)."""
    return play(settings, "playbooks/teardown.yml", named("", teardown_volumes=volumes, teardown_all=everything))


@subcommand("ddp demo && ddp report")
def demo(
    settings: Settings,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the demo's hosts, disks and network.")] = False,
) -> int:
    """Make two hosts out of containers on this machine, and train on them to the end (playbooks/lab.yml, site.yml)."""
    if settings.inventory:
        raise Usage("The demo makes an inventory of its own: leave -i out.")
    if remove:
        return play(settings, "playbooks/lab.yml", {"lab_state": "absent"}, ["localhost,"])
    # A limit or a check is about the training, not about the machine that makes the hosts.
    hosts = Settings(extra=settings.extra, verbose=settings.verbose, json=settings.json)
    failed = play(hosts, "playbooks/lab.yml", None, ["localhost,"])
    return failed or play(settings, "site.yml", {"training_wait_for": "complete"}, [near(LAB)])


def terminal() -> Console:
    """One that may be resized. What a shell has exported is of before, and rich would go by it."""
    if sys.stdout.isatty():
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
    return Console()


def main() -> int:
    """Exit codes: 0 done, 1 failed, 2 usage, 3 still running, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to end
    try:
        app(prog_name="ddp")
    except Usage as error:
        return complain(str(error), 2)
    except watching.Unanswered as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return 130
    return 0


def complain(text: str, code: int) -> int:
    Console(stderr=True, soft_wrap=True, highlight=False).print(text, style="red", markup=False)
    return code
