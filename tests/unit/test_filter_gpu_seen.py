"""What is said of GPUs that cannot be used."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.gpu_seen import FilterModule, gpu_seen

NONE: dict[str, Any] = {"gpus": [], "cards": 0, "error": "", "obstacle": ""}
CARD = {**NONE, "cards": 2}


@pytest.mark.parametrize(
    ("system", "command"),
    [
        (("ubuntu", "24.04", "debian"), "'apt-get install ubuntu-drivers-common && ubuntu-drivers install', then"),
        (("debian", "13", "debian"), "nvidia-driver nvidia-smi' with contrib and non-free among Debian's components, then"),
        (("rocky", "9.6", "redhat"), "'dnf module enable nvidia-driver:open-dkms && dnf install nvidia-open' from NVIDIA's repository"),
        (("rhel", "10.0", "redhat"), "one: 'dnf install nvidia-open' from NVIDIA's repository"),
        (("fedora", "43", "redhat"), "one: 'dnf install nvidia-open' from NVIDIA's repository"),
        (("arch", "", ""), "one: NVIDIA's driver, by https://docs.nvidia.com/"),
    ],
)  # fmt: skip
def test_a_card_without_a_driver(system: tuple[str, str, str], command: str) -> None:
    said = gpu_seen(CARD, dict(zip(("id", "version", "family"), system, strict=True)))
    assert said.startswith("it has 2 NVIDIA card(s) without a driver (no nvidia-smi answers; to install one: ")
    assert command in said
    assert said.endswith(", then reboot)")


def test_other_reasons() -> None:
    system = {"id": "ubuntu", "version": "24.04", "family": "debian"}
    assert gpu_seen(NONE, system) == "it has no NVIDIA card"
    assert gpu_seen({**CARD, "error": "no devices"}, system) == "nvidia-smi there fails: no devices"
    said = gpu_seen({**CARD, "obstacle": "nouveau holds the card: blacklist it"}, system)
    assert said.endswith(", then reboot), since nouveau holds the card: blacklist it")


def test_names() -> None:
    assert set(FilterModule().filters()) == {"gpu_seen"}
