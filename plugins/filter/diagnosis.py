"""Filters: one sentence about a job, what it stands on, and what is done next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.diagnose.pace import moves, slowest
from ..module_utils.diagnose.reasons import host_words
from ..module_utils.diagnose.verdict import Verdict, fields, items, judge, several
from ..module_utils.text import printable


def diagnosis(job: Mapping[str, Any], answers: Mapping[str, Any], at: str) -> dict[str, Any]:
    """`job` is that of swarm_jobs_info, `answers` has by host what rank_stacks returned there, or why it did not.

    Of the result, `sentence` is for people, `given` what it was made of.
    """
    given = []
    for rank in job["ranks"]:
        number, host = rank["rank"], str(rank["host"])
        answer = answers.get(host)
        answer = answer if isinstance(answer, Mapping) else {}
        told = next((one for one in answer.get("ranks") or [] if one.get("rank") == number), None)
        if told is None:
            failed = answer.get("unreachable") or answer.get("failed")
            said = str(answer.get("msg", "")).splitlines()[:1]
            why = f"{host or 'its host'} does not answer: {said[0] if said else 'it takes no part in this run'}"
            if answer and not failed:
                exit_code = f" with exit code {rank['exit_code']}" if rank.get("exit_code") is not None else ""
                why = f"there is no container of it on {host}; swarm calls it {rank['state']}{exit_code}"
            told = {"why": why}
        given.append({"rank": number, "host": host, **{name: told[name] for name in ("record", "why") if name in told}})
    slow, pace = slowest(given)
    over = ended(job)
    shown = (over or slow or judge(given)).shown()
    if not over:
        shown["sentence"] = f"{moves(pace, str(job['name']))} {shown['sentence']}".lstrip()
    loads = {str(rank["host"]): load_of(answers.get(str(rank["host"])), given) for rank in job["ranks"] if rank["host"]}
    if slow and shown["kind"] == slow.kind:
        hosts = list(dict.fromkeys(shown["hosts"]))
        others = [facts for host, facts in loads.items() if host not in hosts]
        told = [words for host in hosts[:4] if (words := host_words(host, loads.get(host, {}), others))]
        shown["sentence"] = " ".join([shown["sentence"], *told])
    shown["sentence"] = str(printable(shown["sentence"]))
    without_times(given)
    return {
        "schema": 1,
        "job": str(job["name"]),
        "time": at,
        **shown,
        "over": is_over(job),
        "pace": pace.shown() if pace else {},
        "loads": loads,
        "given": given,
    }


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether no rank of it runs, or is about to."""
    return job.get("state") in ("complete", "stopped") or (job.get("state") == "failed" and not job["busy"])


def ended(job: Mapping[str, Any]) -> Verdict | None:
    """What swarm says of a job that is over, or that has failed for good; None of any other."""
    name, count = job["name"], len(job["ranks"])
    if job.get("state") == "complete":
        its = f"each of its {count} ranks" if count > 1 else "its rank"
        return Verdict("finished", f"{name} has finished: {its} has ended well, and none hangs.")
    if job.get("state") == "stopped":
        return Verdict("not running", f"{name} is stopped: none of its ranks runs, so none hangs.")
    failed = [rank for rank in job["ranks"] if rank["failed"]] if job.get("state") == "failed" else []
    if not failed:
        return None
    first, names = failed[0], [f"rank {rank['rank']} on {rank['host'] or 'no host'}" for rank in failed]
    code = f"exit code {first['exit_code']}" if first["exit_code"] is not None else ""
    why = f" ({first['error'] or code})" if first["error"] or code else ""
    return Verdict(
        "failed",
        f"{name} has failed, and is not started again: {several(names)} {'has' if len(names) == 1 else 'have'} failed{why}. "
        + ("None of its ranks runs." if is_over(job) else "Other ranks still run."),
        ranks=[rank["rank"] for rank in failed[:16]],
        hosts=[str(rank["host"]) for rank in failed[:16]],
    )


def load_of(answer: Any, given: list[dict[str, Any]]) -> dict[str, Any]:
    """What a host was busy with, and how much its ranks were kept from their processors."""
    facts = fields(fields(answer).get("load"))
    numbers = {fields(one).get("rank") for one in items(fields(answer).get("ranks"))}
    shares = [fields(one.get("record")).get("throttled") for one in given if one["rank"] in numbers]
    return (
        {**facts, "throttled": max((share for share in shares if isinstance(share, (int, float))), default=0.0)}
        if facts
        else {}
    )


def without_times(given: list[dict[str, Any]]) -> None:
    """They are many, and are no longer needed."""
    for one in given:
        for process in map(fields, items(fields(one.get("record")).get("processes"))):
            for group in map(fields, fields(fields(process.get("collectives")).get("groups")).values()):
                group.pop("times", None)


def host_events(hosts: list[str], answers: Mapping[str, Any]) -> list[dict[str, str]]:
    """What hosts said of themselves, each with its `host`. `answers` has by host what host_events_info returned."""
    found = []
    for host in hosts:
        answer = answers.get(host)
        for event in (answer.get("events") or [])[:12] if isinstance(answer, Mapping) else []:
            found.append(
                {"host": host, **{name: str(printable(str(event.get(name, "")))) for name in ("time", "what", "line")}}
            )
    return found


def event_words(event: Mapping[str, str]) -> str:
    return f"{event['host']} says of itself, at {event['time']}: {event['what']} ({event['line']})"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"diagnosis": diagnosis, "host_events": host_events, "event_words": event_words}
