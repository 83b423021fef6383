"""What to change: each fault of a probe leads to the remedy for it, with the names that its reader needs."""

from __future__ import annotations

import pytest
from preflight_ranks import fail, record, verdict


def hint(reports, host, **limits):
    """The remedy that this host's only finding names."""
    (found,) = [one for one in verdict(reports, **limits)["findings"] if one["host"] == host]
    return found["hint"]


# ---------------------------------------------------------------- what is taken over from the probe


@pytest.mark.parametrize(
    ("layer", "detail", "observed"),
    [
        (7, "", "seen"),
        (7, "by eth1", "seen (by eth1)"),
        (7, "x" * 301, f"seen ({'x' * 300})"),
        (8, "errno 113", "seen"),
        (9, "late", "seen (late)"),
    ],
)
def test_what_was_seen_has_its_details(pair, layer, detail, observed):
    fail(pair[1], layer, 0, name="planted", detail=detail)
    (found,) = verdict(pair)["findings"]
    assert (found["observed"], found["expected"], found["check"]) == (observed, "wanted", "planted")


@pytest.mark.parametrize(
    ("detail", "observed"), [("time was over", "time was over"), ("", "not reached"), (None, "not reached")]
)
def test_what_was_not_reached_says_why(pair, detail, observed):
    pair[1]["probe"]["records"][-1] = record(14, 1, None, detail=detail)
    (found,) = verdict(pair)["findings"]
    assert (found["layer"], found["observed"], found["expected"]) == (14, observed, "the check was made")
    assert found["hint"].startswith("run playbooks/preflight.yml again")


@pytest.mark.parametrize(("peer", "told"), [(0, "host1"), (None, None), (7, "rank 7")])
def test_a_peer_is_told_by_its_host(pair, peer, told):
    fail(pair[1], 9, peer, name="path mtu")
    assert verdict(pair)["findings"][0]["peer"] == told


@pytest.mark.parametrize("layer", range(4, 15))
def test_a_probe_that_is_silent_about_a_layer_has_not_passed_it(pair, layer):
    records = pair[1]["probe"]["records"]
    records[:] = [one for one in records if one["layer"] != layer]
    (found,) = verdict(pair)["findings"]
    assert (found["layer"], found["host"], found["observed"]) == (layer, "host2", "the probe says nothing about it")


# ---------------------------------------------------------------- one table for all layers


@pytest.mark.parametrize(
    ("layer", "peer", "facts", "remedy"),
    [
        (4, None, {"name": "torch", "code": "import_unfinished"}, "torch was not imported in time on host2: look for what"),
        (4, None, {"name": "torch", "code": "import_killed"}, "the kernel ended the process with torch on host2, as it does where memory runs"),
        (4, None, {"name": "nccl", "code": "no_nccl"}, "the torch in the image has no NCCL, as builds for CPUs have none: set training_backend"),
        (4, None, {"name": "torch", "observed": "ImportError"}, "torch can be imported from the image of others: run 'docker image rm"),
        (5, None, {"name": "memlock"}, "raise memlock for containers on host2, or set NCCL_IB_DISABLE=1"),
        (5, None, {"name": "/dev/shm"}, "the task on host2 has no /dev/shm: set training_shm_size"),
        (5, None, {"name": "gpu"}, "no GPU is visible in the task on host2: nvidia must be the default runtime"),
        (6, None, {"name": "interface", "code": "shared_subnet"}, "the subnet of ddp-net collides with"),
        (6, None, {"name": "interface"}, "the task on host2 is not attached to ddp-net: run playbooks/swarm.yml"),
        (6, None, {"name": "mtu", "code": "shared_subnet"}, "set training_interface to the interface of ddp-net on host2"),
        (6, None, {"name": "GLOO_SOCKET_IFNAME", "value": "eth1,eth2"}, "set training_interface to eth0: GLOO_SOCKET_IFNAME"),
        (7, None, {"name": "own name", "code": "unresolved"}, "the engine on host2 takes no part in the swarm"),
        (7, None, {"name": "own name", "observed": "node1: 10.0.0.2"}, "the name does not lead to the task on host2: the service"),
        (7, 0, {"name": "peer name", "code": "unresolved"}, "host2 does not learn the name of rank 0 on host1:"),
        (7, 0, {"name": "peer name", "code": "search_domain", "value": "wild.example"},
         "the DNS of the search domain wild.example has an answer to every name, and gave the task on host2 one"),
        (7, 0, {"name": "peer name", "code": "outside_subnet"}, "the name of rank 0 leads host2 to an address outside of"),
        (7, 0, {"name": "peer name", "detail": None}, "host2 does not learn the name of rank 0 on host1:"),
        (8, None, {"name": "listener"}, "the probe's own port is taken on host2: set PROBE_PORT to a free one"),
        (8, 0, {"name": "tcp", "code": "other_rank"}, "the name of rank 0 leads to another rank's task: run"),
        (8, 0, {"name": "tcp", "code": "no_greeting"}, "the task on host1 accepts connections but does not"),
        (8, 0, {"name": "tcp", "code": "refused"}, "host1 answers, but the probe there does not listen: look"),
        (8, 0, {"name": "tcp", "observed": "timed out"}, "UDP 4789 is blocked, or the VXLAN source address does not match, "),
        (9, 0, {"name": "path mtu"}, "small messages pass between host2 and host1, 1 MiB does not: check their links"),
        (10, None, {"name": "master port free"}, "another program holds port 12355 in the task on host2: set training_master_port to 12365"),
        (10, 0, {"name": "master port reachable"}, "host2 does not reach port 12355 of rank 0 on host1: free it, or set"),
        (11, 0, {"name": "group", "observed": "did not join"}, "rank 0 on host1 is missing from the group: look for a stopped"),
        (12, 0, {"name": "reduce 4", "observed": "silent"}, "rank 0 on host1 stopped taking part (silent): look for a stopped"),
        (12, None, {"name": "reduce 4", "observed": "sum 7", "code": "wrong_sum"}, "the sum is wrong on host2: do not train on it. Suspect memory"),
        (12, None, {"name": "reduce 4", "observed": "no sum"}, "the collective did not end on host2 (slowest pair: host1 to host2, 410 MB/s): look"),
        (12, None, {"name": "reduce 4", "observed": None}, "the collective did not end on host2 (slowest pair: host1 to host2, 410 MB/s): look"),
    ],
)  # fmt: skip
def test_the_remedy_of_each_fault(pair, layer, peer, facts, remedy):
    fail(pair[1], layer, peer, **facts)
    found = hint(pair, "host2")
    assert found.startswith(remedy), found


