"""How a build is started, followed and told. Docker is a stand-in that prints what builders print; tests/image builds for real."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import image_build
from docker_stand_in import StandIn, log_of_host, run

SECRET = "S3CR3T-of-the-index"
INDEX = f"https://trainer:{SECRET}@pypi.example.com/simple"
CLASSIC = """Step 1/3 : FROM base
 ---> 0123456789ab
Step 2/3 : RUN make
 ---> Using cache
 ---> 123456789abc
Step 3/3 : COPY . /program
 ---> 23456789abcd
Successfully built 23456789abcd
Successfully tagged trainer:1
"""
BUILDKIT = """#1 [internal] load build definition from Dockerfile
#1 DONE 0.1s

#5 [packages 1/2] FROM base
#5 CACHED

#6 [packages 2/2] RUN make
#6 0.512 Looking in indexes
#6 DONE 12.3s

#7 exporting to image
#7 exporting layers
#7 exporting layers 1.5s done
#7 DONE 1.6s
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(tmp_path / "docker", monkeypatch)
    stand_in.answer({"build": CLASSIC, "image": ""})
    return stand_in


@pytest.fixture
def build(docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    context = tmp_path / "context.tar"
    context.write_bytes(b"context")
    usual = {"tags": ["trainer:1", "trainer:latest"], "context": str(context), "builder": "classic"}
    return lambda **params: run(image_build, capsys, **{**usual, **params})


def test_the_archive_is_built_under_its_names(build: Any, docker: StandIn) -> None:
    assert build()["changed"] is True
    (call,) = docker.calls("build")
    names = ["--tag=trainer:1", "--tag=trainer:latest", "--label=io.ddp-swarm.image=trainer"]
    assert call["argv"] == ["build", *names, "-"]
    assert call["stdin"] == b"context"
    assert call["env"]["DOCKER_BUILDKIT"] == "0"
    docker.answer({"build": BUILDKIT, "image": ""})
    build(builder="buildkit")
    call = docker.calls("build")[1]
    assert call["argv"] == ["build", *names, "--progress=plain", "-"]
    assert call["env"]["DOCKER_BUILDKIT"] == "1"


def test_an_archive_may_come_with_the_task(build: Any, docker: StandIn) -> None:
    archive = base64.b64encode(gzip.compress(b"small")).decode()
    result = build(context=None, archive=archive)
    assert docker.calls("build")[0]["stdin"] == b"small"
    assert archive not in json.dumps(result)


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_build_arguments_are_in_the_environment_alone(
    builder: str, build: Any, docker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = log_of_host(monkeypatch)
    words = f"{BUILDKIT}#6 1.0 pip install --extra-index-url {INDEX}\nStep 3/3 : RUN curl {INDEX}\n"
    for code in (0, 1):
        docker.answer({"build": (words, code), "image": ""})
        result = build(builder=builder, args={"PIP_EXTRA_INDEX_URL": INDEX, "BASE_IMAGE": "base:1", "CUDA": 12.8})
        assert bool(result.get("failed")) is bool(code)
        assert SECRET not in json.dumps(result)
        assert "@pypi.example.com" in json.dumps(result)
        # What is no secret can be read.
        assert result["invocation"]["module_args"]["args"]["BASE_IMAGE"] == "base:1"
        call = docker.calls("build")[code]
        assert [word for word in call["argv"] if word.startswith("--build-arg")] == [
            "--build-arg=PIP_EXTRA_INDEX_URL",
            "--build-arg=BASE_IMAGE",
            "--build-arg=CUDA",
        ]
        assert SECRET not in " ".join(call["argv"])
        assert call["env"]["PIP_EXTRA_INDEX_URL"] == INDEX
        assert call["env"]["BASE_IMAGE"] == "base:1"
        assert call["env"]["CUDA"] == "12.8"
    assert logged == []


def test_a_password_is_in_no_refusal(build: Any) -> None:
    result = build(args={"PIP_EXTRA_INDEX_URL": INDEX}, builder="kaniko")
    assert result["failed"] is True
    assert SECRET not in json.dumps(result)


def test_the_docker_command_is_as_it_was_asked_for(build: Any, docker: StandIn) -> None:
    build(args={"DOCKER_BUILDKIT": "1", "LC_ALL": "de_DE"})
    env = docker.calls("build")[0]["env"]
    assert (env["DOCKER_BUILDKIT"], env["LC_ALL"]) == ("0", "C")


def test_steps_of_the_classic_builder(build: Any) -> None:
    steps = build()["steps"]
    assert [step.rsplit(" (", 1)[0] for step in steps] == ["FROM base", "RUN make", "COPY . /program"]
    assert steps[0].endswith(" s)")
    assert steps[1] == "RUN make (cached)"
    assert steps[2].endswith(" s)")


def test_steps_of_buildkit(build: Any, docker: StandIn) -> None:
    docker.answer({"build": BUILDKIT, "image": ""})
    assert build(builder="buildkit")["steps"] == [
        "[packages 1/2] FROM base (cached)",
        "[packages 2/2] RUN make (12.3 s)",
        "exporting layers (1.6 s)",
    ]


def test_a_step_that_failed_is_not_finished(build: Any, docker: StandIn) -> None:
    words = BUILDKIT.split("#6 DONE", maxsplit=1)[0] + "#6 ERROR: exit code: 1\n"
    docker.answer({"build": (words, 1), "image": ""})
    result = build(builder="buildkit")
    assert result["failed"] is True
    assert result["steps"][-1] == "[packages 2/2] RUN make (not finished)"
    assert result["msg"].endswith("#6 ERROR: exit code: 1")
    assert docker.calls("image") == []


def test_the_last_lines_of_a_failed_build_are_told(build: Any, docker: StandIn) -> None:
    docker.answer({"build": ("".join(f"line {number}\n" for number in range(100)), 1)})
    lines = build()["msg"].splitlines()
    assert lines[0] == "The build failed. The last lines:"
    assert lines[1:] == [f"line {number}" for number in range(75, 100)]


def test_what_a_build_prints_does_not_reach_the_terminal_as_it_is(build: Any, docker: StandIn) -> None:
    words = "Step 1/1 : RUN \x1b]0;title\x07make\n\x1b[31mno\xc2\x9b2J such\x1b[0m file\n"
    docker.answer({"build": (words, 1)})
    result = build()
    assert result["msg"].splitlines()[1:] == ["Step 1/1 : RUN make", "no such file"]
    assert result["steps"] == ["RUN make (not finished)"]


def test_a_context_that_is_gone(build: Any, docker: StandIn, tmp_path: Path) -> None:
    said = build(context=str(tmp_path / "gone.tar"))["msg"]
    assert said == f"The build context cannot be read: [Errno 2] No such file or directory: '{tmp_path}/gone.tar'."
    assert docker.calls() == []


def test_stages_beyond_those_to_keep_are_removed(build: Any, docker: StandIn) -> None:
    docker.answer({"build": CLASSIC, "image prune": "", "image ls": "c3\nb2\na1\n", "image rm": ""})
    build(keep=2)
    assert [call["argv"] for call in docker.calls("image")] == [
        ["image", "prune", "--force", "--filter=label=io.ddp-swarm.stage=program"],
        ["image", "ls", "--quiet", "--filter=label=io.ddp-swarm.stage=packages", "--filter=dangling=true"],
        ["image", "rm", "a1"],
    ]


@pytest.mark.parametrize("keep", [None, 0, 3])
def test_stages_are_kept(keep: int | None, build: Any, docker: StandIn) -> None:
    docker.answer({"build": CLASSIC, "image prune": "", "image ls": "c3\nb2\na1\n", "image rm": ""})
    build(keep=keep)
    assert docker.calls("image", "rm") == []


def test_buildkit_leaves_no_stages(build: Any, docker: StandIn) -> None:
    docker.answer({"build": BUILDKIT, "image": ""})
    build(builder="buildkit", keep=1)
    assert docker.calls("image") == []


def test_a_prune_that_fails_fails_no_build(build: Any, docker: StandIn) -> None:
    refused = ("a prune operation is already running", 1)
    docker.answer({"build": CLASSIC, "image prune": refused, "image ls": "c3\nb2\n", "image rm": refused})
    assert build(keep=1)["changed"] is True
    docker.answer({"build": CLASSIC, "image prune": "", "image ls": refused})
    assert build(keep=1)["changed"] is True


def test_the_label_is_the_name_without_the_tag_also_with_a_registrys_port(build: Any, docker: StandIn) -> None:
    build(tags=["registry:5000/team/trainer:1"])
    assert "--label=io.ddp-swarm.image=registry:5000/team/trainer" in docker.calls("build")[0]["argv"]


def test_nothing_is_built_in_check_mode(build: Any, docker: StandIn) -> None:
    assert build(_ansible_check_mode=True)["skipped"] is True
    assert docker.calls() == []


def test_a_host_without_docker(build: Any, docker: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ansible.module_utils.common.process.os.path.exists", lambda _path: False)
    assert 'Failed to find required executable "docker"' in build()["msg"]


@pytest.mark.parametrize(
    "params",
    [{"context": None}, {"archive": "x"}, {"tags": None}, {"builder": None}],
    ids=["neither", "both", "no name", "no builder"],
)
def test_what_a_build_needs(params: dict[str, Any], build: Any, docker: StandIn) -> None:
    assert build(**params)["failed"] is True
    assert docker.calls() == []


def timed(monkeypatch: pytest.MonkeyPatch, *said: tuple[float, str]) -> list[str]:
    """The steps of a build that prints lines at these seconds."""
    now = [0.0]
    monkeypatch.setattr(image_build, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def stream() -> Iterator[str]:
        for second, line in said:
            now[0] = second
            yield f"{line}\n"

    return image_build.follow(stream())[0]  # type: ignore[arg-type]


def test_a_classic_step_takes_as_long_as_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(
        monkeypatch,
        (10, "Sending build context"),
        (11, "Step 1/4 : FROM base"),
        (13, "Step 2/4 : RUN a"),
        (14, " ---> Using cache"),
        (15, "Step 3/4 : RUN b"),
        (19.25, "Step 4/4 : RUN c"),
        (30, "Successfully built 23456789abcd"),
        (40, "Successfully tagged trainer:1"),
    ) == ["FROM base (2.0 s)", "RUN a (cached)", "RUN b (4.2 s)", "RUN c (10.8 s)"]


def test_layers_that_are_exported_count_before_all_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(monkeypatch, (0, "#7 exporting layers"), (1, "#7 exporting layers 1.5s done")) == [
        "exporting layers (1.5 s)"
    ]


@pytest.mark.parametrize(("length", "shown"), [(100, 100), (101, 100)])
def test_a_long_step_is_cut(length: int, shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(monkeypatch, (0, f"Step 1/1 : {'x' * length}")) == [f"{'x' * shown} (not finished)"]
