"""Filter: one sentence about a job, and what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.diagnose.verdict import judge
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
    verdict = judge(given)
    shown = verdict.shown()
    shown["sentence"] = str(printable(shown["sentence"]))
    return {"schema": 1, "job": str(job["name"]), "time": at, **shown, "given": given}


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
