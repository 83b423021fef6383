"""Layer 4: whether torch.compile finds a compiler, where a script of the image mentions it. None fails: a script may do without."""

from __future__ import annotations

import shutil
from typing import Any

from ..contract import NO_COMPILER
from ..state import State


def check_compiler(state: State, identity: dict[str, Any]) -> None:
    scripts, env = identity.get("compiles") or [], state.settings.env
    if not scripts or env.get("TORCH_COMPILE_DISABLE") == "1":
        return
    # torch/_inductor/config.py, cpp.cxx; on a GPU it is Triton that compiles (triton/runtime/build.py).
    wanted = env.get("CXX") or "g++"
    others = [env.get("CC") or "gcc", "clang"] if state.gpus() else []
    if not any(map(shutil.which, [wanted, *others])):
        state.report.add(4, "compiler", True, "none", wanted, code=NO_COMPILER, value=scripts[0])
