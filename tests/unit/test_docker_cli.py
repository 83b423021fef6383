"""The docker client, against an executable that plays docker."""

import os
from types import SimpleNamespace

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import (
    CONNECTION_ARGUMENTS,
    CONNECTION_MUTUALLY_EXCLUSIVE,
    DockerCli,
    DockerError,
    connection_options,
    parse_json_lines,
)


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


def test_input_arrives(docker):
    assert docker("cat").run("x", input="grüße").stdout == "grüße"
    assert docker("cat; echo end").run("x", input="").stdout == "end\n"
    assert docker("od -An -tx1").run("x", input=b"PK\xff").stdout == " 50 4b ff\n"


def test_standard_input_of_the_module_is_not_docker_s(docker):
    """Under Ansible it holds the module's arguments; the end of a terminal's would be waited for without end."""
    reading, writing = os.pipe()
    os.write(writing, b"not for docker")
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert docker("cat").run("x").stdout == ""
        assert os.read(0, 100) == b"not for docker"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)


def test_an_error_has_docker_words_but_not_the_input(docker):
    with pytest.raises(DockerError) as caught:
        docker("cat >/dev/null; echo nope >&2; exit 3").run(
            "secret", "create", "--label", "a=b", "n", "-", input="hush"
        )
    assert str(caught.value) == "docker secret create: nope"


@pytest.mark.parametrize(
    ("args", "title"),
    [
        (("info",), "docker info"),
        (("service", "ls", "--quiet"), "docker service ls"),
        (("config", "inspect", "the-name"), "docker config inspect"),
        (("stack", "rm", "one", "two"), "docker stack rm"),
        (("inspect", "--type", "task", "an-id"), "docker inspect"),
        (("secret", "create", "--label", "a=b", "n", "-"), "docker secret create"),
    ],
)
def test_an_error_names_the_command_without_its_operands(docker, args, title):
    for script, said in (("echo nope >&2; exit 1", "nope"), ("exit 1", "exit code 1")):
        with pytest.raises(DockerError) as caught:
            docker(script).run(*args)
        assert str(caught.value) == f"{title}: {said}"
    with pytest.raises(DockerError, match=rf"^{title}: no answer within 0\.1 s$"):
        docker("exec sleep 5").run(*args, timeout=0.1)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo out; echo err >&2; exit 1", "err"),
        ("echo out; exit 1", "out"),
        ("echo out; echo ' ' >&2; exit 1", "out"),
        ("exit 1", "exit code 1"),
    ],
)
def test_which_of_the_streams_is_the_message(docker, script, said):
    """Some commands of docker complain on standard output."""
    with pytest.raises(DockerError) as caught:
        docker(script).run("info")
    assert str(caught.value) == f"docker info: {said}"


def test_an_error_without_words_has_the_exit_code(docker):
    with pytest.raises(DockerError, match="docker info: exit code 4"):
        docker("exit 4").run("info")


def test_unchecked_failure_is_a_result(docker):
    assert docker("exit 4").run("info", check=False).rc == 4


SEQUENCE = "Error response from daemon: rpc error: code = Unknown desc = update out of sequence"
RACE = "n=$(cat {tries} 2>/dev/null || echo 0); echo $((n + 1)) > {tries}; cat; [ $n -ge {lost} ] || {{ echo '%s' >&2; exit 1; }}"


@pytest.mark.parametrize(("lost", "rc", "calls"), [(0, 0, 1), (1, 0, 2), (5, 0, 6), (6, 1, 6)])
def test_what_lost_a_race_against_the_swarm_is_tried_again(docker, tmp_path, monkeypatch, lost, rc, calls):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    client = docker((RACE % SEQUENCE).format(tries=tmp_path / "tries", lost=lost))
    done = client.run("service", "update", "x", check=False, input="given")
    assert (done.rc, done.stdout, client.calls, waits) == (rc, "given", calls, [0.5] * (calls - 1))