@pytest.mark.parametrize(
    ("interface", "expected", "name"), [("ens5", "eth0", "ens5"), (None, "eth9", "eth9"), ("", "eth9", "eth9")]
)
def test_the_interface_to_set_is_what_the_probe_found_or_expected(pair, interface, expected, name):
    pair[1]["probe"]["interface"] = interface
    fail(pair[1], 6, name="NCCL_SOCKET_IFNAME", observed="eth1", expected=expected)
    assert hint(pair, "host2") == f"set training_interface to {name}: NCCL_SOCKET_IFNAME on host2 leads elsewhere"


# ---------------------------------------------------------------- GPUs


@pytest.mark.parametrize(
    ("driver", "cuda", "needed"),
    [
        ("449.99", "11.8", 450), ("450.0", "11.8", None), ("524.1", "12.4", 525), ("525.1", "12.4", None),
        ("579.9", "13.0", 580), ("580.0", "13.0", None), ("1.0", "14.0", None), ("", "13.0", None), (None, "13.0", None),
    ],
)  # fmt: skip
def test_a_driver_that_is_too_old_for_the_images_cuda(pair, driver, cuda, needed):
    for one in pair:
        one["probe"]["identity"]["cuda"] = cuda
    pair[1]["host_checks"].update(gpus=1, nvidia_driver=driver)
    found = hint(pair, "host2")
    if needed:
        assert found.startswith(
            f"the NVIDIA driver {driver} on host2 is too old for the image's CUDA {cuda}, which needs {needed} or newer"
        )
    else:
        assert found.startswith("no GPU is visible in the task on host2: nvidia must be the default runtime")


