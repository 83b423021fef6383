"""The trainer's command line: what it takes, what it refuses in one sentence, and what counts where nothing is said."""

from pathlib import Path

import pytest
from trainer_runs import trainer


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, and no variable of whoever runs the tests."""
    for name in ("DDP_BACKEND", "DDP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        trainer.parse_args(list(args))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error[len("error: ") : -1]


COUNT, POSITIVE = "must be a whole number of at least 1", "must be a number above 0"
WORKERS = "must be a whole number of at least 0, or -1 for one on each core left"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["0", "2"], f"argument TOTAL_EPOCHS: {COUNT}, not '0'"),
        (["ten", "2"], f"argument TOTAL_EPOCHS: {COUNT}, not 'ten'"),
        (["1.5", "2"], f"argument TOTAL_EPOCHS: {COUNT}, not '1.5'"),
        (["10", "0"], f"argument SAVE_EVERY: {COUNT}, not '0'"),
        (["10", "2", "--batch_size", "-3"], f"argument --batch_size: {COUNT}, not '-3'"),
        (["10", "2", "--hidden", "0"], f"argument --hidden: {COUNT}, not '0'"),
        (["10", "2", "--keep", "0"], f"argument --keep: {COUNT}, not '0'"),
        (["10", "2", "--log_every", "0"], f"argument --log_every: {COUNT}, not '0'"),
        (["10", "2", "--accumulate", "0"], f"argument --accumulate: {COUNT}, not '0'"),
        (["10", "2", "--check_every", "0"], f"argument --check_every: {COUNT}, not '0'"),
        (["10", "2", "--save_every_steps", "0"], f"argument --save_every_steps: {COUNT}, not '0'"),
        (["10", "2", "--save_every_seconds", "0"], f"argument --save_every_seconds: {POSITIVE}, not '0'"),
        (["10", "2", "--patience", "0"], f"argument --patience: {POSITIVE}, not '0'"),
        (["10", "2", "--clip_grad_norm", "0"], f"argument --clip_grad_norm: {POSITIVE}, not '0'"),
        (["10", "2", "--lr", "nan"], f"argument --lr: {POSITIVE}, not 'nan'"),
        (["10", "2", "--lr", "inf"], f"argument --lr: {POSITIVE}, not 'inf'"),
        (["10", "2", "--lr_decay", "-0.5"], f"argument --lr_decay: {POSITIVE}, not '-0.5'"),
        (["10", "2", "--timeout", "0"], f"argument --timeout: {POSITIVE}, not '0'"),
        (["10", "2", "--seed", "-1"], "argument --seed: must be a whole number of at least 0, not '-1'"),
        (["10", "2", "--workers", "-2"], f"argument --workers: {WORKERS}, not '-2'"),
        (["10", "2", "--snapshot_path", "/dev/null/snapshot.pt"], "cannot write to /dev/null: File exists"),
        (["10", "2", "--metrics_path", "/dev/null/metrics.jsonl"], "cannot write to /dev/null: File exists"),
        (["10"], "the following arguments are required: SAVE_EVERY"),
    ],
)
def test_bad_arguments_give_one_sentence(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *args) == sentence


@pytest.mark.parametrize(
    "args", [("--task", "chess"), ("--backend", "mpi"), ("--compress", "int8")], ids=lambda args: args[0]
)
def test_only_what_there_is_can_be_chosen(args: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "10", "2", *args).startswith(f"argument {args[0]}: invalid choice: '{args[1]}'")


def test_what_counts_where_nothing_is_said(here: Path) -> None:
    assert vars(trainer.parse_args(["10", "2"])) == {
        "total_epochs": 10,
        "save_every": 2,
        "save_every_steps": float("inf"),
        "save_every_seconds": float("inf"),
        "batch_size": 32,
        "snapshot_path": "snapshot.pt",
        "metrics_path": str(here / "metrics.jsonl"),
        "task": "regression",
        "backend": "auto",
        "timeout": 120.0,
        "patience": 1800.0,
        "check_every": 100,
        "seed": 0,
        "lr": None,
        "lr_decay": 1.0,
        "hidden": 128,
        "keep": 2,
        "log_every": 10,
        "accumulate": 1,
        "clip_grad_norm": None,
        "compress": None,
        "amp": False,
        "workers": 0,
    }


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [("seed", "0", 0), ("workers", "-1", -1), ("workers", "0", 0), ("keep", "1", 1), ("lr", "1e-12", 1e-12)],
)
def test_the_least_that_is_taken(option: str, text: str, value: float) -> None:
    assert getattr(trainer.parse_args(["1", "1", f"--{option}", text]), option) == value


def test_amp_is_asked_for() -> None:
    assert trainer.parse_args(["1", "1", "--amp"]).amp is True


def test_directories_are_made_and_nothing_is_left_in_them(here: Path) -> None:
    snapshot, metrics = here / "a" / "b" / "snapshot.pt", here / "c" / "d" / "metrics.jsonl"
    args = ["1", "1", "--snapshot_path", str(snapshot)]
    assert trainer.parse_args(args).metrics_path == str(here / "a" / "b" / "metrics.jsonl")
    assert trainer.parse_args([*args, "--metrics_path", str(metrics)]).metrics_path == str(metrics)
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*")) == ["a", "a/b", "c", "c/d"]


def test_a_directory_that_nobody_may_write_to_is_told_at_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refused)
    assert refusal(capsys, "1", "1") == f"cannot write to {here}: Permission denied"


def test_the_backend_is_the_one_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, backend in (("", "auto"), ("gloo", "gloo"), ("nccl", "nccl")):
        monkeypatch.setenv("DDP_BACKEND", value)
        assert trainer.parse_args(["1", "1"]).backend == backend
    assert trainer.parse_args(["1", "1", "--backend", "gloo"]).backend == "gloo"


def test_bad_backend_variable_gives_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDP_BACKEND", "mpi")
    assert refusal(capsys, "10", "2") == "DDP_BACKEND must be auto, nccl or gloo, not 'mpi'"


def test_bad_timeout_variable_gives_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDP_TIMEOUT", "soon")
    assert refusal(capsys, "10", "2") == f"argument --timeout: {POSITIVE}, not 'soon'"


def test_the_timeout_is_the_one_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, timeout in (("", 120), ("40", 40)):
        monkeypatch.setenv("DDP_TIMEOUT", value)
        assert trainer.parse_args(["1", "1"]).timeout == timeout
    assert trainer.parse_args(["1", "1", "--timeout", "7.5"]).timeout == 7.5
