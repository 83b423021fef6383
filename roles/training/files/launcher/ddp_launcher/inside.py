"""Runs in each Python process of a rank before its script, as `sitecustomize`: the launcher can then ask where the process is.

The process takes a signal that nobody uses, and answers it in C: also while it waits, computes or holds the interpreter's lock.
Once it imports torch, a thread waits on a pipe for who asks which collectives torch has recorded. The script sees nothing of it,
and nothing here may fail.
"""

from __future__ import annotations

import sys

MYPY = False
if MYPY:  # without the time that it takes to import it
    from typing import Any

SIGNAL_BELOW_LAST = 5  # the signal, counted from the last real-time one
LAST_ENTRIES = 40  # of each process group
LAST_TIMES = 1000  # of these only when they were entered, and how long they took


class Quiet:
    """What fails inside is nobody's concern."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, Exception)


def take_signal(folder: str) -> None:
    import faulthandler
    import fcntl
    import os
    import resource
    import signal

    number = signal.SIGRTMAX - SIGNAL_BELOW_LAST
    opened = os.open(os.path.join(folder, "stacks"), os.O_WRONLY | os.O_APPEND)
    # High, for some programs count on the low numbers, and others close them.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    high = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 1000 if limit < 0 or limit > 1024 else limit - 24)
    os.close(opened)
    faulthandler.register(number, file=high, all_threads=True, chain=False)


def is_helper(parent: int) -> bool:
    """Whether a rank has started this process: then it is none itself."""
    with Quiet(), open(f"/proc/{parent}/environ", "rb") as file:
        return any(entry.startswith(b"RANK=") for entry in file.read().split(b"\0"))
    return False


def note_exit(folder: str) -> None:
    """Where a rank calls sys.exit: nobody could tell afterwards."""
    import os

    rank = os.environ.get("RANK", "")
    if not rank.isdecimal() or is_helper(os.getppid()):
        return
    leave, own = sys.exit, os.getpid()

    def exit(status: Any = None) -> None:
        with Quiet():
            if os.getpid() == own:
                frames: list[list[object]] = []
                frame = sys._getframe(1)
                while frame and len(frames) < 60:
                    frames.append([frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name])
                    frame = frame.f_back  # type: ignore[assignment]
                put(folder, f"{rank}.exit", {"rank": rank, "status": repr(status)[:80], "frames": frames})
        leave(status)

    exit.__doc__ = leave.__doc__
    sys.exit = exit  # type: ignore[assignment]


def put(folder: str, name: str, value: Any) -> None:
    import json
    import os

    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


def recorded() -> dict[str, Any]:
    """What torch's flight recorder has of each process group."""
    import json

    torch = sys.modules.get("torch._C._distributed_c10d")
    dump = getattr(torch, "_dump_fr_trace_json", None) or getattr(torch, "_dump_nccl_trace_json", None)
    if dump is None:
        return {"why": "no torch.distributed" if torch is None else "this torch has no recorder that can be asked"}
    said = json.loads(dump())
    groups: dict[str, Any] = {}
    for entry in said.get("entries") or []:
        name, title = ([str(word) for word in entry.get("process_group") or []] + ["", ""])[:2]
        group = groups.setdefault(name, {"title": title, "entries": [], "times": []})
        if not entry.get("is_p2p"):
            took = [entry["duration_ms"]] if entry.get("duration_ms") else []
            group["times"].append([entry.get("collective_seq_id"), entry.get("time_created_ns"), *took])
        group["entries"].append(
            {
                "seq": entry.get("p2p_seq_id" if entry.get("is_p2p") else "collective_seq_id"),
                "p2p": bool(entry.get("is_p2p")),
                "op": entry.get("profiling_name"),
                "sizes": entry.get("input_sizes"),
                "ended": bool(entry.get("retired")) or entry.get("state") == "completed",
            }
        )
    config = said.get("pg_config") or {}
    for name, group in groups.items():
        # Those that have not ended count most: of NCCL there may be many behind the one that hangs.
        open_ones = [entry for entry in group["entries"] if not entry["ended"]][:4]
        last = group["entries"][-LAST_ENTRIES:]
        group["entries"] = [entry for entry in open_ones if entry not in last] + last
        group["times"] = group["times"][-LAST_TIMES:]
        group["ranks"] = str((config.get(name) or {}).get("ranks", ""))[:4000]
    return {"groups": groups}


def answer(folder: str) -> None:
    import os

    with Quiet():  # the folder may be gone
        ask = os.path.join(folder, f"{os.getpid()}.ask")
        if os.path.exists(ask):
            os.unlink(ask)
        os.mkfifo(ask, 0o600)
        while True:
            with open(ask, "rb") as pipe:
                pipe.read()
            said = {"why": "torch's recorder cannot be read"}
            with Quiet():
                said = recorded()
            put(folder, f"{os.getpid()}.trace", said)


class AtTorch:
    """Finds no module. It notices when torch is wanted, starts the thread, and is gone."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch" and self in sys.meta_path:
            sys.meta_path.remove(self)
            with Quiet():
                import _thread

                _thread.start_new_thread(answer, (self.folder,))


def begin() -> str:
    import os

    folder = os.path.dirname(os.path.abspath(__file__))
    for step in (take_signal, note_exit):
        with Quiet():
            step(folder)
    sys.meta_path.insert(0, AtTorch(folder))
    return folder


def give_way(folder: str) -> None:
    """To the sitecustomize that would have been found: one that fails does so as it would have."""
    from importlib.machinery import PathFinder

    sys.path[:] = [entry for entry in sys.path if entry != folder]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec and spec.loader:
        from importlib.util import module_from_spec

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    begun = ""
    with Quiet():
        begun = begin()
    give_way(begun)
