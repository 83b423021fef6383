"""Two or three launchers with directories for volumes: who has which snapshot when its script starts."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ddp_launcher.files import Manifest, Unfit
from ddp_launcher.peers import Peer
from ddp_launcher.wire import WireError
from launchers import Job, says
from waiting import until

Start = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Start]:
    made: list[Job] = []

    def make(size: int = 2, **settings: object) -> Job:
        made.append(Job(tmp_path, size, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_ranks_without_any_snapshot_start_at_once(job: Start) -> None:
    began = time.monotonic()
    two = job().start()
    for rank in two.ranks:
        says(rank, f"rank {rank.rank} starts at nothing")
    assert time.monotonic() < began + 4
    assert "[launcher]" not in "".join(rank.said for rank in two.ranks)


def test_all_ranks_go_on_from_what_rank_0_saved(job: Start) -> None:
    three = job(3).start()
    for rank in three.ranks:
        says(rank, "starts at")
    first, *others = three.ranks
    first.save("step 200")
    for rank in three.ranks:
        assert rank.exit(1) == 1
    for rank in three.ranks:
        rank.start()
    for rank in three.ranks:
        says(rank, f"rank {rank.rank} starts at step 200")
    assert [(rank.volume / "ckpt.pt").read_text() for rank in others] == ["step 200"] * 2
    says(others[1], "has what rank 0 saved: 1 files")


def test_a_killed_rank_takes_what_was_saved_without_any_controller(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 10")
    until(lambda: second.copies() == ["step 10"])
    assert not (second.volume / "ckpt.pt").exists(), "nothing appears beside a running script"
    second.kill()
    second.start()
    says(second, "rank 1 starts at step 10")


def test_rank_1_erased(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 7")
    until(lambda: second.copies() == ["step 7"])
    for rank in two.ranks:
        rank.kill()
    shutil.rmtree(second.volume)
    two.start()
    says(second, "rank 1 starts at step 7")
    until(lambda: second.copies() == ["step 7"])


@pytest.mark.parametrize("snapshots", ["shared", "rank0"])
def test_rank_0_erased(job: Start, snapshots: str) -> None:
    two = job(snapshots=snapshots).start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    first.save("step 6")
    until(lambda: second.copies() == ["step 6"])
    first.kill()
    shutil.rmtree(first.volume)
    first.start()
    says(first, "rank 0 goes on from what rank 1 kept")
    says(first, "rank 0 starts at step 6")
    second.kill()
    first.save("step 8")
    time.sleep(2.5)  # until rank 0's launcher has counted it
    second.start()
    until(lambda: second.copies() == ["step 8"])
    says(second, f"rank 1 starts at {'step 8' if snapshots == 'shared' else 'nothing'}")


def test_an_older_copy_never_replaces_what_rank_0_has(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    second.kill()
    first.save("step 9")
    first.kill()
    os.utime(first.volume / "ckpt.pt", (1, 1))  # clocks do not count
    two.start()
    says(first, "rank 0 starts at step 9")
    says(second, "rank 1 starts at step 9")


def test_rank_0_with_nothing_waits_for_whoever_may_have_a_copy(job: Start) -> None:
    two = job(patience=3).start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    for rank in two.ranks:
        rank.kill()
    shutil.rmtree(first.volume)
    first.start()
    assert first.wait() == 1
    says(first, "rank 1 (127.0.1.2) has not answered in 3 s")
    assert "rank 0 starts at nothing" not in first.said.split("[launcher]")[1]
    first.start()
    time.sleep(1)
    second.start()
    says(first, "rank 0 starts at step 5")


def test_hosts_in_another_order(job: Start) -> None:
    """The snapshot follows: the new rank 0 has the copy only, the old one has what it saved last."""
    two = job(snapshots="rank0").start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    second.kill()
    first.save("step 6")
    time.sleep(2.5)  # until rank 0's launcher has counted it
    first.kill()
    first.volume, second.volume = second.volume, first.volume
    two.start()
    says(first, "rank 0 starts at step 6")


def test_the_last_save_is_copied_before_the_end(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.order("save", "the end")
    first.order("exit", 0)
    time.sleep(0.2)
    second.order("exit", 0)
    assert [first.wait(), second.wait()] == [0, 0]
    assert second.copies() == ["the end"]


def test_a_failing_rank_does_not_linger(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    for rank in (second, first):
        began = time.monotonic()
        assert rank.exit(3) == 3
        assert time.monotonic() < began + 1


def test_what_rank_0_deletes_goes_and_what_a_rank_wrote_itself_stays(job: Start) -> None:
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    (first.volume / "checkpoint-1").mkdir()
    (first.volume / "checkpoint-1/model.bin").write_text("one")
    (first.volume / "latest").symlink_to("checkpoint-1/model.bin")
    for rank in two.ranks:
        rank.kill()
    two.start()
    says(second, "has what rank 0 saved")
    assert (second.volume / "checkpoint-1/model.bin").read_text() == "one"
    assert (second.volume / "latest").read_text() == "one"
    for rank in two.ranks:
        rank.kill()
    (second.volume / "rank1.log").write_text("mine")
    (second.volume / "checkpoint-1/rng_1.pth").write_text("mine")
    (first.volume / "latest").unlink()
    shutil.rmtree(first.volume / "checkpoint-1")
    (first.volume / "checkpoint-2").write_text("two")
    two.start()
    until(lambda: (second.volume / "checkpoint-2").exists())
    until(lambda: "starts at" in second.said.split("[launcher]")[-1])
    assert sorted(p.name for p in second.volume.rglob("*") if p.is_file() and ".ddp-launcher" not in str(p)) == [
        "checkpoint-2",
        "rank1.log",
        "rng_1.pth",
    ]


def test_links_of_a_rank_lead_nowhere(job: Start, tmp_path: Path) -> None:
    two = job()
    first, second = two.ranks
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for rank in two.ranks:
        rank.volume.mkdir()
    (first.volume / "out").mkdir()
    (first.volume / "out/ckpt").write_text("from rank 0")
    (first.volume / "stolen").symlink_to(outside / "secret")
    os.mkfifo(first.volume / "pipe")
    (second.volume / "out").symlink_to(outside)
    two.start()
    says(second, "starts at")
    assert (second.volume / "out/ckpt").read_text() == "from rank 0"
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert not (second.volume / "stolen").exists()
    assert not (second.volume / "pipe").exists()


def test_a_peer_that_restarts_before_rank_0_has_failed_begins_again_with_it(job: Start) -> None:
    """Its script has loaded what rank 0 has replaced since, on its way out."""
    two = job().start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 1")
    until(lambda: second.copies() == ["step 1"])
    second.kill()
    second.start()
    says(second, "rank 1 starts at step 1")
    first.order("save", "step 2")
    first.exit(1)
    first.start()
    says(first, "rank 0 starts at step 2")
    says(second, "rank 0 has begun anew from another save")
    says(second, "rank 1 starts at step 2")


def test_a_torn_file_of_rank_0_comes_back_from_the_second_copy(job: Start) -> None:
    torch = pytest.importorskip("torch")
    two = job()
    first, second = two.ranks
    first.volume.mkdir()
    torch.save({"step": 3}, first.volume / "model.pt")
    two.start()
    says(second, "has what rank 0 saved")
    until(lambda: list(second.volume.glob(".ddp-launcher/copy/*:*/files/model.pt")))
    for rank in two.ranks:
        rank.kill()
    whole = (first.volume / "model.pt").read_bytes()
    (first.volume / "model.pt").write_bytes(whole[: len(whole) // 2])
    two.start()
    says(first, "model.pt was cut off while it was written: the one before is back")
    says(second, "starts at")
    assert torch.load(first.volume / "model.pt")["step"] == 3


def test_one_without_the_secret_gets_nothing(job: Start, tmp_path: Path) -> None:
    two = job().start()
    first = two.ranks[0]
    says(first, "starts at")
    first.save("step 5")
    port = next(int(option.split("=")[1]) for option in two.options if option.startswith("--port"))
    for secret in (b"x" * 64, b""):
        with pytest.raises((WireError, OSError, Unfit)):
            Peer(0, "127.0.1.1", port, secret).state(rank=1)
    for data in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100, b"\xff" * 5000):
        with socket.create_connection(("127.0.1.1", port)) as sock:
            sock.sendall(data)
    right = (tmp_path / "secret").read_bytes()
    assert Peer(0, "127.0.1.1", port, right).state()["phase"] == "go"


def test_a_fetch_that_was_interrupted_goes_on(job: Start) -> None:
    two = job()
    first, second = two.ranks
    for rank in two.ranks:
        rank.volume.mkdir()
    content = os.urandom(3_000_000)
    (first.volume / "big").write_bytes(content)
    incoming = second.volume / ".ddp-launcher/incoming"
    incoming.mkdir(parents=True)
    part = incoming / (hashlib.sha256(content).hexdigest() + ".part")
    part.write_bytes(content[:1_000_000])
    two.start()
    says(second, "starts at")
    assert (second.volume / "big").read_bytes() == content
    for rank in two.ranks:
        rank.kill()
    (second.volume / "big").unlink()
    shutil.rmtree(second.volume / ".ddp-launcher/copy")
    part.write_bytes(b"wrong" * 1000)  # what does not fit is fetched anew
    two.start()
    until(lambda: second.said.count("starts at") == 2)
    assert (second.volume / "big").read_bytes() == content


def test_sigterm_reaches_the_command_and_its_code_is_kept(job: Start) -> None:
    two = job()
    for rank in two.ranks:
        rank.start(["sh", "-c", "trap 'echo saving; sleep 1; exit 143' TERM; echo up; while :; do sleep 0.1; done"])
    for rank in two.ranks:
        says(rank, "up")
    for rank in two.ranks:
        assert rank.process
        rank.process.send_signal(signal.SIGTERM)
    assert [rank.wait() for rank in two.ranks] == [143, 143]
    assert all("saving" in rank.said for rank in two.ranks)


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -6 $$", 134)])
def test_exit_codes_of_one_rank_alone(job: Start, command: str, code: int) -> None:
    one = job(1)
    assert one.ranks[0].start(["sh", "-c", command]).wait() == code


def test_python_ends_no_thread_at_the_end(job: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an image without libgcc_s, that would kill the container, with 139. It does so after what atexit has registered."""
    (tmp_path / "sitecustomize.py").write_text("import atexit, os; atexit.register(os.abort)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert job(1).ranks[0].start(["sh", "-c", "exit 0"]).wait() == 0


def test_a_command_that_is_not_there(job: Start) -> None:
    rank = job(1).ranks[0].start(["no-such-command"])
    assert rank.wait() == 127
    assert rank.said == "[launcher] no-such-command cannot be started: No such file or directory\n"


def test_lines_come_as_they_are_written_and_lie_in_the_volume(job: Start) -> None:
    rank = job(1).ranks[0]
    rank.start(["sh", "-c", "printf 'half'; sleep 1; printf ' a line\\n'; sleep 0.5; echo error >&2; sleep 30"])
    until(lambda: rank.output.read_text() == "half", timeout=3)
    says(rank, "half a line\nerror\n")
    logs = list(rank.volume.glob(".ddp-launcher/logs/*/000000.log"))
    assert [path.read_text() for path in logs] == ["half a line\nerror\n"]


def test_the_log_is_bounded_and_has_beginning_and_end(job: Start) -> None:
    rank = job(1).ranks[0]
    for _ in range(3):
        rank.start(["sh", "-c", "seq 1 600000"])
        assert rank.wait() == 0
    folders = sorted(rank.volume.glob(".ddp-launcher/logs/*"))
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    assert size <= 1_000_000
    texts = [path.read_text() for path in sorted(folders[-1].glob("*.log"))]
    assert texts[-1].splitlines()[-1] == "600000"
    assert "".join(texts).startswith("1\n2\n")
    assert "parts of this log are left out here" in "".join(texts)
    assert rank.said.count("\n600000\n") == 3


def test_a_directory_that_all_ranks_share(job: Start, tmp_path: Path) -> None:
    """On a network file system all is there, and nobody writes into another's book."""
    two = job()
    first, second = two.ranks
    second.volume = first.volume
    two.start()
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 3")
    time.sleep(3)
    assert first.copies() == []
    for rank in two.ranks:
        rank.kill()
    two.start()
    says(first, "rank 0 starts at step 3")
    says(second, "rank 1 starts at step 3")
    assert (first.volume / "ckpt.pt").read_text() == "step 3"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_ranks_that_may_not_write_start_all_the_same(job: Start, tmp_path: Path) -> None:
    two = job()
    for rank in two.ranks:
        rank.volume.mkdir()
        (rank.volume / ".ddp-launcher").write_text("in the way")
        rank.start(["sh", "-c", f"echo rank {rank.rank} starts; exit 5"])
    assert [rank.wait() for rank in two.ranks] == [5, 5]
    for rank in two.ranks:
        assert "nothing is brought here from other ranks" in rank.said
        assert f"rank {rank.rank} starts" in rank.said


def test_saves_in_quick_succession_have_a_copy_too(job: Start) -> None:
    two = job()
    write = "import os, sys, time\nfor n in range(400):\n    open('new', 'w').write(str(n))\n    os.replace('new', 'ckpt.pt')\n    time.sleep(0.05)"
    for rank in two.ranks:
        rank.volume.mkdir()
    first, second = two.ranks
    first.start(["sh", "-c", f'cd {first.volume}; exec python3 -c "{write}"'])
    second.start()
    until(lambda: second.copies() != [], timeout=15)


def test_a_log_that_grows_makes_no_copy_each_second(job: Start) -> None:
    two = job()
    first, second = two.ranks
    first.volume.mkdir()
    (first.volume / "metrics.jsonl").write_text("first\n")
    first.start(["sh", "-c", f"while :; do echo line >>{first.volume}/metrics.jsonl; sleep 0.1; done"])
    second.start()
    until(lambda: list(second.volume.glob(".ddp-launcher/copy/*:*")))
    time.sleep(4)
    (copy,) = second.volume.glob(".ddp-launcher/copy/*:*")
    assert int(copy.name.split(":")[1]) <= 2
    (first.volume / "ckpt.pt").write_text("step 1")
    until(lambda: second.copies() == ["step 1"])
    kept = next(second.volume.glob(".ddp-launcher/copy/*:*/files/metrics.jsonl")).read_text()
    assert (first.volume / "metrics.jsonl").read_text().startswith(kept)


def test_a_large_file_that_is_replaced_while_it_is_fetched(job: Start) -> None:
    """Whoever is fetching it gets what it was promised."""
    two = job()
    first, second = two.ranks
    first.volume.mkdir()
    (first.volume / "big").write_bytes(os.urandom(60_000_000))
    two.start()
    for number in range(10):
        time.sleep(0.3)
        (first.volume / "new").write_bytes(os.urandom(60_000_000) if number < 9 else b"the last")
        os.replace(first.volume / "new", first.volume / "big")
    says(second, "starts at")
    until(lambda: b"the last" in second.copied("big"))


def test_a_copy_that_was_damaged_is_not_taken(job: Start) -> None:
    two = job(patience=5).start()
    first, second = two.ranks
    says(first, "starts at")
    says(second, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    for rank in two.ranks:
        rank.kill()
    shutil.rmtree(first.volume)
    next(second.volume.glob(".ddp-launcher/copy/*:*/files/ckpt.pt")).write_text("step X")
    two.start()
    assert first.wait() == 1
    says(first, "its checksum differs. Rank 0 has none, and does not begin from nothing while there is one")
    assert not (first.volume / "ckpt.pt").exists()


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../x", "", "a//b", ".", ".ddp-launcher/book.json", "runs/x", "a\0b", "x/" * 40 + "x"],
)
def test_a_manifest_with_a_name_that_is_none_is_refused(name: str) -> None:
    entry = [1, "0" * 64, 1, 0o644]
    with pytest.raises(Unfit):
        Manifest.read({"lineage": "0a", "counter": 1, "saves": 1, "files": {name: entry}})


@pytest.mark.parametrize(
    "entry",
    [[1, "0" * 63, 1, 1], [-1, "0" * 64, 1, 1], [1, "../" + "0" * 61, 1, 1], [True, "0" * 64, 1, 1], "x", [1], None],
)
def test_a_manifest_with_an_entry_that_is_none_is_refused(entry: object) -> None:
    with pytest.raises(Unfit):
        Manifest.read({"lineage": "0a", "counter": 1, "saves": 1, "files": {"a": entry}})


@pytest.mark.parametrize(
    "changes", [{"lineage": "../x"}, {"lineage": 7}, {"counter": -1}, {"counter": "1"}, {"saves": 2}, {"files": []}]
)
def test_a_manifest_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Unfit):
        Manifest.read({"lineage": "0a", "counter": 1, "saves": 1, "files": {}} | changes)