@pytest.mark.parametrize(
    ("gpus", "cuda", "runtime", "remedy"),
    [
        (1, None, "nvidia", "the torch in the image on host2 has no CUDA: build it with one that has"),
        (0, None, "nvidia", "the NVIDIA driver on host2 shows no GPU (nvidia-smi): install or load it"),
        (0, "13.0", "runc", "the NVIDIA driver on host2 shows no GPU (nvidia-smi): install or load it"),
        (1, "13.0", "runc", "no GPU is visible in the task on host2, whose default runtime is runc: it must be nvidia"),
        (1, "13.0", "nvidia", "no GPU is visible in the task on host2: nvidia must be the default runtime"),
        (1, "13.0", "", "no GPU is visible in the task on host2: nvidia must be the default runtime"),
        (None, "13.0", None, "no GPU is visible in the task on host2: nvidia must be the default runtime"),
        (None, None, "runc", "no GPU is visible in the task on host2, whose default runtime is runc"),
    ],
)
def test_why_a_task_sees_no_gpu(pair, gpus, cuda, runtime, remedy):
    for one in pair:
        one["probe"]["identity"]["cuda"] = cuda
    if gpus is not None:
        pair[1]["host_checks"]["gpus"] = gpus
    pair[1]["host_checks"]["engine"]["default_runtime"] = runtime
    pair[1]["probe"]["records"][1] = record(5, 1, False, name="gpu", observed=0)
    # Layer 5 is judged from the host's own count as well.
    assert {one["hint"][: len(remedy)] for one in verdict(pair, backend="gloo")["findings"]} == {remedy}


def test_a_probe_without_an_identity_is_not_told_to_have_no_cuda(pair):
    pair[1]["host_checks"]["gpus"] = 1
    pair[1]["probe"]["identity"] = {}
    found = [one for one in verdict(pair)["findings"] if one["check"] == "GPUs"]
    assert found == [], "an image that differs comes first"
    for one in pair:
        one["probe"]["identity"] = {}
    assert hint(pair, "host2").startswith("no GPU is visible in the task on host2: nvidia")


# ---------------------------------------------------------------- layer 8


def test_without_the_peers_report_no_direction_is_named(pair):
    fail(pair[0], 8, 1, name="tcp", observed="timed out")
    pair[0]["probe"]["heard"] = {}
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"]["state"] = "running"
    assert "does not match, between host1 and host2: open 4789/udp both ways" in hint(pair, "host1")
    fail(pair[0], 8, 7, name="tcp", observed="timed out")
    assert "does not match, between host1 and rank 7: open" in hint(pair, "host1")


def test_the_data_path_port_is_the_managers_whoever_failed(trio):
    trio[2]["host_checks"]["engine"]["data_path_port"] = 7777
    trio[1]["host_checks"]["engine"]["data_path_port"] = 0
    fail(trio[1], 8, 0, name="tcp", observed="timed out")
    assert hint(trio, "host2").endswith("open 7777/udp both ways")


# ---------------------------------------------------------------- layer 9


@pytest.mark.parametrize(
    ("paths", "mtu", "loss"),
    [
        # Each path that a probe measured, and its interface's MTU: does a path carry less than its interface?
        ((1450, 1450), 1450, True),
        ((1450, 1449), 1450, False),
        ((9216, 9216), 65485, True),
        ((9215, 9216), 65485, False),
        ((None, None), 1450, True),
        ((None, 1350), 1450, False),
        ((1450, 1350), None, False),
    ],
)
def test_packets_that_are_lost_for_their_size_or_for_no_reason(pair, paths, mtu, loss):
    for one, path in zip(pair, paths):
        one["probe"]["mtu"] = mtu
        next(iter(one["probe"]["pairs"].values()))["path_mtu"] = path
    fail(pair[0], 9, 1, name="path mtu", observed="1 MiB did not pass")
    least = min(path for path in (*paths, 10**6) if path)
    size = f"small messages pass, packets of {least + 1} B and more are lost between host1 and host2: set the "
    assert hint(pair, "host1").startswith(
        "small messages pass between host1 and host2, 1 MiB does not" if loss else size
    )


def test_a_torch_that_nobody_can_import(pair):
    for one in pair:
        one["probe"]["identity"].pop("torch")
    fail(pair[1], 4, name="torch", observed="ImportError")
    assert hint(pair, "host2").startswith("run playbooks/image.yml --limit host2: its image must have")


def test_links_of_unequal_size_are_named(pair):
    """As where jumbo frames are switched on on one side alone."""
    for one, size in zip(pair, (9000, 1500)):
        one["host_checks"]["link"] = {"name": "eth0", "mtu": size}
    pair[0]["probe"]["pairs"]["1"]["path_mtu"] = 1450
    fail(pair[0], 9, 1, name="path mtu", observed="1 MiB did not pass")
    found = hint(pair, "host1")
    assert found.startswith(
        "the hosts' links carry packets of unequal size (9000 B on host1 and 1500 B on host2): give both the same"
    )
    assert found.endswith("set the overlay's MTU to 1500 with swarm_network_mtu")
    pair[0]["host_checks"]["link"]["mtu"] = 1500
    assert "unequal" not in hint(pair, "host1")


