"""The process that holds torch, from within."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from .collectives import collectives


def reason_of(start: Any) -> str:
    """What CUDA says when it cannot be started."""
    try:
        start()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def child_main(writer: int) -> None:
    pipe = os.fdopen(writer, "w", encoding="utf-8")

    def say(event: str, **facts: Any) -> None:
        pipe.write(json.dumps({"event": event, **facts}) + "\n")
        pipe.flush()

    try:
        began = time.monotonic()
        try:
            import torch
            import torch.distributed as dist
        except BaseException as error:  # noqa: BLE001 - a broken torch can raise anything
            say("versions", error=f"{type(error).__name__}: {error}"[:500])
            return
        facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": 0, "nccl": None}
        facts["import_seconds"] = round(time.monotonic() - began, 3)
        try:
            if torch.cuda.is_available():
                facts["gpus"] = torch.cuda.device_count()
                facts["architectures"] = list(torch.cuda.get_arch_list())
                capabilities = [torch.cuda.get_device_capability(i) for i in range(facts["gpus"])]
                properties = [torch.cuda.get_device_properties(i) for i in range(facts["gpus"])]
                # Torch before 2.4 does not tell.
                facts["gpu_uuids"] = [f"GPU-{one.uuid}" if hasattr(one, "uuid") else "" for one in properties]
                facts["capabilities"] = [".".join(str(part) for part in one) for one in capabilities]
            elif torch.version.cuda:
                # That it is not available comes without a reason; to start it all the same names it.
                facts["gpu_error"] = reason_of(torch.cuda.init)
            facts["gpu_names"] = [torch.cuda.get_device_name(i) for i in range(facts["gpus"])]
            if dist.is_available() and dist.is_nccl_available():
                facts["nccl"] = ".".join(str(part) for part in torch.cuda.nccl.version())
        except Exception as error:  # noqa: BLE001 - a driver that does not fit says so here
            facts["gpu_error"] = f"{type(error).__name__}: {error}"[:300]
        say("versions", **facts)
        line = sys.stdin.readline()
        if not line:
            return
        order = json.loads(line)
        # The parent closes this pipe when it dies, and an orphan in a collective would stay for ever.
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(3)), daemon=True).start()
        collectives(order, say)
    except BaseException as error:  # noqa: BLE001 - the parent must hear of it
        say("failed", error=f"{type(error).__name__}: {error}"[:600])
    finally:
        pipe.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        # No interpreter shutdown: the backends' threads abort in it when a peer has gone.
        os._exit(0)
