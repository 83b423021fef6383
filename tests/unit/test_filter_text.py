"""The filters for text that comes from containers and hosts."""

from ansible_collections.ddp.swarm.plugins.filter.text import FilterModule


def test_each_filter_has_its_name() -> None:
    filters = FilterModule().filters()
    assert filters["printable"](["a\x1b[2Jb"]) == ["ab"]
    assert filters["masked"]({"DB_PASS": "hush"}) == {"DB_PASS": "(hidden 1)"}
