"""Hosts that are gone for good: who stays, and what cannot be left out."""

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_without import host_names, without, without_refusals

GROUPS = {"swarm": ["a", "b", "c"], "managers": ["a"], "workers": ["b", "c"]}
TYPED = ["training_without"]


def test_the_others_stay_in_their_order() -> None:
    assert without(["c", "b", "a"], "b") == ["c", "a"]
    assert without(["c", "b", "a"], " c , a,") == ["b"]
    assert without(["c", "b"], "") == ["c", "b"]
    assert host_names("") == []


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", ""),
        ("b", ""),
        ("b,c", ""),
        ("d", "training_without names d, and the inventory's group 'swarm' has a, b, c. Correct the name"),
        ("b,d,e", "training_without names d and e, and"),
        ("a", "training_without names every manager, and a swarm without one cannot be led any more. Take a out of the inventory, move one of b, c "),
        ("c,b,a", "training_without names every host of the inventory, and nobody is left to train."),
    ],
)  # fmt: skip
def test_what_cannot_be_left_out_is_one_sentence(named: str, said: str) -> None:
    sentences = without_refusals(named, GROUPS, TYPED)
    assert len(sentences) == bool(said)
    assert "".join(sentences).startswith(said)


def test_it_is_for_the_command_line_alone() -> None:
    """Which hosts a play has is settled before a group's variables are read."""
    assert without_refusals("b", GROUPS, []) == [
        "training_without counts on the command line alone: say -e training_without=b."
    ]
    assert without_refusals("b", {}, []) == []
