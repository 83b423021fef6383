"""The page: what the artifacts hold is on it, and what they hold is text."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.module_utils.report import charts, page, stack
from ansible_collections.ddp.swarm.plugins.module_utils.report.metrics import Series
from by_path import ROOT
from report_artifacts import BEGAN, TEMPLATES, attempt, event, failed_log, lines, made, preflight, put

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\x1b[2J\u202e</pre></style><!--"
STACK: dict[str, Any] = {
    "services": {
        f"node{rank}": {
            "command": ["python3", "/ddp-launcher", f"--rank={rank}", "--snapshots=rank0", "--", "torchrun", "--nproc_per_node=2", "--nnodes=2", f"--node_rank={rank}", "--master_addr=node0",
                        "--master_port=12355", "--rdzv_conf=timeout=60", "--tee", "--", "train.py", "--note", "two words"],
            "image": "registry:5000/trainer:0123456789ab",
            "environment": {"DDP_BACKEND": "gloo", "DDP_TIMEOUT": "90", "NCCL_IB_DISABLE": "1", "MY_TOKEN": "********"},
            "deploy": {"restart_policy": {"max_attempts": 3}, "resources": {"limits": {"memory": "8G"}}},
            "volumes": [{"type": "volume", "source": "snapshots", "target": "/snapshots"}, {"target": "/dev/shm", "type": "tmpfs"}],
        }
        for rank in range(2)
    }
}  # fmt: skip


def whole_job(root: Path) -> Path:
    return put(
        root,
        **{
            "metrics.jsonl": lines(*attempt(0, after=5)),
            "metrics-rank1.jsonl": lines(*attempt(1, after=5)),
            "node0.log": "epoch 0 | loss: 1\n",
            "node1.log": "[GPU1] <b>\n",
            "preflight.json": preflight([None, 528.4], [1203.0, None]),
            "stack.yml": yaml.safe_dump(STACK),
            ".ddp-swarm__run_id": "20270115T080000Z\n",
            ".ddp-swarm__logs__node0.20270115T080001.000000000001.log": "fine\n",
        },
    )


def test_the_points_drawn_are_those_of_the_metrics(root: Path) -> None:
    found = made(whole_job(root))
    assert found.chart("Loss").count("<circle") == 4 + 4 + 2 * 40
    assert found.chart("Learning rate").count("<circle") == 4
    assert found.chart("Accuracy").count("<circle") == 4
    assert found.chart("Throughput").count("<circle") == 2 * 4
    assert "loss, each step, rank 1: 41 at step 1</title>" in found.chart("Loss")


def test_axes_and_ends_of_logs_are_named(root: Path) -> None:
    found = made(whole_job(root))
    assert ">by step, logarithmic<" in found.chart("Loss")
    assert "epoch 0 | loss: 1" in found.text()
    put(root, **{"metrics.jsonl": '{"epoch": 1, "loss": 2}\n{"epoch": 2, "loss": 1}\n'})
    (root / "metrics-rank1.jsonl").unlink()
    assert ">by epoch<" in made(root).chart("Loss")


def test_long_curves_are_thinned_and_it_is_said(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(*(event("step", step=step, loss=1 / step) for step in range(1, 5001)))})
    chart = made(root).chart("Loss")
    drawn = re.search(r"([\d,]+) of 5,000 points are drawn", chart)
    (path,) = re.findall(r'<path d="(M[^"]+)" class="line reactive', chart)
    assert drawn
    assert int(drawn[1].replace(",", "")) == len(re.findall(r"-?[\d.]+ -?[\d.]+", path)) > 500
    assert "<circle" not in chart


def test_remarks_of_the_preflight_stand_beside_its_findings(root: Path) -> None:
    one = {"layer": 5, "rank": 1, "host": "host2", "check": "power", "observed": "200 W", "hint": "nvidia-smi -pl 400"}
    verdict = preflight([None, 1.0], [1.0, None])
    found = made(put(root, **{"preflight.json": verdict | {"remarks": [one]}}), "job")
    assert "Remarks" in found.text()
    assert "nvidia-smi -pl 400" in found.text()
    assert "Findings" not in found.text()
    assert "Remarks" not in made(put(root, **{"preflight.json": verdict}), "job").text()


def test_the_heat_map_has_the_pairs_of_the_preflight(root: Path) -> None:
    rates = [[None, 100.0, 200.0], [300.0, None, 400.0], [50.0, None, None]]
    put(root, **{"preflight.json": preflight(*rates)})
    found = made(root)
    table = found.raw.split('<table class="heat">')[1].split("</table>")[0]
    cells = [re.findall(r"<td.*?</td>", row) for row in table.split("<tr>")[2:]]
    for rank, row in enumerate(rates):
        for peer, rate in enumerate(row):
            cell = cells[rank][peer]
            if rank == peer:
                assert 'class="own"' in cell
            elif rate is None:
                assert ">–<" in cell
            else:
                assert f"<b>{rate:.0f}</b><small>{30 + peer}</small>" in cell
                assert f"--share:{100 * rate / 400:.1f}%" in cell
                assert f"host{rank + 1} to host{peer + 1}" in cell


def test_who_failed_first_is_said(root: Path) -> None:
    where = ".ddp-swarm__logs__node"
    whole_job(root)
    put(root, **{
        f"{where}0.20270115T080000.00000000000a.log": failed_log(0, 20.1, "RuntimeError: Connection closed by peer"),
        f"{where}1.20270115T080000.00000000000b.log": failed_log(1, 20.3, "ValueError: the data are not here"),
    })  # fmt: skip
    text = made(root).text()
    assert "rank 1 host2 failed first , at 08:00:20.300 UTC: ValueError: the data are not here." in text
    assert "RuntimeError: Connection closed by peer (it lost another rank)" in text


def test_where_no_rank_has_a_cause_the_silent_ones_are_named(root: Path) -> None:
    whole_job(root)
    where = ".ddp-swarm__logs__node0.20270115T080000.00000000000a.log"
    put(root, **{where: failed_log(0, 20.1, "RuntimeError: Connection closed by peer")})
    assert (
        "No rank names a cause of its own , at 08:00:20.100 UTC. Without a last word: rank 1 host2."
        in made(root).text()
    )


def noted(container: str, second: int, ahead: float, *events: str, why: str = "") -> dict[str, Any]:
    stamp = f"2027-01-15T08:00:{second:02}Z"
    said = [{"time": stamp, "what": what, "line": f"the kernel's line of: {what}"} for what in events]
    return {container: {"at": stamp[:-1], "offset": ahead, "error": 0.01, "events": said, "why": why}}


def test_what_collect_has_noted_of_clocks_and_hosts_decides_who_was_first(root: Path) -> None:
    """By its own clock rank 0 was first; it is 3 s behind."""
    where = ".ddp-swarm__logs__"
    whole_job(root)
    put(root, **{
        f"{where}node0.20270115T080000.00000000000a.log": failed_log(0, 20.1, "KeyError: 'x'"),
        f"{where}node1.20270115T080000.00000000000b.log": failed_log(1, 22.3, "ValueError: the data are not here"),
    })  # fmt: skip
    assert "rank 0 host1 failed first" in made(root).text()
    assert "Judged by the hosts' clocks" in made(root).text()
    put(root, **{
        f"{where}moment.node0.json": noted("00000000000a", 20, -3.0),
        f"{where}moment.node1.json": noted("00000000000b", 22, 0.0, "a GPU reported Xid 79", "<b>"),
    })  # fmt: skip
    text = made(root).text()
    assert "rank 1 host2 failed first , at 08:00:22.300 UTC: ValueError: the data are not here." in text
    assert "rank 1 host2 says of that moment" in text
    assert "08:00:22 a GPU reported Xid 79 (the kernel's line of: a GPU reported Xid 79)" in text
    assert "08:00:23.100" in text
    assert "Judged by the hosts' clocks, with what they differ by taken off" in text


def test_what_the_host_of_a_silent_rank_says(root: Path) -> None:
    """The kernel killed the whole container: its log has no last word."""
    whole_job(root)
    where = ".ddp-swarm__logs__"
    put(root, **{
        f"{where}node0.20270115T080000.00000000000a.log": failed_log(0, 20.1, "RuntimeError: Connection closed by peer"),
        f"{where}node1.20270115T080000.00000000000b.log": "step 1\n",
        f"{where}ended.node1.json": {"00000000000b": {"exit_code": 137, "finished": "2027-01-15T08:00:19.5Z"}},
        f"{where}moment.node1.json": noted("00000000000b", 19, 0.0, "the kernel killed 7 (python) for its memory"),
    })  # fmt: skip
    text = made(root).text()
    assert "Without a last word: rank 1 host2." in text
    assert "08:00:19 the kernel killed 7 (python) for its memory" in text


@pytest.mark.parametrize("text", ["", "[]", '{"00000000000a": 1}', '{"00000000000a": {"offset": "x", "events": 7}}'])
def test_a_note_of_an_odd_shape_is_none(root: Path, text: str) -> None:
    where = ".ddp-swarm__logs__"
    put(root, **{
        f"{where}node0.20270115T080000.00000000000a.log": failed_log(0, 20.1, "KeyError: 'x'"),
        f"{where}moment.node0.json": text,
    })  # fmt: skip
    assert "rank 0 failed first , at 08:00:20.100 UTC" in made(root).text()


def test_a_script_without_metrics_has_the_curves_of_its_log(root: Path) -> None:
    put(
        root,
        **{"node0.log": "".join(f"2027-01-15 08:00:{n:02} step {n} loss={1 / (n + 1)} acc: {n}%\n" for n in range(30))},
    )
    found = made(root)
    assert "There are no metrics." in found.text()
    assert found.chart("Loss").count("<circle") == 30
    assert found.chart("Accuracy").count("<circle") == 30
    assert "Lines of log" in found.raw


def test_runs_are_compared(root: Path) -> None:
    whole_job(root)
    for number, run in enumerate(("20270113T080000Z", "20270114T080000Z.1")):
        put(
            root,
            **{f"runs__{run}__metrics.jsonl": lines(*attempt(0, after=-86400 * (2 - number), until=20 + 10 * number))},
        )
    put(root, **{f"runs__{run}__logs__node0.20270114T080000.000000000001.log": failed_log(0, 30, "ValueError: x")})
    found = made(root)
    table = found.raw.split('id="runs"')[1].split("</table>")[0]
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert [(row[0], row[3], row[4], row[5], row[9], row[10]) for row in rows] == [
        ("20270115T080000Z", "2", "40", "1", "0", "finished"),
        ("20270114T080000Z.1", "1", "30", "1.333", "0", "failed"),
        ("20270113T080000Z", "1", "20", "2", "0", "finished"),
    ]
    compared = found.raw.split('id="runs"')[1].split("</section>")[0]
    assert compared.split("<figure")[1].count("<circle") == 4 + 3 + 2
    assert "20270113T080000Z: loss, each epoch" in compared


def test_what_it_takes_to_have_the_job_again(root: Path) -> None:
    found = made(whole_job(root))
    (_tag, settings), *_others = [text for text in found.texts if text[1].startswith("training_stack:")]
    known = yaml.safe_load((ROOT / "roles/training/defaults/main.yml").read_text())
    assert set(yaml.safe_load(settings)) <= set(known)
    assert yaml.safe_load(settings) == {
        "training_stack": "job",
        "training_snapshots": "rank0",
        "training_script": "train.py",
        "training_args": ["--note", "two words"],
        "training_torchrun_args": ["--tee"],
        "training_nproc_per_node": 2,
        "training_master_port": 12355,
        "training_rendezvous_timeout": 60,
        "training_backend": "gloo",
        "training_collective_timeout": 90,
        "training_nccl_ib": False,
        "training_env": {"MY_TOKEN": "********"},
        "training_max_restarts": 3,
        "training_memory": "8G",
        "training_mounts": [{"source": "snapshots", "target": "/snapshots", "type": "volume"}],
    }
    assert "ansible-playbook -i inventory site.yml -e @job.yml" in found.text()
    assert "train.py --note 'two words'" in found.text()
    assert "the same content has the tag 0123456789ab" in found.text()


def hostile_job(root: Path) -> Path:
    records = [
        *attempt(0),
        event("step", step=41, **{EVIL: 1.0, "loss": 1.0}),
        event(EVIL, step=42, loss=2.0, host=EVIL),
    ]
    verdict = preflight([None, 1.0], [1.0, None])
    verdict |= {
        "ok": False,
        "message": EVIL,
        "backend": EVIL,
        "findings": [{"check": EVIL, "hint": EVIL, "layer": 1}, 7],
        "remarks": [{"check": EVIL, "hint": EVIL, "layer": 1}, 7],
    }
    verdict["layers"][0]["name"] = EVIL
    verdict["pairs"][0] |= {"host": EVIL, "peer": EVIL}
    verdict["versions"] = [{"rank": 0, "host": EVIL, "torch": EVIL, "files_hash": EVIL}]
    evil_stack = json.loads(json.dumps(STACK))
    evil_stack["services"]["node0"] |= {"image": EVIL, "command": [EVIL], "environment": {EVIL: EVIL}}
    return put(root, **{
        "metrics.jsonl": lines(*records),
        "node0.log": f"loss: 1 | {EVIL}\n{EVIL} loss: 2\n",
        "preflight.json": verdict,
        "stack.yml": json.dumps(evil_stack),
        ".ddp-swarm__run_id": EVIL,
        ".ddp-swarm__logs__node0.20270115T080001.000000000001.log": failed_log(0, 5, f"ValueError: {EVIL}", first=f"{EVIL}\n"),
        "runs__{{x}}__metrics.jsonl": lines(*records),
        "runs__r1__metrics.jsonl": lines(*records),
        "runs__r1__stack.yml": json.dumps(evil_stack),
    })  # fmt: skip


@pytest.mark.parametrize("job", [hostile_job, whole_job])
def test_nothing_of_the_artifacts_is_markup_and_nothing_is_fetched(root: Path, job: Any) -> None:
    found = made(job(root), EVIL if job is hostile_job else "job")
    tags = {tag for tag, _attributes in found.elements}
    assert tags.isdisjoint({"script", "img", "iframe", "link", "object", "a", "form", "foreignobject", "image", "use"})
    for _tag, attributes in found.elements:
        assert not any(key.startswith("on") or key in ("src", "href", "xlink:href") for key in attributes)
        assert re.fullmatch(r"(?:(?:--share|left|width):[\d.]+%;?)*", attributes.get("style", ""))
    assert found.raw.count("<style") == 1
    styles = found.raw.split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", found.raw)
    (policy,) = found.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none';")


ODD = ["", "null", "7", "[]", '{"layers": 7}', '{"layers": [7, {"ranks": {"x": "ok", "0": 7}}], "pairs": 7}', "{" * 100_000,
       '{"layers": [], "pairs": [{"rank": 0, "peer_rank": 1, "bandwidth": NaN}, {"rank": 1e99, "peer_rank": 0}, {"rank": 0}]}',
       '{"layers": [], "pairs": [{"rank": 0, "peer_rank": 1, "bandwidth": -5}], "ok": "yes", "versions": [{"rank": true}]}']  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_a_verdict_or_a_stack_of_an_odd_shape(root: Path, text: str) -> None:
    whole_job(root)
    put(root, **{"preflight.json": text, "stack.yml": text})
    found = made(root)
    assert found.chart("Learning rate").count("<circle") == 4


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a: &a [x, x]\nb: [*a, *a]", "stack.yml is no stack file: it has aliases."),
        ("services: {node0: [1], node1: {command: {x: 1}, deploy: 7, environment: [x]}, nodeX: {}}", ""),
        ("a: [" * 5000, "stack.yml is no stack file"),
        ("!!python/object/apply:os.system [x]", "stack.yml is no stack file"),
        ("x" * (stack.SIZE + 1), "stack.yml has 524,289 bytes and is left out."),
    ],
    ids=["aliases", "shapes", "deep", "python", "large"],
)
def test_a_stack_that_is_none(root: Path, text: str, note: str) -> None:
    found = made(put(root, **{"stack.yml": text})).text()
    assert note in found
    assert ("stack.yml is no" in found or "is left out" in found) == bool(note)


def test_an_empty_directory_has_a_page(root: Path) -> None:
    text = made(root).text()
    assert "Neither metrics nor logs have numbers to draw." in text
    assert "No log or metrics of this run is among the artifacts: collect them first" in text


def test_links_are_not_followed(root: Path) -> None:
    outside = root.parent / "outside"
    for name in ("metrics.jsonl", "node0.log", "preflight.json", "stack.yml"):
        (root / name).symlink_to(outside / "key")
    (root / "runs").symlink_to(outside)
    (root / ".ddp-swarm").symlink_to(outside)
    found = made(root)
    assert "S3CR3T" not in found.raw
    assert "stack.yml is not read: it is a symbolic link." in found.text()


def test_a_large_job_is_a_small_page(root: Path) -> None:
    """64 ranks, 20 runs, long lines and all pairs."""
    ranks = 64
    names = {rank: "metrics.jsonl" if not rank else f"metrics-rank{rank}.jsonl" for rank in range(ranks)}
    records = [
        event("step", step=step, **{f"value{n}": step * 1.1 * n for n in range(20)}, loss=1 / step)
        for step in range(1, 2000)
    ]
    put(root, **{"metrics.jsonl": lines(*records)})
    put(root, **{names[rank]: lines(*attempt(rank, until=100)) for rank in range(1, ranks)})
    put(root, **{f"node{rank}.log": ("&" * 5000 + "\n") * 100 for rank in range(ranks)})
    put(root, **{"preflight.json": preflight(*([1.0 + rank + peer for peer in range(ranks)] for rank in range(ranks)))})
    put(root, **{f"runs__r{n:02}__metrics.jsonl": lines(*attempt(0)) for n in range(20)})
    found = made(root)
    assert len(found.raw.encode()) <= 5_000_000
    assert "There are 20 earlier runs; the newest 12 are compared." in found.text()
    assert len(found.all("td", class_="cell")) == ranks * (ranks - 1)


def test_not_a_number_is_said_where_nothing_can_be_drawn(root: Path) -> None:
    put(root, **{"metrics.jsonl": '{"step": 7, "loss": NaN}\n'})
    assert "loss, rank 0: 1 value not finite, the first at step 7." in made(root).text()


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e30, 1e30], [1e-30, 1e-29], [1e-30, 1e30], [-3.0, 0.0]])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    chart = charts.draw("Loss", [Series("x", list(enumerate(values)))])
    assert chart
    assert chart.svg.count("<circle") == len(values)
    for number in re.findall(r'c[xy]="([^"]+)"', chart.svg):
        assert -1 <= float(number) <= 641


def test_the_same_artifacts_make_the_same_page_and_a_link_in_its_place_is_replaced(root: Path) -> None:
    whole_job(root)
    victim = root.parent / "outside" / "key"
    (root / "report.html").symlink_to(victim)
    text, _notes = page.make(root, "job", TEMPLATES, {})
    assert page.write(root, text)
    assert not (root / "report.html").is_symlink()
    assert victim.read_text() == "S3CR3T"
    assert (root / "report.html").stat().st_mode & 0o777 == 0o600
    again, _notes = page.make(root, "job", TEMPLATES, {})
    assert not page.write(root, again)
    assert page.write(root, again[:-1])
    assert page.write(root, again)
    assert not list(root.glob(".report*"))


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(charts.LibraryMissing, match=r"library pygal.*pip install -r requirements.txt"):
        charts.pygal()


def test_times_for_people() -> None:
    assert [page.lasting(seconds) for seconds in (None, 0, 9.96, 59.4, 61, 3600, 90_000)] == [
        "–", "0.0 s", "10.0 s", "59 s", "1 min 01 s", "1 h 00 min", "25 h 00 min",
    ]  # fmt: skip
    assert (page.when(BEGAN), page.clock(BEGAN + 0.25)) == ("2027-01-15 08:00:00", "08:00:00.250")
