"""The docker client, against an executable that plays docker."""

from types import SimpleNamespace

import pytest
from ansible.module_utils.docker_cli import DockerCli, DockerError, connection_options, parse_json_lines


@pytest.fixture
def docker(tmp_path):
    """A function that makes a client whose docker is the given shell script."""

    def make(script, **params):
        binary = tmp_path / "docker"
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        return DockerCli(SimpleNamespace(params=params, get_bin_path=lambda name: str(binary)))

    return make


def test_returns_what_docker_said_and_counts(docker):
    client = docker('echo "out $*"; echo err >&2')
    done = client.run("service", "ls")
    assert (done.rc, done.stdout, done.stderr) == (0, "out service ls\n", "err\n")
    client.run("info")
    assert client.calls == 2


def test_input_arrives_and_is_closed_when_absent(docker):
    assert docker("cat").run("x", input="grüße").stdout == "grüße"
    assert docker("cat").run("x").stdout == ""


def test_an_error_has_docker_words_but_not_the_input(docker):
    with pytest.raises(DockerError) as caught:
        docker("cat >/dev/null; echo nope >&2; exit 3").run(
            "secret", "create", "--label", "a=b", "n", "-", input="hush"
        )
    assert str(caught.value) == "docker secret create: nope"
    assert caught.value.rc == 3
    assert caught.value.stderr == "nope\n"


def test_an_error_without_words_has_the_exit_code(docker):
    with pytest.raises(DockerError, match="docker info: exit code 4"):
        docker("exit 4").run("info")


def test_unchecked_failure_is_a_result(docker):
    assert docker("exit 4").run("info", check=False).rc == 4


def test_bytes_that_are_no_text_are_replaced(docker):
    assert "\ufffd" in docker(r"printf '\377'").run("logs").stdout


def test_timeout(docker):
    with pytest.raises(DockerError, match=r"docker info: no answer within 0\.2 s") as caught:
        docker("exec sleep 5").run("info", timeout=0.2)
    assert caught.value.rc == 124


def test_missing_binary():
    client = DockerCli(SimpleNamespace(params={}, get_bin_path=lambda name: None))
    with pytest.raises(DockerError, match="not installed"):
        client.run("info")


def test_binary_that_cannot_run(tmp_path):
    client = DockerCli(SimpleNamespace(params={"docker_cli": str(tmp_path / "no")}, get_bin_path=None))
    with pytest.raises(DockerError, match="No such file"):
        client.run("info")


def test_environment(docker, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:1")
    script = 'echo "$LC_ALL/$DOCKER_HOST/$DOCKER_API_VERSION"'
    assert docker(script).run("x").stdout == "C/tcp://elsewhere:1/\n"
    assert docker(script, docker_host="unix:///x", api_version="1.41").run("x").stdout == "C//1.41\n"


def test_working_directory(docker, tmp_path):
    assert docker("pwd").run("x", cwd=str(tmp_path)).stdout.strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("params", "options"),
    [
        ({}, []),
        ({"docker_host": "tcp://h:1"}, ["--host", "tcp://h:1"]),
        ({"cli_context": "c"}, ["--context", "c"]),
        ({"tls": True}, ["--tls"]),
        ({"tls": True, "validate_certs": True}, ["--tlsverify"]),
        (
            {"ca_path": "/ca", "client_cert": "/c", "client_key": "/k"},
            ["--tlscacert", "/ca", "--tlscert", "/c", "--tlskey", "/k"],
        ),
    ],
)
def test_connection_options(params, options):
    assert connection_options(params) == options


def test_json_lines(docker):
    client = docker("""echo '{"a": "'"$*"'"}'; echo; echo '{"b": 2}'""")
    assert client.json_lines("service", "ls") == [{"a": "service ls --format {{json .}}"}, {"b": 2}]


@pytest.mark.parametrize("line", ["WARNING: something", "[1]"])
def test_what_is_not_a_json_object_is_shown(line):
    with pytest.raises(DockerError, match="not (JSON|a JSON object)") as caught:
        parse_json_lines(line)
    assert line in str(caught.value)
