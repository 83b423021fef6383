"""An image without a compiler, in which a script asks for torch.compile: a remark, which fails nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ddp_probe.checks import compiler, identity
from preflight_ranks import healthy_report, record, verdict
from probe_alone import alone
from probe_alone import record as of_rank

SENTENCE = (
    "Remark on host1, compiler: train.py mentions torch.compile, and the image has no g++, which that needs (wanted: a compiler): "
    "set image_apt_packages to [g++] and run site.yml (with training_image, install g++ in that image), or set TORCH_COMPILE_DISABLE "
    "to 1 in training_env to train without it."
)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("train.py", "model = torch.compile(model)", ["train.py"]),
        ("train.py", "@torch.compile\ndef step(): ...", ["train.py"]),
        ("train.py", "TrainingArguments(torch_compile=True)", ["train.py"]),
        ("train.py", "re.compile('a')", []),
        ("train.py", "nottorch.compiled()", []),
        ("notes.md", "torch.compile is fast", []),
    ],
)
def test_scripts_of_the_image_that_mention_it(tmp_path: Path, name: str, text: str, found: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert identity.file_identity(str(tmp_path))["compiles"] == found


@pytest.mark.parametrize(
    ("programs", "env", "gpus", "lacks"),
    [
        ([], {}, 0, "g++"),
        (["g++"], {}, 0, ""),
        # As torch's inductor: clang++ is taken where CXX says so.
        (["clang++"], {}, 0, "g++"),
        (["clang++"], {"CXX": "clang++"}, 0, ""),
        (["g++"], {"CXX": "clang++"}, 0, "clang++"),
        # On a GPU Triton compiles, with any compiler of C.
        (["gcc"], {}, 1, ""),
        ([], {}, 1, "g++"),
        ([], {"TORCH_COMPILE_DISABLE": "1"}, 0, ""),
    ],
)
def test_what_torch_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: list[str], env: dict[str, str], gpus: int, lacks: str
) -> None:
    for name in programs:
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    one: Any = alone(**env)
    one.child.facts["gpus"] = gpus
    compiler.check_compiler(one, {"compiles": ["train.py", "more.py"]})
    wanted = [of_rank(4, "compiler", True, "none", lacks, code="no_compiler", value="train.py")] if lacks else []
    assert one.report.records == wanted
    compiler.check_compiler(one, {"compiles": []})
    compiler.check_compiler(one, {})
    assert one.report.records == wanted


def test_it_is_a_remark_and_fails_nothing() -> None:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    assert verdict(reports)["remarks"] == []
    for rank, one in enumerate(reports):
        found = record(
            4, rank, True, name="compiler", observed="none", expected="g++", code="no_compiler", value="train.py"
        )
        one["probe"]["records"].append(found)
    told = verdict(reports)
    assert (told["ok"], told["findings"]) == (True, [])
    assert told["table"].splitlines()[-1] == SENTENCE
    assert len(told["remarks"]) == 1
    assert "Remark" not in told["message"]
