"""Stacks drawn by chance, one deployed over the other: what is predicted is done, and the same again is no change."""

import json
import random
from typing import Any

import pytest


def draw(chance: random.Random) -> dict[str, Any]:
    def maybe(**keys: Any) -> dict[str, Any]:
        return keys if chance.random() < 0.4 else {}

    services = {}
    for name in chance.sample("abc", chance.randint(1, 3)):
        mode = chance.choice(["replicated", "replicated", "global", "replicated-job", "global-job"])
        policy = {"restart_policy": {"condition": chance.choice(["none", "on-failure"])}}
        services[name] = {
            "image": chance.choice(["i:1", "i:2"]),
            "deploy": {
                "mode": mode,
                **policy,
                **(maybe(replicas=chance.randint(0, 3)) if mode == "replicated" else {}),
            },
            **maybe(networks=chance.sample(["n", "m"], chance.randint(1, 2))),
            **maybe(configs=[{"source": "c", "target": "/c"}]),
            **maybe(secrets=["s"]),
            **maybe(ports=chance.sample(["80:80", "81:81/udp", "82-83:82-83"], 2)),
            **maybe(environment=chance.choice([{"A": "1"}, ["A=2", "B"], {"A": None}])),
        }
    return {
        "services": services,
        "networks": {
            "n": chance.choice([None, {"attachable": True}]),
            "m": {"driver_opts": {"a": chance.choice("12")}},
        },
        "configs": {"c": {"content": chance.choice(["one", "two"])}},
        "secrets": {"s": {"content": chance.choice(["geheim-one", "geheim-two"])}},
    }


@pytest.mark.parametrize("seed", range(12))
def test_one_over_the_other(swarm, call, seed):
    chance = random.Random(seed)
    swarm.engine = chance.choice(["26.1.5", "28.5.1"])
    for _ in range(4):
        stack = {"compose": [draw(chance)], "prune": chance.random() < 0.7}
        predicted = call(**stack, check=True)
        made = call(**stack, wait_for=chance.choice(["none", "running"]))
        assert bool(predicted.get("failed")) == bool(made.get("failed"))
        if made.get("failed"):
            assert "uses it, which is not described" in made["msg"]
            continue
        assert made["actions"] == predicted["actions"]
        assert call(**stack, redeploy="never")["actions"] == []
        assert "geheim" not in json.dumps(made)
    assert not call(state="absent").get("failed")
