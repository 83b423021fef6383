"""What NCCL's own log says, line by line, and how it is held against the environment of the training."""

from __future__ import annotations

import pytest
from by_path import load

probe = load("roles/preflight/files/probe.py")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], {"network": None, "version": None}),
        (["NCCL INFO Using network Socket", "NCCL INFO Using network IB"], {"network": "IB"}),
        (["NCCL INFO Assigned NET plugin Socket to comm"], {"network": "Socket"}),
        (["NET/Socket : Using [0]eth1:10.0.1.3<0> [1]eth0:10.0.1.4<0>"],
         {"network": "Socket", "interfaces": ["eth0", "eth1"], "devices": []}),
        (["NET/IB : Using [0]mlx5_1:1/RoCE [1]mlx5_0:1/IB ; OOB ib0:10.0.1.3<0>"],
         {"network": "IB", "interfaces": ["ib0"], "devices": ["mlx5_0", "mlx5_1"]}),
        (["NET/Socket : Using [0]a:1.2.3.4<0>", "NET/IB : Using [0]b:1/IB"], {"network": "IB", "devices": ["b"]}),
        (["Bootstrap : Using eth2:10.0.1.3<0>"], {"network": None, "interfaces": ["eth2"]}),
        (["Channel 00 : 0 -> 1 via SHM", "Channel 01 : 0 -> 1 via P2P/IPC", "Channel 02 : 1 -> 0 via NET/IB/0/GDRDMA"],
         {"transports": ["NET/IB", "P2P", "SHM"]}),
        ([f"NCCL WARN {number}{'x' * 400}" for number in range(7)], {"warnings": [f"{number}{'x' * 299}" for number in range(5)]}),
    ],
)  # fmt: skip
def test_nccls_log_tells_which_way_it_took(lines, said):
    found = probe.nccl_facts(lines)
    assert {key: found[key] for key in said} == said


def took(network=None, interfaces=(), transports=()):
    return {"network": network, "interfaces": list(interfaces), "transports": list(transports)}


NET, INTERFACE, TRANSPORT = "nccl network", "nccl interface", "nccl transport"


@pytest.mark.parametrize(
    ("facts", "env", "holder", "records"),
    [
        (took(), {}, "eth0", []),
        (took(interfaces=["eth0"]), {}, "", []),
        (took(interfaces=["eth0"]), {}, "eth0", [(INTERFACE, True, "eth0", "eth0")]),
        (took(interfaces=["eth0", "eth1"]), {}, "eth0", [(INTERFACE, False, "eth0, eth1", "eth0")]),
        (took("Socket"), {}, "", [(NET, True, "Socket", "any")]),
        (took("Socket"), {"NCCL_NET": "socket"}, "", [(NET, True, "Socket", "any")]),
        (took("Socket"), {"NCCL_NET": "IB", "NCCL_IB_DISABLE": "1"}, "", [(NET, False, "Socket", "IB (NCCL_NET)")]),
        (took("Socket"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, True, "Socket", "no IB (NCCL_IB_DISABLE=1)")]),
        (took("IB"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, False, "IB", "no IB (NCCL_IB_DISABLE=1)")]),
        (took("IB"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, True, "IB", "IB (NCCL_IB_DISABLE=0)")]),
        (took("Socket"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, False, "Socket", "IB (NCCL_IB_DISABLE=0)")]),
        (took(), {"NCCL_NET": "IB", "NCCL_IB_DISABLE": "0"}, "", []),
        (took(transports=["P2P", "SHM"]), {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "0"}, "",
         [(TRANSPORT, False, "P2P, SHM", "no P2P (NCCL_P2P_DISABLE=1)")]),
        (took(transports=["P2P"]), {"NCCL_SHM_DISABLE": "1"}, "", [(TRANSPORT, True, "P2P", "no SHM (NCCL_SHM_DISABLE=1)")]),
    ],
)  # fmt: skip
def test_what_nccl_took_is_held_against_its_environment(facts, env, holder, records):
    assert probe.nccl_compared(facts, env, holder) == records
