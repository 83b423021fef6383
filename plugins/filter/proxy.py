"""Filters: an HTTP proxy as the engine, a build, apt, dnf and curl are told of it.

None of it is given in a command line or kept in a file that others may read, as a proxy's address may hold a password.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from ..module_utils.host.proxy import APT, CURL, DNF, ENVIRONMENT

HERE = ("localhost", "127.0.0.1", "::1")
# What ends a value, or means more, in one of the files.
ODD = re.compile(r"""[\s"'\\$`;]""")
KEYS = ("http", "https", "no_proxy")


def proxy_problems(proxy: Any, host: str) -> list[str]:
    """Sentences about docker_proxy, which show no password."""
    if not isinstance(proxy, dict):
        return [f"docker_proxy is no mapping on {host}: it has {', '.join(KEYS)}."]
    said = [f"docker_proxy has '{key}' on {host}: it has {', '.join(KEYS)}." for key in proxy if key not in KEYS]
    for key in ("http", "https"):
        address = str(proxy.get(key) or "")
        parts = split(address)
        if address and not (parts and parts[0] in ("http", "https") and parts[1]):
            said.append(f"docker_proxy.{key} is no address such as http://proxy.example:3128 on {host}.")
        elif ODD.search(address):
            said.append(f"docker_proxy.{key} has a character on {host} that has to be written as %XX in an address.")
    if ODD.search(joined(proxy.get("no_proxy"))):
        said.append(f"docker_proxy.no_proxy is no list of hosts with ',' between them on {host}.")
    return said


def split(address: str) -> tuple[str, str, str, str] | None:
    """Scheme, host with port, user and password."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return parts.scheme, f"{host}{port}" if host else "", unquote(parts.username or ""), unquote(parts.password or "")


def joined(hosts: Any) -> str:
    return ",".join(str(host) for host in hosts) if isinstance(hosts, list) else str(hosts or "")


def networks_without_proxy(addresses: dict[str, Any], hosts: Iterable[str]) -> list[str]:
    """Of a host's own networks, those of its default route and of `hosts`, which are addresses or names; `addresses` is what host_info says.

    Networks, and not each host: an engine would have to be restarted for each that is added. Swarm itself takes no proxy (since 18.09.4,
    https://github.com/moby/moby/issues/34996).
    """
    own = [ipaddress.ip_interface(address) for found in addresses["interfaces"].values() for address in found]
    wanted = [address for text in (addresses["default"], *hosts) if (address := address_of(text))]
    return sorted({str(one.network) for one in own if any(address in one.network for address in wanted)})


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def proxy_environment(proxy: dict[str, Any], hosts: Iterable[str] = ()) -> dict[str, str]:
    """As programs know it, in both cases; empty without a proxy. `hosts` are reached without it, beside those of no_proxy."""
    if not proxy:
        return {}
    without = [host.strip() for host in joined(proxy.get("no_proxy")).split(",")]
    direct = ",".join(dict.fromkeys(host for host in (*without, *HERE, *hosts) if host))
    found = {
        "HTTP_PROXY": proxy.get("http"),
        "HTTPS_PROXY": proxy.get("https") or proxy.get("http"),
        "NO_PROXY": direct,
    }
    upper = {name: str(value) for name, value in found.items() if value}
    return {**upper, **{name.lower(): value for name, value in upper.items()}}


def no_proxy_environment(proxy: dict[str, Any], hosts: Iterable[str]) -> dict[str, str]:
    """Of that, what no file is needed for. apt and dnf (curl) go by it also where their settings name a proxy."""
    return {name: value for name, value in proxy_environment(proxy, hosts).items() if name.upper() == "NO_PROXY"}


def proxy_files(proxy: dict[str, Any], networks: Iterable[str], family: str) -> dict[str, str]:
    """What is written where on a host, for root alone; nothing without a proxy. `networks` are reached without it."""
    environment = proxy_environment(proxy, networks)
    if not environment:
        return {}
    lines = [f'{name}="{value}"' for name, value in environment.items() if name.isupper()]
    files = {ENVIRONMENT: "\n".join(lines) + "\n"}
    if family == "debian":
        files[APT] = "".join(
            f'Acquire::{scheme}::Proxy "{environment[name]}";\n'
            for scheme, name in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY"))
            if name in environment
        )
    else:
        scheme, place, user, password = split(environment["HTTPS_PROXY"]) or ("", "", "", "")
        secret = f"proxy_username={user}\nproxy_password={password}\n" if user else ""
        files[DNF] = f"proxy={scheme}://{place}\n{secret}"
        files[CURL] = f'proxy = "{environment["HTTPS_PROXY"]}"\nnoproxy = "{environment["NO_PROXY"]}"\n'
    return files


def proxy_files_of(host: dict[str, Any], proxy: dict[str, Any], networks: Iterable[str]) -> dict[str, str]:
    """The same for a host of which `host` is what host_info says.

    One that was told of a proxy keeps an empty file when it is to have none: by its time the engine is known to have the old one still.
    """
    files = proxy_files(proxy, networks, host["distribution"]["family"])
    return files or ({ENVIRONMENT: ""} if host["proxy"] else {})


def proxy_is_there(host: dict[str, Any], proxy: dict[str, Any], networks: Iterable[str]) -> bool:
    """Whether a host has these files and no others; `host` is what host_info says."""
    wanted = proxy_files_of(host, proxy, networks)
    digests: dict[str, str] = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in wanted.items()}
    return bool(digests == host["proxy"])


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "proxy_problems": proxy_problems,
            "networks_without_proxy": networks_without_proxy,
            "proxy_environment": proxy_environment,
            "no_proxy_environment": no_proxy_environment,
            "proxy_files_of": proxy_files_of,
        }
