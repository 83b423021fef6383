"""An HTTP proxy on a host of a lab: tinyproxy, on port 3128, for whoever knows ada's password."""

import shlex

from labs import Lab

SECRET = "S3CR3T-of-the-proxy"


def run_tinyproxy(lab: Lab, host: str, *settings: str) -> None:
    """`settings` are further lines of its configuration."""
    packages = "apt-get update -qq && apt-get install -qq -y --no-install-recommends tinyproxy"
    lab.on(host, "sh", "-c", packages, timeout=300)
    text = "".join(f"{line}\n" for line in ("Port 3128", "Timeout 600", f"BasicAuth ada {SECRET}", *settings))
    lab.on(
        host,
        "sh",
        "-c",
        f"printf %s {shlex.quote(text)} >/etc/tinyproxy/tinyproxy.conf && systemctl restart tinyproxy",
    )


def address_of(address: str) -> str:
    """What a host is told of the one at this address."""
    return f"http://ada:{SECRET}@{address}:3128"