@pytest.mark.parametrize(
    ("network", "option", "mtu", "mode", "remedy"),
    [
        (0, 0, 1450, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (1600, 1500, 1450, "overlay", "overlay's MTU to 1500 with swarm_network_mtu (containers get 150 B less)"),
        (0, 1500, 1450, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (0, 1650, 1450, "overlay", "overlay's MTU to 1550 with swarm_network_mtu (containers get 200 B less)"),
        # A difference that no header makes.
        (0, 1651, 1450, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (0, 1450, 1450, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (0, 1451, 1450, "overlay", "overlay's MTU to 1351 with swarm_network_mtu (containers get 1 B less)"),
        (0, 1400, 1450, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (0, 0, None, "overlay", "overlay's MTU to 1400 with swarm_network_mtu (containers get 50 B less)"),
        (0, 0, 1450, "host", "hosts' MTU to 1350"),
    ],
)
def test_the_mtu_to_set(pair, network, option, mtu, mode, remedy):
    pair[0]["host_checks"]["network"] = {"subnet": "", "mtu": network, "encrypted": False, "driver": "overlay"}
    for one in pair:
        one["probe"]["mtu"] = mtu
    pair[0]["probe"]["pairs"]["1"]["path_mtu"] = 1350
    fail(pair[0], 9, 1, name="path mtu", observed="1 MiB did not pass")
    assert hint(pair, "host1", network_mtu=option, network_mode=mode).endswith(f"set the {remedy}")


# ---------------------------------------------------------------- layer 11


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"name": "connections", "observed": "10.1.2.3"}, "the process group on host2 talks over 10.1.2.3: set training_inte"),
        ({"name": "nccl interface", "observed": "eth1"}, "the process group on host2 talks over eth1: set training_interface"),
        ({"name": "nccl network", "observed": "Socket", "code": "no_infiniband"}, "NCCL on host2 took Socket, though InfiniBand was"),
        ({"name": "nccl network", "observed": "IB", "expected": "no IB"}, "NCCL on host2 took IB, asked for was no IB: look"),
        ({"name": "nccl network", "observed": "X", "expected": "Socket"}, "NCCL on host2 took X, asked for was Socket: look"),
        ({"name": "nccl transport", "observed": "P2P", "expected": "IB"}, "NCCL on host2 took P2P, asked for was IB: look at"),
        ({"observed": "No socket interface found"}, "the backend finds no such interface on host2: set training_interface to"),
        ({"observed": "Mismatched NCCL version"}, "the ranks have different NCCL versions: run playbooks/image.yml on every"),
        ({"observed": "x", "detail": "Duplicate GPU"}, "two ranks were given the same GPU: check the generic resources"),
        ({"observed": "NVML error"}, "the NVIDIA driver on host2 does not fit the image's CUDA: update the driver"),
        ({"observed": "no kernel image is available"}, "the torch in the image is not built for the GPU on host2: see its compute_cap"),
        ({"observed": "No CUDA GPUs"}, "no GPU is visible in the task on host2: nvidia must be the default runtime"),
        ({"observed": "CUDA out of memory"}, "another program holds the memory of the GPU on host2: see nvidia-smi"),
        ({"observed": "Error: /dev/shm/nccl-x"}, "/dev/shm in the task on host2 is too small for NCCL: raise training_shm"),
        ({"observed": "ibv_create_qp failed"}, "InfiniBand does not work in the task on host2 (locked memory, devices)"),
        ({"observed": "Address already in use"}, "another program holds the master port 4711 in the task on host2: stop it"),
        ({"observed": "Timed out"}, "the probe's own ports pass, those that gloo picks by itself do not: look for a firewall"),
        ({"observed": "x", "detail": "no route to host"}, "the probe's own ports pass, those that gloo picks by itself do not"),
        ({"observed": "no result", "code": "no_result"}, "the probe's own ports pass, those that gloo picks by itself do not: look"),
        ({"observed": "odd"}, "the group did not form: what was seen has the backend's own words"),
    ],
)  # fmt: skip
def test_why_no_group_forms(pair, facts, remedy):
    fail(pair[1], 11, **{"name": "group", **facts})
    found = hint(pair, "host2", master_port=4711)
    assert found.startswith(remedy), found


@pytest.mark.parametrize(("interface", "told"), [("eth7", "eth7"), (None, "the interface of ddp-net")])
def test_the_interface_of_the_group(pair, interface, told):
    pair[1]["probe"]["interface"] = interface
    fail(pair[1], 11, name="connections", observed="10.1.2.3")
    assert hint(pair, "host2").endswith(f"set training_interface to {told}")
