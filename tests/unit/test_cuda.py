"""Which NVIDIA driver a CUDA version needs."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.cuda import cuda_problem, driver_problem


@pytest.mark.parametrize(
    ("driver", "cuda", "needed"),
    [
        ("449.99", "11.8", 450), ("450.0", "11.8", 0), ("524.1", "12.4", 525), ("525.1", "12", 0),
        ("579.9", "13.0", 580), ("580.0", 13.0, 0), ("1.0", "14.0", 0), ("1.0", "", 0), ("", "13.0", 0), ("unknown", "13.0", 0),
    ],
)  # fmt: skip
def test_a_driver_that_is_too_old(driver: str, cuda: object, needed: int) -> None:
    assert driver_problem(driver, cuda) == (f"needs {needed} or newer" if needed else "")


@pytest.mark.parametrize("cuda", ["", "11.8", "12", 13.0, "13.1"])
def test_a_cuda_version(cuda: object) -> None:
    assert cuda_problem(cuda) == ""


@pytest.mark.parametrize("cuda", ["cu121", "10.2", "1", " "])
def test_no_cuda_version(cuda: str) -> None:
    assert cuda_problem(cuda) == f"'{cuda}', and it is a version of CUDA 11, 12, 13, such as '12.8'"