def test_a_race_that_is_lost_for_good_is_an_error(docker, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(DockerError, match="docker node update: .*update out of sequence"):
        docker(f"echo '{SEQUENCE}' >&2; exit 1").run("node", "update", "n1")


def test_words_of_a_call_that_went_well_are_no_race(docker):
    client = docker("echo update out of sequence >&2")
    assert (client.run("service", "logs").rc, client.calls) == (0, 1)


def test_bytes_that_are_no_text_are_replaced(docker):
    assert "\ufffd" in docker(r"printf '\377'").run("logs").stdout


def test_timeout(docker):
    with pytest.raises(DockerError, match=r"docker info: no answer within 0\.2 s"):
        docker("exec sleep 5").run("info", timeout=0.2)


def test_missing_binary():
    client = DockerCli(SimpleNamespace(params={}, get_bin_path=lambda name: None))
    with pytest.raises(DockerError, match="not installed"):
        client.run("info")


def test_binary_that_cannot_run(tmp_path):
    client = DockerCli(SimpleNamespace(params={"docker_cli": str(tmp_path / "no")}, get_bin_path=None))
    with pytest.raises(DockerError, match="No such file"):
        client.run("info")


@pytest.mark.parametrize(
    ("params", "host", "context"),
    [
        ({}, "tcp://elsewhere:1", "theirs"),
        ({"docker_host": "unix:///x"}, "", ""),
        ({"cli_context": "mine"}, "", ""),
        ({"api_version": "1.41", "tls": True}, "tcp://elsewhere:1", "theirs"),
    ],
)
def test_what_the_task_says_wins_over_the_shell_s_profile(docker, monkeypatch, params, host, context):
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:1")
    monkeypatch.setenv("DOCKER_CONTEXT", "theirs")
    monkeypatch.delenv("DOCKER_API_VERSION", raising=False)
    client = docker('echo "$DOCKER_HOST|$DOCKER_CONTEXT|$DOCKER_API_VERSION|$LC_ALL|$DOCKER_CLI_HINTS"', **params)
    assert client.run("x").stdout == f"{host}|{context}|{params.get('api_version', '')}|C|false\n"


@pytest.mark.parametrize("version", [None, "", "auto"])
def test_the_version_of_the_api_is_negotiated(docker, monkeypatch, version):
    monkeypatch.delenv("DOCKER_API_VERSION", raising=False)
    assert docker('echo "${DOCKER_API_VERSION-unset}"', api_version=version).run("x").stdout == "unset\n"


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


@pytest.mark.parametrize("line", ["x" * 300, f"[{'1,' * 150}1]"])
def test_of_a_long_line_the_beginning_is_shown(line):
    with pytest.raises(DockerError) as caught:
        parse_json_lines(f'{{"a": 1}}\n{line}')
    assert str(caught.value).endswith(f": {line[:200]}")


def test_a_command_line_of_its_own(docker, tmp_path):
    client = docker("exit 9", docker_cli=str(tmp_path / "own"), docker_host="unix:///x")
    (tmp_path / "own").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "own").chmod(0o755)
    assert client.run("x").stdout == "--host unix:///x x\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"docker_url": "tcp://h:1"}, ["--host", "tcp://h:1"]),
        ({"tls_verify": True, "tls": False}, ["--tlsverify"]),
        ({"tls": True}, ["--tls"]),
        ({"tls_ca_cert": "/ca", "tls_client_key": "/k"}, ["--tlscacert", "/ca", "--tlskey", "/k"]),
        ({"cacert_path": "/ca", "cert_path": "/c"}, ["--tlscacert", "/ca", "--tlscert", "/c"]),
    ],
)
def test_options_of_a_module_by_each_of_their_names(given, words):
    with patch_module_args(given):
        module = AnsibleModule(CONNECTION_ARGUMENTS, mutually_exclusive=CONNECTION_MUTUALLY_EXCLUSIVE)
    assert connection_options(module.params) == words


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\u2029"])
def test_a_row_ends_with_its_line(odd):
    """What a task says of its failure may hold what Python takes for the end of a line."""
    assert parse_json_lines(f'{{"Error": "a{odd}b"}}\r\n') == [{"Error": f"a{odd}b"}]
