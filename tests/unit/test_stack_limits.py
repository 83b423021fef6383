"""What swarm refuses is refused before anything is made or taken down: names, numbers, sizes, versions, modes."""

import json

import docker_oracle
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError
from swarm_stand_in.fixtures import definition


def refused(compose):
    with pytest.raises(ComposeError) as caught:
        prepare([compose], "demo", {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def service(**keys):
    return {"services": {"s": {"image": "i", **keys}}}


class TestNames:
    @pytest.mark.parametrize("name", ["a b", "ключ", "", "${A}", "a/b", "a\n", "a.b", "a-", "a_"])
    def test_of_services(self, name):
        said = refused({"services": {name: {"image": "i"}}})
        assert (
            said
            == f"service {name!r}: a service's name has letters, digits, - and _ only, and ends in a letter or digit"
        )

    @pytest.mark.parametrize("name", ["a", "A1", "a-b_c", "a__b", "-a", "1", "x" * 58])
    def test_of_services_that_swarm_takes(self, name):
        assert list(prepare([{"services": {name: {"image": "i"}}}], "demo", {}).definition["services"]) == [name]

    def test_of_a_service_that_is_too_long(self):
        said = refused({"services": {"x" * 59: {"image": "i"}}})
        assert said == f"service {'x' * 59}: its name in the swarm, demo_{'x' * 59}, is longer than 63 characters"

    @pytest.mark.parametrize("section", ["networks", "volumes", "configs", "secrets"])
    def test_of_what_services_use(self, section):
        for name in ("a b", "ключ", "", "a\n"):
            compose = {**service(), section: {name: {"external": True}}}
            said = refused(compose)
            assert said == f"{section}: {name!r} is not a name for a {section[:-1]}: letters, digits, ., _ and - only"
        assert prepare([{**service(), section: {"a.b-c_D1": {"external": True}}}], "demo", {}).definition


UNSIGNED = [
    {"deploy": {"replicas": "N"}},
    {"deploy": {"update_config": {"parallelism": "N"}}},
    {"deploy": {"restart_policy": {"max_attempts": "N"}}},
    {"deploy": {"placement": {"max_replicas_per_node": "N"}}},
    {"ports": [{"target": "N"}]},
    {"ports": [{"target": 80, "published": "N"}]},
    {"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "N"}}]},
    {"healthcheck": {"retries": "N"}},
    {"configs": [{"source": "c", "mode": "N"}]},
]


@pytest.mark.parametrize("keys", UNSIGNED, ids=str)
def test_numbers(tmp_path, keys):
    """A fraction is cut off where docker does it, and refused elsewhere."""
    for number in (-1, 1.5, 2.0):
        text = json.dumps({**service(**keys), "configs": {"c": {"external": True}}}).replace('"N"', str(number))
        (tmp_path / "f").write_text(text)
        cut = "retries" in text or "mode" in text
        if number == 2.0 or (number == 1.5 and cut):
            assert prepare([str(tmp_path / "f")], "demo", {}).definition
        else:
            said = refused(str(tmp_path / "f"))
            assert said.endswith(" must not be negative" if number < 0 else " must be a whole number")
        if docker_oracle.command():
            said = docker_oracle.config(tmp_path / "f", directory=tmp_path, environment={})[1]
            assert bool(said) == (not (number == 2.0 or (number == 1.5 and cut)))


@pytest.mark.parametrize("word", ["Infinity", "NaN", "1e999"])
def test_a_number_that_is_none(tmp_path, word):
    (tmp_path / "f").write_text(f'{{"services": {{"s": {{"image": "i", "deploy": {{"replicas": {word}}}}}}}}}')
    assert refused(str(tmp_path / "f")).startswith("service s: deploy.replicas ")


def test_a_size_that_is_none():
    said = refused(service(deploy={"resources": {"limits": {"memory": "1e400"}}}))
    assert said == "service s: deploy.resources.limits.memory is too large for a size"


@pytest.mark.parametrize("version", ["2", "2.1", "4", "1", "3.", 2, [], {}])
def test_versions_that_docker_does_not_know(version):
    assert "is none that docker stack knows: leave version out" in refused({"version": version, **service()})


@pytest.mark.parametrize("version", ["", None, "3", "3.0", "3.8", "3.13", 3, 3.8])
def test_versions(version):
    assert prepare([{"version": version, **service()}], "demo", {}).definition["services"]


@pytest.mark.parametrize(("kind", "most"), [("config", 1000 * 1024 - 1), ("secret", 500 * 1024 - 1)])
def test_contents(tmp_path, kind, most):
    def compose(size, **source):
        return {**service(**{f"{kind}s": ["c"]}), f"{kind}s": {"c": source or {"content": "x" * size}}}

    assert prepare([compose(1)], "demo", {}).contents
    assert prepare([compose(most)], "demo", {}).contents
    for size in (0, most + 1):
        said = f"{kind} c: its content has {size} bytes, and swarm takes 1 to {most}"
        assert refused(compose(size)) == said
        (tmp_path / "f").write_bytes(b"x" * size)
        assert refused(compose(0, file=str(tmp_path / "f"))) == said


def test_many_ports_take_a_moment(tmp_path):
    """As programs for telephony have them."""
    found = prepare([service(ports=["10000-19999:10000-19999/udp"])], "demo", {}).definition
    assert len(found["services"]["s"]["ports"]) == 10_000


@pytest.mark.parametrize(
    ("section", "keys", "said"),
    [
        (section, {"external": {"name": "a"}, "name": "b"}, "name and external.name exclude each other")
        for section in ("networks", "volumes", "configs", "secrets")
    ]
    + [
        ("volumes", {"external": True, "driver": "d"}, "driver and external exclude each other"),
        ("volumes", {"external": True, "driver_opts": {"a": "b"}}, "driver_opts and external exclude each other"),
        ("volumes", {"external": {"name": "a"}, "labels": ["a"]}, "labels and external exclude each other"),
    ],
)
def test_what_is_external_has_nothing_of_its_own(tmp_path, section, keys, said):
    compose = {**service(), section: {"o": keys}}
    assert refused(compose) == f"{section}.o: {said}"
    if docker_oracle.command():
        (tmp_path / "f").write_text(json.dumps(compose))
        assert docker_oracle.config(tmp_path / "f", directory=tmp_path, environment={})[1]


class TestModes:
    def test_that_are_none(self):
        said = refused(service(deploy={"mode": "some"}))
        assert said == "service s: deploy.mode is none of replicated, global, replicated-job, global-job"

    @pytest.mark.parametrize("mode", ["global", "replicated-job", "global-job"])
    @pytest.mark.parametrize("prune", [True, False])
    def test_that_change(self, swarm, call, mode, prune):
        """Docker would refuse it, when the services before this one in the alphabet have been updated."""
        for before, after in ((None, mode), (mode, None)):
            policy = {"restart_policy": {"condition": "none"}}
            old, new = ({**policy, **({"mode": each} if each else {})} for each in (before, after))
            call(compose=[definition(deploy=old)])
            predicted = call(compose=[definition(deploy=new)], check=True)
            made = call(compose=[definition(deploy=new)], prune=prune)
            assert not made.get("failed"), made["msg"]
            recreated = "recreate service node1: swarm cannot change its mode"
            assert made["actions"] == predicted["actions"]
            assert made["actions"][0] == recreated
            assert made["actions"][1].startswith("update service node1: deploy.mode")
            assert [diff["before_header"] for diff in made["diff"]] == ["service node1"]
            assert not call(compose=[definition(deploy=new)])["changed"]
