"""An HTTP proxy as programs are told of it."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.proxy import (
    FilterModule,
    networks_without_proxy,
    no_proxy_environment,
    proxy_environment,
    proxy_files,
    proxy_files_of,
    proxy_is_there,
    proxy_problems,
)
from ansible_collections.ddp.swarm.plugins.module_utils.host import proxy as on_host

SECRET = "S3CR3T"
PROXY: dict[str, Any] = {"http": f"http://ada:{SECRET}@proxy.example:3128"}


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ({}, []),
        (PROXY, []),
        ({**PROXY, "https": "https://[fd00::1]:443", "no_proxy": "a.example,.b.example"}, []),
        ({**PROXY, "no_proxy": ["a", "10.0.0.0/8"]}, []),
        ("http://proxy:3128", ["docker_proxy is no mapping on host1: it has http, https, no_proxy."]),
        ({"HTTP": "x"}, ["docker_proxy has 'HTTP' on host1: it has http, https, no_proxy."]),
        ({"http": f"{SECRET}:3128"}, ["docker_proxy.http is no address such as http://proxy.example:3128 on host1."]),
        ({"https": f"socks5://{SECRET}"}, ["docker_proxy.https is no address such as http://proxy.example:3128 on host1."]),
        ({"http": "http://proxy:port"}, ["docker_proxy.http is no address such as http://proxy.example:3128 on host1."]),
        ({"http": "http://"}, ["docker_proxy.http is no address such as http://proxy.example:3128 on host1."]),
        ({"http": f'http://a:{SECRET}"\n@proxy'}, ["docker_proxy.http has a character on host1 that has to be written as %XX in an address."]),
        ({"http": "http://a:$b@proxy"}, ["docker_proxy.http has a character on host1 that has to be written as %XX in an address."]),
        ({"no_proxy": "a b"}, ["docker_proxy.no_proxy is no list of hosts with ',' between them on host1."]),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_proxy_is_refused_and_not_shown(proxy: Any, said: list[str]) -> None:
    assert proxy_problems(proxy, "host1") == said
    assert SECRET not in str(said)


def test_the_environment() -> None:
    assert proxy_environment({}, ["10.0.0.1"]) == {}
    found = proxy_environment({"http": "http://p", "no_proxy": "a, b"}, ["10.0.0.1", "a"])
    assert found == {
        **{name: "http://p" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")},
        **{name: "a,b,localhost,127.0.0.1,::1,10.0.0.1" for name in ("NO_PROXY", "no_proxy")},
    }
    assert proxy_environment({"https": "https://q", "http": "http://p"})["HTTPS_PROXY"] == "https://q"
    only = proxy_environment({"no_proxy": ["a"]})
    assert only == {"NO_PROXY": "a,localhost,127.0.0.1,::1", "no_proxy": "a,localhost,127.0.0.1,::1"}


def test_files_for_apt() -> None:
    assert proxy_files({}, ["10.0.0.1"], "debian") == {}
    files = proxy_files(PROXY, ["10.0.0.1"], "debian")
    assert files == {
        "/etc/ddp-swarm/proxy.env": f'HTTP_PROXY="{PROXY["http"]}"\nHTTPS_PROXY="{PROXY["http"]}"\nNO_PROXY="localhost,127.0.0.1,::1,10.0.0.1"\n',
        "/etc/ddp-swarm/apt.conf": f'Acquire::http::Proxy "{PROXY["http"]}";\nAcquire::https::Proxy "{PROXY["http"]}";\n',
    }
    only = proxy_files({"https": "https://q", "no_proxy": "a.example"}, [], "debian")["/etc/ddp-swarm/apt.conf"]
    assert only == 'Acquire::https::Proxy "https://q";\n'


def test_package_managers_are_told_in_their_environment_whom_to_reach_without_it() -> None:
    """It holds no password. A host that is added changes no file."""
    assert no_proxy_environment({}, ["10.0.0.1"]) == {}
    direct = ".example,localhost,127.0.0.1,::1,10.0.0.1"
    assert no_proxy_environment({**PROXY, "no_proxy": ".example"}, ["10.0.0.1"]) == {
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


@pytest.mark.parametrize(
    ("default", "hosts", "networks"),
    [
        ("192.168.1.10", [], ["192.168.1.0/24"]),
        ("192.168.1.10", ["192.168.1.11", "192.168.1.12", "gpu2"], ["192.168.1.0/24"]),
        ("192.168.1.10", ["10.7.0.2"], ["10.7.0.0/16", "192.168.1.0/24"]),
        # Routed, or a name: nothing that an engine would have to be restarted for.
        ("192.168.1.10", ["172.16.0.1", "fd00::9"], ["192.168.1.0/24"]),
        ("", ["fd00:7::9"], ["fd00:7::/64"]),
        ("", [], []),
    ],
)
def test_the_engine_reaches_its_own_networks_without_it(default: str, hosts: list[str], networks: list[str]) -> None:
    interfaces = {"eth0": ["192.168.1.10/24", "fd00:7::1/64"], "ib0": ["10.7.0.1/16"], "tun0": ["10.99.0.1/32"]}
    assert networks_without_proxy({"interfaces": interfaces, "default": default}, hosts) == networks


@pytest.mark.parametrize(
    ("address", "lines"),
    [
        ("http://proxy.example:3128", "proxy=http://proxy.example:3128\n"),
        ("https://[fd00::1]:443", "proxy=https://[fd00::1]:443\n"),
        ("http://ada:p%40ss@proxy.example", "proxy=http://proxy.example\nproxy_username=ada\nproxy_password=p@ss\n"),
    ],
)
def test_files_for_dnf(address: str, lines: str) -> None:
    files = proxy_files({"http": address}, [], "redhat")
    assert files["/etc/ddp-swarm/dnf.proxy"] == lines
    assert files["/etc/ddp-swarm/curlrc"] == f'proxy = "{address}"\nnoproxy = "localhost,127.0.0.1,::1"\n'
    assert set(files) == {f"/etc/ddp-swarm/{name}" for name in ("proxy.env", "dnf.proxy", "curlrc")}


@pytest.mark.parametrize("family", ["debian", "redhat"])
def test_a_host_that_was_told_of_it(family: str, tmp_path: Path) -> None:
    files = proxy_files(PROXY, ["10.0.0.1"], family)
    (tmp_path / "etc/ddp-swarm").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / name.lstrip("/")).write_text(text)
    (tmp_path / "etc/ddp-swarm/other").touch()
    seen = on_host.look(tmp_path)
    assert seen == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    host = {"distribution": {"family": family}, "proxy": seen}
    assert proxy_is_there(host, PROXY, ["10.0.0.1"])
    assert not proxy_is_there(host, PROXY, ["10.0.0.2"])
    assert not proxy_is_there(host, {}, ["10.0.0.1"])
    # What stays is an empty file, younger than an engine that has not been started since.
    assert proxy_files_of(host, {}, ["10.0.0.1"]) == {"/etc/ddp-swarm/proxy.env": ""}
    given_up = {**host, "proxy": {"/etc/ddp-swarm/proxy.env": hashlib.sha256(b"").hexdigest()}}
    assert proxy_is_there(given_up, {}, ["10.0.0.1"])
    assert proxy_files_of({**host, "proxy": {}}, {}, []) == {}
    assert proxy_files_of(host, PROXY, ["10.0.0.1"]) == files
    assert not proxy_is_there({**host, "proxy": {}}, PROXY, ["10.0.0.1"])
    assert proxy_is_there({**host, "proxy": {}}, {}, ["10.0.0.1"])
    assert on_host.look(tmp_path / "nowhere") == {}


def test_names() -> None:
    assert set(FilterModule().filters()) == {
        "proxy_problems",
        "networks_without_proxy",
        "proxy_environment",
        "no_proxy_environment",
        "proxy_files_of",
    }
