"""Which archives of a swarm's state may be unpacked by root."""

import gzip
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import swarm_archive


def judged(path: Path, *members: tuple[str, dict[str, Any]]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, attributes in members:
            member = tarfile.TarInfo(name)
            member.size = int(attributes.get("type", tarfile.REGTYPE) == tarfile.REGTYPE)
            for attribute, value in {"mode": 0o600, **attributes}.items():
                setattr(member, attribute, value)
            archive.addfile(member, io.BytesIO(b"x"))
    return swarm_archive.swarm_archive_problem(str(path))


FOLDER = ("swarm", {"type": tarfile.DIRTYPE})


def test_an_archive_of_the_state_is_right(tmp_path: Path) -> None:
    folders = [("swarm/raft", {"type": tarfile.DIRTYPE}), ("swarm/raft/a..b", {"type": tarfile.DIRTYPE})]
    assert judged(tmp_path / "a", FOLDER, *folders, ("swarm/raft/0-0.wal", {}), ("swarm/docker-state.json", {})) == ""


OUTSIDE, KIND, MODE = (
    "lies outside of the folder swarm",
    "is neither a file nor a directory",
    "would run as another user",
)


@pytest.mark.parametrize(
    ("name", "attributes", "said"),
    [
        ("/etc/passwd", {}, OUTSIDE),
        ("../planted", {}, OUTSIDE),
        ("swarm/../planted", {}, OUTSIDE),
        ("swarm/..", {"type": tarfile.DIRTYPE}, OUTSIDE),
        ("swarm/./x", {}, OUTSIDE),
        ("swarmx/planted", {}, OUTSIDE),
        ("planted", {}, OUTSIDE),
        ("planted", {"type": tarfile.DIRTYPE}, OUTSIDE),
        ("", {}, OUTSIDE),
        ("swarm//x", {}, OUTSIDE),
        ("./swarm/x", {}, OUTSIDE),
        ("swarm", {}, OUTSIDE),
        ("swarm", {"type": tarfile.SYMTYPE, "linkname": "/etc"}, KIND),
        ("swarm/link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}, KIND),
        ("swarm/link", {"type": tarfile.SYMTYPE, "linkname": "docker-state.json"}, KIND),
        ("swarm/hard", {"type": tarfile.LNKTYPE, "linkname": "/etc/shadow"}, KIND),
        ("swarm/device", {"type": tarfile.BLKTYPE}, KIND),
        ("swarm/device", {"type": tarfile.CHRTYPE}, KIND),
        ("swarm/pipe", {"type": tarfile.FIFOTYPE}, KIND),
        ("swarm/setuid", {"mode": 0o4755}, f"{MODE} (mode 4755)"),
        ("swarm/setgid", {"mode": 0o2755}, f"{MODE} (mode 2755)"),
        ("swarm/both", {"mode": 0o6000, "type": tarfile.DIRTYPE}, f"{MODE} (mode 6000)"),
    ],
)  # fmt: skip
def test_an_archive_with_anything_else_is_refused(
    name: str, attributes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    state = ("swarm/docker-state.json", {})
    assert judged(tmp_path / "a", FOLDER, state, (name, attributes), state) == f"{name!r} {said}"


def test_a_member_is_named_on_one_line_that_is_not_long(tmp_path: Path) -> None:
    said = judged(tmp_path / "a", ("swarm/\x1b[2J\n", {"type": tarfile.FIFOTYPE}))
    assert said == r"'swarm/\x1b[2J\n' is neither a file nor a directory"
    assert judged(tmp_path / "a", ("x" * 250, {})) == f"'{'x' * 199} lies outside of the folder swarm"


def test_other_modes_are_right(tmp_path: Path) -> None:
    assert judged(tmp_path / "a", ("swarm/a", {"mode": 0o777}), ("swarm/b", {"mode": 0o1755})) == ""


def test_an_archive_without_a_file_has_no_state_in_it(tmp_path: Path) -> None:
    assert judged(tmp_path / "a") == judged(tmp_path / "b", FOLDER) == "there is no state of a swarm in it"


@pytest.mark.parametrize("what", ["empty", "text", "gzip", "no archive", "cut", "garbled", "gone"])
def test_what_is_no_archive_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / what
    judged(path, FOLDER, ("swarm/docker-state.json", {}))
    whole = path.read_bytes()
    contents = {
        "empty": b"",
        "text": b"not gzip",
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "no archive": gzip.compress(b"x" * 1000),
        "cut": whole[: len(whole) // 2],
        "garbled": whole[:30] + bytes(byte ^ 255 for byte in whole[30:]),
    }
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(contents[what])
    said = swarm_archive.swarm_archive_problem(str(path))
    assert said.startswith("it cannot be read (")
    assert said.isprintable()


def test_an_archive_that_breaks_off_within_a_file_is_refused(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(100_000)
    with tarfile.open(tmp_path / "a", "w:gz") as archive:
        for name in ("swarm/a", "swarm/b"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = bytearray((tmp_path / "a").read_bytes())
    whole[40_000:60_000] = bytes(20_000)
    (tmp_path / "a").write_bytes(whole)
    assert swarm_archive.swarm_archive_problem(str(tmp_path / "a")).startswith("it cannot be read (")


def test_a_header_that_says_no_number_is_refused(tmp_path: Path) -> None:
    said = judged(tmp_path / "a", ("swarm/a", {"pax_headers": {"GNU.sparse.map": "x"}}))
    assert said.startswith("it cannot be read (")


def test_the_filter_has_its_name() -> None:
    assert swarm_archive.FilterModule().filters() == {"swarm_archive_problem": swarm_archive.swarm_archive_problem}
