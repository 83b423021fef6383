"""Files that a host has laid out, fetched by the connection: under numbers, into a directory that was made anew."""

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionSkip, AnsibleError
from ansible_collections.ddp.swarm.plugins.action.training_fetch import ActionModule


class Host:
    """The end of a connection: files by their path there. What is not there cannot be fetched."""

    def __init__(self, **files: str) -> None:
        self.files = {f"/stage/{name}": content for name, content in files.items()}
        self.asked: list[str] = []

    def fetch_file(self, source: str, dest: str) -> None:
        self.asked.append(source)
        if source not in self.files:
            raise AnsibleError(f"no {source}")
        Path(dest).write_text(self.files[source])

    def fetch(self, dest: Path, *names: Any, check: bool = False) -> dict[str, Any]:
        files = [{"file": name, "name": "ignored/.bashrc"} for name in names]
        task = SimpleNamespace(
            args={"src": "/stage", "dest": str(dest), "files": files}, async_val=0, check_mode=check, action="fetch"
        )
        shell = SimpleNamespace(tmpdir="/nowhere", join_path=lambda *parts: "/".join(parts))
        connection = SimpleNamespace(_shell=shell, fetch_file=self.fetch_file)
        found: dict[str, Any] = ActionModule(task, connection, None, None, None, None).run(task_vars={})
        return found


def test_files_are_fetched_under_their_numbers(tmp_path: Path) -> None:
    host, dest = Host(**{"00000": "a", "00001": "b", "log00000": "c"}), tmp_path / "deep" / "host1"
    assert host.fetch(dest, "00000", "00001", "log00000") == {"changed": False}
    assert {path.name: path.read_text() for path in dest.iterdir()} == {"00000": "a", "00001": "b", "log00000": "c"}
    assert stat.S_IMODE(dest.stat().st_mode) == 0o700  # others' results are nobody's business


def test_what_an_earlier_run_has_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / "host1" / "folder").mkdir(parents=True)
    (tmp_path / "host1" / "00007").write_text("old")
    assert Host().fetch(tmp_path / "host1") == {"changed": False}
    assert list((tmp_path / "host1").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../key", "/etc/passwd", "", None, 0, "0000", "000000", "00000/../key", "00000\n", "log", "logs00000"]
)
def test_a_name_that_is_no_number_is_not_asked_for(name: Any, tmp_path: Path) -> None:
    host = Host(**{"00000": "a"})
    found = host.fetch(tmp_path / "host1", "00000", name, "00001")
    sentence = f"The host names a file {str(name)!a}, where only numbers are expected."
    assert found == {"failed": True, "msg": sentence}
    assert host.asked == ["/stage/00000"]


def test_a_file_that_does_not_come_ends_it(tmp_path: Path) -> None:
    host = Host(**{"00001": "b"})
    found = host.fetch(tmp_path / "host1", "00000", "00001")
    assert found == {"failed": True, "msg": "A file could not be fetched: no /stage/00000"}
    assert host.asked == ["/stage/00000"]


def test_check_mode_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "00000").write_text("old")
    with pytest.raises(AnsibleActionSkip):
        Host().fetch(tmp_path, check=True)
    assert (tmp_path / "00000").read_text() == "old"
