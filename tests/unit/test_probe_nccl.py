"""What NCCL's own log says, line by line, and how it is held against the environment of the training."""

from __future__ import annotations

import pytest
from ddp_probe.checks import nccl_log


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
        # Plugins: NVIDIA's for InfiniBand, and AWS's.
        (["NCCL INFO Assigned NET plugin IBext_v8 to comm", "NCCL INFO Using network IBext_v8"], {"network": "IBext_v8"}),
        (["NCCL INFO Using network AWS Libfabric", "NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/AWS Libfabric/0/GDRDMA"],
         {"network": "AWS Libfabric", "transports": ["NET/AWS Libfabric"]}),
        (["NET/IBext_v8 : Using [0]mlx5_0:1/IB ; OOB eth0:fe80::1%eth0<0>"], {"network": "IBext_v8", "devices": ["mlx5_0"], "interfaces": ["eth0"]}),
        # That the library is missing is no failure, but says why another network was taken.
        (["NCCL WARN Failed to open libibverbs.so[.1]", "NCCL INFO Using network Socket"],
         {"network": "Socket", "no_verbs": True, "warnings": []}),
        (["NCCL INFO Failed to open libibverbs.so[.1]"], {"network": None, "no_verbs": True}),
        (["NET/Socket : Using [0]a:1.2.3.4<0>", "NET/IB : Using [0]b:1/IB"], {"network": "IB", "devices": ["b"]}),
        (["Bootstrap : Using eth2:10.0.1.3<0>"], {"network": None, "interfaces": ["eth2"]}),
        (["Channel 00 : 0 -> 1 via SHM", "Channel 01 : 0 -> 1 via P2P/IPC", "Channel 02 : 1 -> 0 via NET/IB/0/GDRDMA"],
         {"transports": ["NET/IB", "P2P", "SHM"]}),
        ([f"NCCL WARN {number}{'x' * 400}" for number in range(7)], {"warnings": [f"{number}{'x' * 299}" for number in range(5)]}),
    ],
)  # fmt: skip
def test_nccls_log_tells_which_way_it_took(lines, said):
    found = nccl_log.nccl_facts(lines)
    assert {key: found[key] for key in said} == said


def took(network=None, interfaces=(), transports=(), **facts):
    return {"network": network, "interfaces": list(interfaces), "transports": list(transports), **facts}


NET, INTERFACE, TRANSPORT = "nccl network", "nccl interface", "nccl transport"


@pytest.mark.parametrize(
    ("facts", "env", "holder", "records"),
    [
        (took(), {}, "eth0", []),
        (took(interfaces=["eth0"]), {}, "", []),
        (took(interfaces=["eth0"]), {}, "eth0", [(INTERFACE, True, "eth0", "eth0", None)]),
        (took(interfaces=["eth0", "eth1"]), {}, "eth0", [(INTERFACE, False, "eth0, eth1", "eth0", None)]),
        (took("Socket"), {}, "", [(NET, True, "Socket", "any", None)]),
        (took("Socket"), {"NCCL_NET": "socket"}, "", [(NET, True, "Socket", "any", None)]),
        (took("Socket"), {"NCCL_NET": "IB", "NCCL_IB_DISABLE": "1"}, "", [(NET, False, "Socket", "IB (NCCL_NET)", "no_infiniband")]),
        (took("Socket"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, True, "Socket", "no IB (NCCL_IB_DISABLE=1)", None)]),
        (took("IB"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, False, "IB", "no IB (NCCL_IB_DISABLE=1)", None)]),
        (took("IB"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, True, "IB", "IB (NCCL_IB_DISABLE=0)", None)]),
        (took("Socket"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, False, "Socket", "IB (NCCL_IB_DISABLE=0)", "no_infiniband")]),
        (took("IB"), {"NCCL_NET": "IBext"}, "", [(NET, False, "IB", "IBext (NCCL_NET)", None)]),
        (took("IB"), {"NCCL_NET": "Socket"}, "", [(NET, False, "IB", "Socket (NCCL_NET)", None)]),
        (took("IBext_v8"), {"NCCL_NET": "IBext"}, "", [(NET, True, "IBext_v8", "any", None)]),
        (took("IBext_v8"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, True, "IBext_v8", "IB (NCCL_IB_DISABLE=0)", None)]),
        (took("IBext_v8"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, False, "IBext_v8", "no IB (NCCL_IB_DISABLE=1)", None)]),
        (took("AWS Libfabric"), {"NCCL_IB_DISABLE": "0"}, "", [(NET, True, "AWS Libfabric", "IB (NCCL_IB_DISABLE=0)", None)]),
        (took("AWS Libfabric"), {"NCCL_IB_DISABLE": "1"}, "", [(NET, True, "AWS Libfabric", "no IB (NCCL_IB_DISABLE=1)", None)]),
        (took("AWS Libfabric"), {"NCCL_NET": "AWS Libfabric"}, "", [(NET, True, "AWS Libfabric", "any", None)]),
        (took("Socket", no_verbs=True), {"NCCL_IB_DISABLE": "0"}, "", [(NET, False, "Socket", "IB (NCCL_IB_DISABLE=0)", "no_verbs")]),
        (took(), {"NCCL_NET": "IB", "NCCL_IB_DISABLE": "0"}, "", []),
        (took(transports=["P2P", "SHM"]), {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "0"}, "",
         [(TRANSPORT, False, "P2P, SHM", "no P2P (NCCL_P2P_DISABLE=1)", None)]),
        (took(transports=["P2P"]), {"NCCL_SHM_DISABLE": "1"}, "", [(TRANSPORT, True, "P2P", "no SHM (NCCL_SHM_DISABLE=1)", None)]),
    ],
)  # fmt: skip
def test_what_nccl_took_is_held_against_its_environment(facts, env, holder, records):
    assert nccl_log.nccl_compared(facts, env, holder) == records


def test_several_rails_are_all_the_trainings_own():
    (one,) = nccl_log.nccl_compared(took(interfaces=["eth0", "eth1"]), {}, "eth0", ["eth0", "eth1"])
    assert one == (INTERFACE, True, "eth0, eth1", "eth0, eth1", None)
    (one,) = nccl_log.nccl_compared(took(interfaces=["eth0", "eth2"]), {}, "eth0", ["eth0", "eth1"])
    assert one[1] is False
