"""Which images may go. That none in use does is seen on hosts (tests/image)."""

from typing import Any

from ansible.module_utils.image_layers import LABEL
from image_state import surplus


def image(number: int, *tags: str, label: str | None = "trainer") -> dict[str, Any]:
    created = f"2026-01-0{number}T00:00:00Z"
    return {
        "Id": f"sha256:{number}",
        "Created": created,
        "RepoTags": list(tags),
        "Config": {"Labels": label and {LABEL: label}},
    }


IMAGES = [
    image(3, "trainer:c"),
    image(1, "trainer:a", "mine:a"),
    image(2, "trainer:b", "trainer:latest"),
    image(4, "trainer:theirs", label=None),
    image(5, "wheels:old", label="wheels"),
    image(6, "wheels:new", label="wheels"),
    image(7, "base:1", label=None),
]
OTHERS = ["wheels:new", "base:1"]


def test_the_last_built_stay_with_the_one_that_is_there() -> None:
    assert list(surplus(IMAGES, "trainer:c", OTHERS, 2)) == ["trainer:a", "wheels:old"]
    assert list(surplus(IMAGES, "trainer:c", OTHERS, 1)) == ["trainer:a", "trainer:b", "wheels:old"]


def test_one_that_is_yet_to_come_counts() -> None:
    assert list(surplus(IMAGES, "trainer:d", OTHERS, 3)) == ["trainer:a", "wheels:old"]


def test_an_old_one_that_is_wanted_again_stays() -> None:
    assert list(surplus(IMAGES, "trainer:a", OTHERS, 1)) == ["trainer:b", "trainer:c", "wheels:old"]


def test_nothing_goes_below_the_number() -> None:
    assert list(surplus(IMAGES, "trainer:c", [], 9)) == []
