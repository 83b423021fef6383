"""Which key files become keyrings of apt. The keys are real, made here by gpg, and the tasks run for real, on this machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host.keyring import keyring_problem as problem
from by_path import ROOT

# How apt of Debian 12 reads an armored file (dearmor_keyring in apt-key).
APT_READS = """/^-----BEGIN/{ x = 1; }
/^$/{ if (x == 1) { x = 2; }; }
/^[^=-]/{ if (x == 2) { print $0; }; }
/^-----END/{ x = 0; }"""


class Keys:
    """A GnuPG home with keys. `files` has what a mirror may offer, `prints` the fingerprints of its keys."""

    def __init__(self, home: Path) -> None:
        self.home, self.prints, self.files = home, dict[str, str](), dict[str, bytes]()
        for name in ("right", "other"):
            self.make(name, ["0"])
        self.make("subkeys", ["0"])
        self.gpg("--passphrase", "", "--quick-add-key", self.prints["subkeys"], "cv25519", "encr", "0")
        self.make("expired", ["1d"], "--faked-system-time=20200101T000000")
        self.make("revoked", ["0"])
        revocation = (home / "openpgp-revocs.d" / f"{self.prints['revoked']}.rev").read_text()
        self.gpg("--import", given=revocation.replace(":-----BEGIN", "-----BEGIN").encode())
        right, other = self.gpg("--armor", "--export", "right"), self.gpg("--armor", "--export", "other")
        body = [key.split(b"\n\n", 1)[1].split(b"-----END")[0] for key in (right, other)]
        block = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%b-----END PGP PUBLIC KEY BLOCK-----\n"
        self.files = {
            **{name: self.gpg("--armor", "--export", name) for name in self.prints},
            "binary": self.gpg("--export", "right"),
            "two": right + other,
            "two, the other first": other + right,
            "two in one block": self.gpg("--armor", "--export", "right", "other"),
            "two, binary": self.gpg("--export", "right") + self.gpg("--export", "other"),
            "secret": self.gpg("--passphrase", "", "--armor", "--export-secret-keys", "right"),
            "a web page": b"<html>Log in to the network</html>\n",
            "nothing": b"",
            "a text after it": right + b"and more\n",
            "bytes after it": self.gpg("--export", "right") + b"and more\n",
            "another after the checksum": block % (body[0] + body[1]),
            "another in a block that gpg skips": b"-----BEGIN X-----\n\n%b-----END X-----\n%b" % (body[1], right),
        }

    def gpg(self, *arguments: str, given: bytes = b"", check: bool = True) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode=loopback", *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=check).stdout

    def make(self, name: str, expires: list[str], *options: str) -> None:
        self.gpg(*options, "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", *expires)
        self.prints[name] = self.listed(self.gpg("--export", name))[0]

    def listed(self, content: bytes) -> list[str]:
        """The fingerprints in a keyring, as gpg finds them."""
        listing = self.gpg("--show-keys", "--with-colons", given=content, check=False).decode()
        return [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]

    def trusted_by_apt(self, content: bytes) -> list[str]:
        text = subprocess.run(["awk", APT_READS], input=content, capture_output=True, check=True).stdout
        binary = subprocess.run(["base64", "--decode"], input=text, capture_output=True, check=False).stdout
        return self.listed(binary)

    def judged(self, file: str, fingerprint: str) -> str:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--show-keys", "--with-colons"]
        done = subprocess.run(command, input=self.files[file], capture_output=True, check=False)
        read = {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
        found: str = problem(read, self.prints[fingerprint])
        return found


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    # Not pytest's directory: gpg's agent listens on a socket in it, whose path must be short.
    with tempfile.TemporaryDirectory() as home:
        yield Keys(Path(home))
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


@pytest.mark.parametrize("file", ["right", "binary", "a text after it"])
def test_the_right_key_alone(keys: Keys, file: str) -> None:
    assert keys.judged(file, "right") == ""


def test_a_subkey_is_no_key_of_its_own(keys: Keys) -> None:
    assert keys.judged("subkeys", "subkeys") == ""
    keys.prints["sub"] = keys.listed(keys.files["subkeys"])[1]
    assert keys.judged("subkeys", "sub") == f"its fingerprint is {keys.prints['subkeys']}"


@pytest.mark.parametrize("file", ["two", "two, the other first", "two in one block", "two, binary"])
def test_the_right_key_and_another(keys: Keys, file: str) -> None:
    said = keys.judged(file, "right")
    assert said.startswith("there are 2 keys in it (")
    assert keys.prints["right"] in said
    assert keys.prints["other"] in said


@pytest.mark.parametrize(
    ("file", "pinned", "said"),
    [
        ("other", "right", "its fingerprint is "),
        ("expired", "expired", "the key has expired"),
        ("revoked", "revoked", "the key is revoked"),
        ("secret", "right", "it is the secret key"),
        ("a web page", "right", "gpg cannot read it (gpg: no valid OpenPGP data found.)"),
        ("nothing", "right", ""),
        ("bytes after it", "right", "gpg cannot read it ("),
    ],
)
def test_what_else_is_refused(keys: Keys, file: str, pinned: str, said: str) -> None:
    found = keys.judged(file, pinned)
    assert found
    assert found.startswith(said)


class Host:
    """This machine, with a directory for apt's keyrings, and a mirror that is a directory as well."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keyring = directory / "keyrings" / "docker.asc"
        self.keyring.parent.mkdir()

    def play(self, offered: bytes, fingerprint: str, *options: str) -> str:
        """What ansible-playbook says."""
        (self.directory / "gpg").write_bytes(offered)
        offer = {"name": "docker", "key": f"file://{self.directory}/gpg", "fingerprint": fingerprint, "variable": "pin"}
        tasks = [{"ansible.builtin.include_role": {"name": "docker", "tasks_from": "engine/key"}}]
        (self.directory / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        variables: dict[str, Any] = {
            "_docker_offer": offer,
            "docker_host_info": {"distribution": {"family": "debian"}},
            "_docker_keyrings": str(self.keyring.parent),
        }
        variables |= {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        play = [Path(sys.executable).parent / "ansible-playbook", self.directory / "play.json", "-i", "host1,"]
        done = subprocess.run(
            [*play, "-e", json.dumps(variables), *options],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "NO_COLOR": "1",
                "TMPDIR": self.place("tmp"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert os.listdir(self.directory / "tmp") == []
        return " ".join(done.stdout.split()) + done.stderr

    def place(self, name: str) -> str:
        (self.directory / name).mkdir(exist_ok=True)
        return str(self.directory / name)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_key_is_installed_once(keys: Keys, host: Host) -> None:
    assert "changed=1 " in host.play(keys.files["right"], keys.prints["right"])
    assert host.keyring.stat().st_mode & 0o777 == 0o644
    assert keys.trusted_by_apt(host.keyring.read_bytes()) == [keys.prints["right"]]
    # It is there, so the mirror is not asked again.
    assert "changed=0 " in host.play(keys.files["other"], keys.prints["right"])


@pytest.mark.parametrize("file", ["another after the checksum", "another in a block that gpg skips"])
def test_apt_finds_no_more_in_it_than_gpg(keys: Keys, host: Host, file: str) -> None:
    assert keys.listed(keys.files[file]) == [keys.prints["right"]]
    assert keys.prints["other"] in keys.trusted_by_apt(keys.files[file])
    host.play(keys.files[file], keys.prints["right"])
    assert keys.trusted_by_apt(host.keyring.read_bytes()) == [keys.prints["right"]]
    # The same in a file of an earlier run.
    host.keyring.write_bytes(keys.files[file])
    assert "changed=1 " in host.play(keys.files["right"], keys.prints["right"])
    assert keys.trusted_by_apt(host.keyring.read_bytes()) == [keys.prints["right"]]


def test_a_refused_key_does_not_reach_apt(keys: Keys, host: Host) -> None:
    said = host.play(keys.files["two"], keys.prints["right"])
    assert f"host1 must not trust file://{host.directory}/gpg: there are 2 keys in it" in said
    assert "Nothing of it stays on the host." in said
    assert os.listdir(host.keyring.parent) == []


def test_a_bundle_of_an_earlier_run_is_taken_from_apt(keys: Keys, host: Host) -> None:
    host.keyring.write_bytes(keys.files["two"])
    assert "would be called" in host.play(keys.files["right"], keys.prints["right"], "--check")
    assert os.listdir(host.keyring.parent) == ["docker.asc"]
    said = host.play(keys.files["right"], keys.prints["right"])
    assert f"host1 must not trust {host.keyring}: there are 2 keys in it" in said
    assert os.listdir(host.keyring.parent) == ["docker.asc.refused"]
    assert "changed=1 " in host.play(keys.files["right"], keys.prints["right"])
    assert keys.trusted_by_apt(host.keyring.read_bytes()) == [keys.prints["right"]]
