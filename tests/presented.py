"""Lab hosts that say they are Ubuntu 24.04 or Rocky Linux 9: stand-ins. What they run is Debian's."""

from pathlib import Path

from labs import Lab

UBUNTU = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
"""
ROCKY = """\
NAME="Rocky Linux"
VERSION="9.6 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.6"
PRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"
"""
PRESENTS = "rm -f /etc/os-release && printf %s '{}' >/etc/os-release"
# As they are there on a host of that family.
DNF = "mkdir -p /etc/yum.repos.d /etc/pki/rpm-gpg /etc/dnf/vars && echo 9 >/etc/dnf/vars/releasever"
RPMS = Path(__file__).parent / "distributions" / "make-rpms.sh"


def present_ubuntu(lab: Lab, host: str) -> None:
    lab.on(host, "sh", "-c", PRESENTS.format(UBUNTU))


def present_rocky(lab: Lab, host: str) -> None:
    """With dnf, and with a signed repository in /srv/docker, which stands in for Docker's and for the distribution's."""
    script = f"cat >/root/make-rpms.sh <<'SCRIPT'\n{RPMS.read_text()}\nSCRIPT\napt-get update -qq; {DNF}; sh /root/make-rpms.sh /srv/docker"
    lab.on(host, "sh", "-c", script, timeout=600)
    lab.on(host, "sh", "-c", PRESENTS.format(ROCKY))
