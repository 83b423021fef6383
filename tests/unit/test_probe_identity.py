"""Layers 4 and 5: what the container is, and what it has."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import resource
from types import SimpleNamespace

import pytest
from ddp_probe import checks
from ddp_probe.sizes import MEBIBYTE
from probe_alone import Instead, alone, everywhere, record


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


# ---------------------------------------------------------------- files


@pytest.fixture
def code(tmp_path):
    """Files of an image: beside the code what git, Python and a build leave behind."""
    for name in ("b.py", "a.py", "sub/c.py", "sub/d.pyc", ".git/config", "sub/__pycache__/c.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_files_are_told_by_their_content(code):
    found = checks.identity.file_identity(str(code))
    assert found["files"] == {name: digest(name.encode()) for name in ("a.py", "b.py", "sub/c.py")}
    assert (found["file_count"], found["notes"]) == (3, [])
    assert len(found["hash"]) == 64


def test_several_paths_may_be_given(code):
    single, folder, none = f"{code}/b.py", f"{code}/sub", f"{code}/none"
    wanted = {single: digest(b"b.py"), none: "missing", "c.py": digest(b"sub/c.py")}
    found = [
        checks.identity.file_identity(paths) for paths in (f"{single} {none} {folder}", f"{folder},{none}, {single}")
    ]
    assert found[0]["files"] == wanted
    assert found[1] == found[0]


def test_a_large_file_is_read_to_its_end(tmp_path):
    data = os.urandom(MEBIBYTE + 5)
    (tmp_path / "large").write_bytes(data)
    assert checks.identity.file_identity(str(tmp_path))["files"] == {"large": digest(data)}


@pytest.mark.parametrize(
    ("limits", "files", "notes"),
    [
        ({"limit_files": 3}, ["a.py", "b.py", "sub/c.py"], []),
        ({"limit_files": 2}, ["a.py", "b.py"], ["only the first 2 files were read"]),
        ({"limit_files": 1}, ["a.py"], ["only the first 1 files were read"]),
        ({"limit_bytes": 16}, ["a.py", "b.py", "sub/c.py"], []),
        ({"limit_bytes": 15}, ["a.py", "b.py"], ["only the first 0 MiB were read"]),
    ],
)
def test_an_image_that_is_too_large_is_read_in_part(code, limits, files, notes):
    found = checks.identity.file_identity(str(code), **limits)
    assert (list(found["files"]), found["file_count"], found["notes"]) == (files, len(files), notes)


def test_the_limits_are_2000_files_and_256_mib(monkeypatch, tmp_path):
    names = [f"{number:04}" for number in range(2001)]
    monkeypatch.setattr(os, "walk", lambda top: [(str(tmp_path), [], names)])
    monkeypatch.setattr(os.path, "isfile", lambda path: path != str(tmp_path))
    sizes = {str(tmp_path / "0001"): 200 * 2**20, str(tmp_path / "0002"): 56 * 2**20, str(tmp_path / "0003"): 1}
    monkeypatch.setattr(os.path, "getsize", lambda path: sizes.get(path, 0))
    monkeypatch.setattr(checks.identity, "mount_points", set)
    monkeypatch.setattr(checks.identity, "open", lambda path, mode: io.BytesIO(b"1"), raising=False)
    found = checks.identity.file_identity(str(tmp_path))
    assert found["notes"] == ["only the first 2000 files were read", "only the first 256 MiB were read"]
    assert found["file_count"] == 3
    sizes.clear()
    found = checks.identity.file_identity(str(tmp_path))
    # All of them are in the hash, and what is shown is short.
    assert found["file_count"] == 2000
    assert list(found["files"]) == names[:80]


def test_a_file_that_cannot_be_read_is_told(code, monkeypatch):
    def denied(path, mode):
        if path.endswith("a.py"):
            raise PermissionError(13, "Permission denied")
        return open(path, mode)

    monkeypatch.setattr(checks.identity, "mount_points", set)
    monkeypatch.setattr(checks.identity, "open", denied, raising=False)
    files = checks.identity.file_identity(str(code))["files"]
    assert files == {"a.py": "unreadable: Permission denied", "b.py": digest(b"b.py"), "sub/c.py": digest(b"sub/c.py")}


def test_of_the_root_only_its_own_files_are_read(monkeypatch):
    """An image whose work directory was left at / would be read from end to end."""
    folders = ["bin", "usr"]
    monkeypatch.setattr(os, "walk", lambda top: [(top, folders, [])])
    assert checks.identity.file_identity("/")["file_count"] == 0
    assert folders == []
    folders[:] = ["usr", ".git", "bin", "__pycache__"]
    checks.identity.file_identity("/usr")
    assert folders == ["bin", "usr"]


def test_mounts_without_a_table_are_none(monkeypatch):
    def refuse(path, **_):
        raise FileNotFoundError(2, "No such file")

    monkeypatch.setattr(checks.identity, "open", refuse, raising=False)
    assert checks.identity.mount_points() == set()


def test_a_mount_is_told_by_its_fifth_word(monkeypatch):
    table = "36 35 98:0 /a /data rw\n\n1 2 3 4\n1 2 3 4 /short\n36 35 98:0 /a /my\\040data\\040here rw\n"
    monkeypatch.setattr(checks.identity, "open", lambda path, **_: io.StringIO(table), raising=False)
    assert checks.identity.mount_points() == {"/data", "/short", "/my data here"}


# ---------------------------------------------------------------- torch and its GPUs

TORCH = {
    "torch": "2.13.0",
    "cuda": "12.9",
    "nccl": "2.27.5",
    "gpus": 2,
    "gpu_names": ["H100", "H200"],
    "import_seconds": 3.5,
    "architectures": ["sm_90"],
    "capabilities": ["9.0", "9.0"],
    "gpu_uuids": ["GPU-1", "GPU-2"],
}
WITHOUT = {"torch": "2.13.0", "cuda": None, "nccl": None, "gpus": 0, "gpu_names": []}
FILES = {"hash": "0123456789abcdef" * 4, "files": {"a.py": "1"}, "file_count": 1, "notes": ["short"]}
WELL = record(4, "torch", True, "2.13.0", seconds=3.5)
WELL_WITHOUT = record(4, "torch", True, "2.13.0")
READ = record(4, "files", True, "0123456789abcdef", detail="1 files")


def gpu(ok, count, expected=None, detail=""):
    return record(5, "gpu", ok, count, expected, detail=detail)


def broken(observed, detail, code=None):
    return record(4, "torch", False, observed, "a working torch", detail=detail, code=code)


@pytest.mark.parametrize(
    ("backend", "facts", "records"),
    [
        ("auto", TORCH, [WELL, gpu(True, 2, None, "H100; H200")]),
        ("nccl", TORCH, [WELL, gpu(True, 2, "at least 1", "H100; H200")]),
        ("nccl", {**TORCH, "gpus": 1, "gpu_names": ["H100"]}, [WELL, gpu(True, 1, "at least 1", "H100")]),
        ("auto", WITHOUT, [WELL_WITHOUT, gpu(True, 0)]),
        ("gloo", {**WITHOUT, "gpu_error": "old driver"}, [WELL_WITHOUT, gpu(True, 0, None, "old driver")]),
        ("nccl", {**WITHOUT, "nccl": "2", "gpu_error": "old driver"}, [WELL_WITHOUT, gpu(False, 0, "at least 1", "old driver")]),
        ("nccl", {**TORCH, "nccl": None}, [WELL, gpu(True, 2, "at least 1", "H100; H200"),
                                           record(4, "nccl", False, "torch without NCCL", "a torch that has NCCL", code="no_nccl")]),
        ("auto", {"error": "ImportError: libcudart.so"}, [broken("torch cannot be imported", "ImportError: libcudart.so")]),
        ("auto", None, [broken("import unfinished", "one | two", "import_unfinished")]),
        ("auto", {}, [broken("import unfinished", "one | two", "import_unfinished")]),
    ],
)  # fmt: skip
def test_layers_4_and_5_tell_of_torch(backend, facts, records):
    one = alone(PROBE_BACKEND=backend)
    one.child.facts.update(facts or {})
    one.child.log.extend(["one", "two"])
    checks.identity.check_identity(one, facts, FILES)
    assert one.report.records == [*records, READ]
    noted = {} if not facts or "torch" not in facts else {
        "gpus": facts["gpus"], "gpu_names": facts["gpu_names"], "gpu_error": facts.get("gpu_error"),
    }  # fmt: skip
    told = facts or {}
    assert one.report.facts == {
        "identity": {
            "python": platform.python_version(), "torch": told.get("torch"), "cuda": told.get("cuda"),
            "nccl": told.get("nccl"), "architecture": os.uname().machine, "files": {"a.py": "1"}, "file_count": 1,
            "files_hash": FILES["hash"], "notes": ["short"],
            "architectures": told.get("architectures", []), "capabilities": told.get("capabilities", []),
            "gpu_uuids": told.get("gpu_uuids", []),
        },
        **noted,
    }  # fmt: skip


def test_files_that_were_not_read_in_time_prove_nothing():
    one = alone()
    checks.identity.check_identity(one, WITHOUT, {})
    assert one.report.records[-1] == record(4, "files", None, detail="the work directory could not be read in time")
    identity = one.report.facts["identity"]
    assert [identity[key] for key in ("files", "file_count", "files_hash", "notes")] == [None, None, None, []]


# ---------------------------------------------------------------- memory

MIB64 = 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("limit", "infiniband", "disabled", "ok", "expected"),
    [
        (-1, True, None, True, "unlimited"),
        (-1, False, None, True, None),
        (MIB64, True, None, True, "unlimited"),
        (MIB64 - 1, True, None, False, "unlimited"),
        (MIB64 - 1, True, "0", False, "unlimited"),
        (MIB64 - 1, True, "1", True, None),
        (MIB64 - 1, False, None, True, None),
    ],
)
def test_locked_memory_is_for_infiniband(monkeypatch, limit, infiniband, disabled, ok, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, -1) if which == resource.RLIMIT_MEMLOCK else 0)
    monkeypatch.setattr(os.path, "isdir", lambda path: infiniband and path == "/dev/infiniband")
    one = alone(**({} if disabled is None else {"NCCL_IB_DISABLE": disabled}))
    checks.memory.check_memory(one)
    observed = "unlimited" if limit == -1 else limit
    assert one.report.records[1] == record(
        5, "memlock", ok, observed, expected, detail="only InfiniBand needs locked memory"
    )
    assert one.report.facts["memlock_bytes"] == (None if limit == -1 else limit)


def test_shared_memory_is_measured(monkeypatch):
    stat = SimpleNamespace(f_blocks=100, f_frsize=4096, f_bavail=7)
    everywhere(monkeypatch, "os", Instead(os, statvfs={"/dev/shm": stat}.__getitem__))
    one = alone()
    checks.memory.check_memory(one)
    told = {"detail": "size of /dev/shm in bytes; the floor is the judge's"}
    assert one.report.records[0] == record(5, "shm", True, 409600, **told)
    assert (one.report.facts["shm_bytes"], one.report.facts["shm_free_bytes"]) == (409600, 28672)


def test_a_container_without_shared_memory_is_told(monkeypatch):
    def refuse(path):
        raise FileNotFoundError(2, "No such file or directory")

    everywhere(monkeypatch, "os", Instead(os, statvfs=refuse))
    one = alone()
    checks.memory.check_memory(one)
    assert one.report.records[0] == record(5, "shm", False, "no such file or directory", "a tmpfs on /dev/shm")
    assert [one["name"] for one in one.report.records] == ["shm", "memlock"]
