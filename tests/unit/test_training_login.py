"""Who logged in before becoming root: sudo says it, or doas, or the kernel's audit, or nobody became anybody."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils import login

MYSELF, ALICE, SUDO, AUDIT = 71, 72, 73, 74


@pytest.fixture
def loginuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /proc/self/loginuid, which a container or a kernel without audit does not have."""
    monkeypatch.setattr(login, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(os, "getuid", lambda: MYSELF)
    monkeypatch.setattr(os, "getppid", lambda: 300)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid={"alice": ALICE}[name]))
    for name in ("SUDO_UID", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "proc/self/loginuid"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("environment", "audit", "uid"),
    [
        ({"SUDO_UID": str(SUDO), "DOAS_USER": "alice"}, str(AUDIT), SUDO),
        ({"SUDO_UID": "0"}, str(AUDIT), 0),
        ({"SUDO_UID": "", "DOAS_USER": "alice"}, str(AUDIT), ALICE),
        ({"DOAS_USER": ""}, str(AUDIT), AUDIT),
        ({}, f"{AUDIT}\n", AUDIT),
        ({}, "0", 0),
        ({}, str(2**32 - 1), MYSELF),  # nobody logged in: a service, or a container
        ({}, str(2**32 - 2), 2**32 - 2),
        ({}, "", MYSELF),
        ({}, "unset", MYSELF),
        ({}, None, MYSELF),
    ],
)
def test_the_one_who_logged_in(
    environment: dict[str, str], audit: str | None, uid: int, loginuid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if audit is not None:
        loginuid.write_text(audit)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert login.login_user() == uid


@pytest.mark.parametrize(
    ("above", "uid"),
    [
        ({300: (0, 200), 200: (ALICE, 100), 100: (SUDO, 1)}, ALICE),
        ({300: (ALICE, 1)}, ALICE),
        ({300: (0, 200), 200: (0, 1)}, MYSELF),
        ({300: (0, 200)}, MYSELF),  # it has ended meanwhile
        ({300: (0, 0)}, MYSELF),  # the first process of a container
        ({}, MYSELF),
    ],
    ids=str,
)
def test_the_one_who_called_su(above: dict[int, tuple[int, int]], uid: int, loginuid: Path) -> None:
    """Real and effective user differ in su itself."""
    loginuid.write_text(str(2**32 - 1))
    for pid, (user, parent) in above.items():
        folder = loginuid.parents[1] / str(pid)
        folder.mkdir()
        (folder / "status").write_text(f"Name:\tsh: x\nPPid:\t{parent}\nUid:\t{user}\t0\t0\t0\n")
    assert login.login_user() == uid
