"""Names that become part of a command or a path, and what is said of those that cannot."""

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.ddp.swarm.plugins.filter import names
from by_path import ROOT
from jinja2 import Environment, Undefined, UndefinedError

CHECK = ROOT / "playbooks/tasks/check_names.yml"

BAD = ["x; touch /tmp/pwned", "../x", "a b", "-rf", "x\ny", "x\x1b[2J", "x\n", "", "x" * 300, "$(id)", "`id`", "x\x00y", "a/../../b", "x\x9b2J"]  # fmt: skip
# What one of these may well be, in kinds that reach a shell nowhere.
ALLOWED = {
    "pattern": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`"],
    "script": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`"],
    "source": [],
    "file": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`", "../x", "a/../../b"],
}
GOOD = {
    "stack": ["simple-training", "a_1"],
    "network": ["ddp-net", "my.net_1"],
    "volume": ["snapshots", "a.b"],
    "backup": ["2026-11-27T150000Z", 2026],
    "image": ["my-ddp-trainer", "registry.example:5000/team/name"],
    "inventory host": ["node1", "gpu-1.example.org", "192.168.1.10", "2001:db8::10", "::1", "2001-db8--10.ip6", "me@box"],
    "hosts": ["node1", "node1,node2", "node1, node2,", "gpu.example.org"],
    "secret": ["token", "db.password", "wandb-key_1"],
    "environment variable": ["NCCL_DEBUG", "_x", "http_proxy"],
    "registry": ["registry:5000/team/name", "registry.example.org", "192.168.1.10:5000", "[2001:db8::10]:5000/x", "Registry.Example"],
    "reference": ["python:3.11-slim-bookworm", "registry:5000/team/name:1.2", "a@sha256:" + "0" * 64, "registry:2"],
    "user": ["me", "_apt", "me@example.org", "DOMAIN\\me", "pc$"],
    "version": ["26.1.5+dfsg1-9+b9", "5:27.0.3-1~debian.12~bookworm", "5:27.*"],
    "package": ["g++", "libibverbs1", "ffmpeg=7:5.1.6-0+deb12u1", "libc6:i386", "libstdc++-12-dev"],
    "CUDA": ["12.8", 12.8, 13],
    "address": ["https://download.docker.com/linux", "http://me:word@mirror:3142/docker", "file:///srv/mirror"],
    "directory": ["/snapshots", "/srv/my-data_1/x.y", "/", "/donn\xe9es/", "/a..b"],
    "source": ["/srv/data", "/srv/my data", "/"],
    "script": ["training_code.py", "src/train.py", "my train.py", "./train.py", "a..b/train.py"],
    "pattern": ["snapshot.pt", "metrics-rank*.jsonl", "runs/[0-9]*", "tensorboard/", "a..b"],
    "file": ["/etc/ssl/mine.crt", "ca.crt", "~/ca.crt", "../ca.crt"],
    "lab": ["ddp-lab", "ddp-lab-2"],
}  # fmt: skip


def checked() -> dict[str, Any]:
    """The variables that every playbook looks at, with what they hold."""
    found: dict[str, Any] = yaml.safe_load(CHECK.read_text())[0]["vars"]["_names_held"]
    return found


def test_the_kinds_have_examples() -> None:
    used = {next(iter(held.values())) if isinstance(held, dict) else held for held in checked().values()} - {
        "mount",
        "dataset",
    }
    assert used <= set(GOOD)
    assert [kind for kind in GOOD if kind not in names.KINDS] == []


@pytest.mark.parametrize("kind", GOOD)
def test_good_names_pass(kind: str) -> None:
    assert [said for value in GOOD[kind] for said in names.problems("it", kind, value)] == []


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("value", BAD, ids=ascii)
def test_hostile_names_are_refused_on_one_line(kind: str, value: str) -> None:
    said = names.problems("the_variable", kind, value)
    if value in ALLOWED.get(kind, []):
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith("the_variable is ")
        assert said[0].isprintable()


def test_a_list_is_checked_by_its_entries_and_a_mapping_by_its_keys() -> None:
    assert names.problems("training_hosts", {"each": "inventory host"}, ["a", "b c"])[0].startswith(
        "An entry of training_hosts is 'b c'"
    )
    said = names.problems("training_env", {"keys": "environment variable"}, {"A": "S3CR3T", "B;C": "S3CR3T"})
    assert said[0].startswith("A key of training_env is 'B;C'")
    assert "S3CR3T" not in str(said)


def test_what_has_the_wrong_shape_is_not_shown() -> None:
    """It may be a secret that was written into the wrong place."""
    for held, value in (({"keys": "secret"}, "S3CR3T"), ({"each": "user"}, {"a": "S3CR3T"}), ("stack", ["S3CR3T"])):
        said = names.problems("it", held, value)
        assert len(said) == 1
        assert "S3CR3T" not in said[0]


def test_an_address_is_shown_without_its_password() -> None:
    for held, value in (
        ("address", "https://me:S3CR3TPW@host/a b"),
        ({"unless_empty": "registry"}, "https://me:S3CR3TPW@host"),
    ):
        said = names.problems("it", held, value)
        assert len(said) == 1
        assert "host" in said[0]
        assert "S3CR3TPW" not in said[0]


def test_nothing_stands_for_a_default() -> None:
    assert names.problems("image_registry", {"unless_empty": "registry"}, "") == []
    assert names.problems("image_registry", {"unless_empty": "registry"}, " ") != []
    assert names.problems("training_stack", "stack", None) == []


MOUNT = {"type": "volume", "source": "snapshots", "target": "/snapshots"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "../x"}, "The source of a mount in training_mounts is '../x', which is not the name of a volume"),
        ({"source": "a b"}, "is 'a b'"),
        ({"target": "snapshots"}, "The target of a mount in training_mounts is 'snapshots'"),
        ({"target": "/a/../etc"}, "is '/a/../etc'"),
        ({"target": "/a b"}, "is '/a b'"),
        ({"type": "bind", "source": "data"}, "The source of a mount in training_mounts is 'data'"),
        ({"type": "bind", "source": "/a\nb"}, r"is '/a\nb'"),
        ({"type": "bind", "source": "-rf"}, "is '-rf'"),
        ({"driver": "-x"}, "The driver of a mount in training_mounts is '-x': a volume driver is local, or the name of a plugin"),
        ({"driver": "a b"}, "is 'a b'"),
        ({"driver": ["local"]}, "The driver of a mount in training_mounts is no text"),
        ({"driver_opts": "type=nfs"}, "The driver_opts of a mount in training_mounts are no mapping, such as {type: nfs, o: "),
        ({"driver_opts": {"a b": "x"}}, "An option in driver_opts of a mount in training_mounts is 'a b'"),
        ({"driver_opts": {"o": ["addr=10.0.0.5"]}}, "The option 'o' in driver_opts of a mount in training_mounts is no text"),
        ({"driver_opts": {"o": "rw\npassword=S3CR3T"}}, "The option 'o' in driver_opts of a mount"),
        ({"type": "bind", "source": "/srv", "driver": "local"}, "which only one of type volume with a source can have"),
        ({"source": "", "driver_opts": {"type": "nfs"}}, "which only one of type volume with a source can have"),
    ],
)  # fmt: skip
def test_mounts(change: dict[str, Any], said: str) -> None:
    problems = names.problems("training_mounts", {"each": "mount"}, [MOUNT, {**MOUNT, **change}])
    assert len(problems) == 1
    assert said in problems[0]
    assert "S3CR3T" not in problems[0]


def test_mounts_that_are_right() -> None:
    mounts = [
        MOUNT,
        {"type": "bind", "source": "/srv/my data", "target": "/data"},
        {"type": "tmpfs", "target": "/tmp"},
        {"type": "volume", "target": "/scratch"},
        {
            **MOUNT,
            "driver": "local",
            "driver_opts": {"type": "nfs", "o": "addr=10.0.0.5,rw,nfsvers=4", "device": ":/srv/a b"},
        },
        {
            **MOUNT,
            "driver": "registry.example:5000/vieux/sshfs:latest",
            "driver_opts": {"port": 22, "com.example.x": "$$y"},
        },
        {**MOUNT, "driver_opts": None},
    ]
    assert names.problems("training_mounts", {"each": "mount"}, mounts) == []
    said = names.problems("training_mounts", {"each": "mount"}, ["data:/data"])
    assert "type, source and target" in said[0]


def test_datasets() -> None:
    right = ["/srv/my data", {"path": "/srv/b", "controller": "../b"}, {"path": "/srv/c", "controller": "~/c"}]
    assert names.problems("training_data", {"each": "dataset"}, right) == []
    for wrong, said in (
        (["srv"], "An entry of training_data is 'srv'"),
        (["/a/../b"], "'/a/../b'"),
        ([{"path": "/a", "controller": "-e sh"}], "What an entry of training_data has on the controller is '-e sh'"),
    ):
        (problem,) = names.problems("training_data", {"each": "dataset"}, wrong)
        assert said in problem


def test_a_stack_leaves_room_for_the_name_of_the_preflights() -> None:
    assert names.problems("training_stack", "stack", "a" * 42) == []
    assert "it has 42 characters at most" in names.problems("training_stack", "stack", "a" * 43)[0]


def test_the_defaults_of_the_roles_pass() -> None:
    defaults: dict[str, Any] = {}
    for file in (ROOT / "roles").glob("*/defaults/main.yml"):
        defaults |= yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    literal = {name: defaults[name] for name in checked() if name in defaults and "{{" not in str(defaults[name])}
    assert {"training_stack", "image_name", "training_mounts", "training_collect"} <= set(literal)
    assert [said for name, value in literal.items() for said in names.problems(name, checked()[name], value)] == []
    assert [name for name in checked() if name not in defaults] == []


def test_is_name_is_a_filter() -> None:
    is_name = names.FilterModule().filters()["is_name"]
    assert is_name("snapshots", "volume")
    assert not is_name("../x", "volume")


@pytest.mark.parametrize(
    ("held", "value", "said"),
    [
        ("stack", {"a": "b"}, ["it is no text: letters, digits, '_' and '-', a letter or a digit first, 52 characters at most"]),
        ("stack", ("a",), ["it is no text: letters, digits, '_' and '-', a letter or a digit first, 52 characters at most"]),
        ("stack", b"a", ["it is no text: letters, digits, '_' and '-', a letter or a digit first, 52 characters at most"]),
        ("backup", 2026, []),
        ("CUDA", 1.5, []),
        ("CUDA", "x", ["it is 'x': a version of CUDA is two numbers, such as 12.8"]),
        ({"keys": "secret"}, "x", ["it is no mapping"]),
        ({"keys": "secret"}, {}, []),
        ({"each": "user"}, {"a": "b"}, ["it is no list"]),
        ({"each": "user"}, "me", []),
        ({"each": "user"}, ["me", "a b", "-x"],
         ["An entry of it is 'a b': " + names.KINDS["user"][1], "An entry of it is '-x': " + names.KINDS["user"][1]]),
        # The same sentence once.
        ({"each": "user"}, ("a b", "a b"), ["An entry of it is 'a b': " + names.KINDS["user"][1]]),
        ({"unless_empty": "registry"}, "", []),
        ({"unless_empty": "user"}, "a b", ["it is 'a b': " + names.KINDS["user"][1]]),
        ("user", "", ["it is '': " + names.KINDS["user"][1]]),
        ({"each": "mount"}, ["x"],
         ["An entry of it is no mount in the long form, which has type, source and target"]),
        ({"each": "mount"}, [{"type": "tmpfs"}], ["The target of a mount in it is no text: " + names.KINDS["directory"][1]]),
    ],
)  # fmt: skip
def test_each_shape(held: Any, value: Any, said: list[str]) -> None:
    assert names.problems("it", held, value) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 42, []),
        (
            "a" * 43,
            [f"training_stack is '{'a' * 43}': it has 42 characters at most, for the preflight adds -preflight"],
        ),
        # One that is no name at all is told as that.
        ("a b", ["training_stack is 'a b', which is not the name of a stack: " + names.KINDS["stack"][1]]),
    ],
)
def test_the_preflight_adds_to_the_name_of_a_stack(name: str, said: list[str]) -> None:
    assert names.problems("training_stack", "stack", name) == said
    assert names.problems("training_network", "network", "a" * 50) == []


# What a play and its hosts have.


class Broken(dict[str, Any]):
    """Variables of which some are made of what nobody knows."""

    def get(self, name: str, default: Any = None) -> Any:
        value = super().get(name, default)
        if isinstance(value, Exception):
            raise value
        return value


def refusals(play: dict[str, Any], **hosts: dict[str, Any]) -> list[str]:
    variables = Broken(play, hostvars={name.replace("_", " "): Broken(own) for name, own in hosts.items()})

    class Context:
        def resolve(self, name: str) -> Any:
            return variables.get(name, Undefined(name=name))

    held: Any = {"users": {"each": "user"}, "lab": "lab", "env": {"keys": "environment variable"}}
    found: list[str] = names.name_refusals(Context(), held, list(variables["hostvars"]))  # type: ignore[arg-type]
    return found


USER, LAB, ENV = (names.KINDS[kind][1] for kind in ("user", "lab", "environment variable"))


@pytest.mark.parametrize(
    ("play", "hosts", "said"),
    [
        ({}, {}, []),
        ({"lab": "a b"}, {}, [f"lab is 'a b': {LAB}"]),
        ({"lab": "a", "users": ["b c"]}, {}, [f"An entry of users is 'b c': {USER}"]),
        # Every host has what the play has: it is told once.
        ({"lab": "a b"}, {"n1": {"lab": "a b"}, "n2": {"lab": "a b"}}, [f"lab is 'a b': {LAB}"]),
        ({"lab": "a"}, {"n1": {"lab": "a"}, "n2": {"lab": "b c"}}, [f"lab of n2 is 'b c': {LAB}"]),
        ({}, {"n1": {"users": ["b c"]}}, [f"An entry of users of n1 is 'b c': {USER}"]),
        ({"lab": "a b"}, {"n1": {"lab": None}}, [f"lab is 'a b': {LAB}"]),
        # Values of mappings are not asked of each host.
        ({"env": {"A-B": 1}}, {"n1": {"env": {"C-D": 1}}}, [f"A key of env is 'A-B': {ENV}"]),
        ({"lab": AnsibleError("unknown"), "users": UndefinedError("unknown")}, {"n1": {"lab": AnsibleError("x")}}, []),
        ({"lab": Undefined()}, {"n1": {"lab": Undefined()}}, []),
        ({}, {"a_b": {}}, [f"A host of the inventory is 'a b': {names.KINDS['inventory host'][1]}"]),
    ],
)  # fmt: skip
def test_the_variables_of_a_play_and_of_its_hosts(play: dict[str, Any], hosts: Any, said: list[str]) -> None:
    assert refusals(play, **hosts) == said


def test_the_filters_know_what_the_play_knows() -> None:
    """As Jinja calls them, with the play's variables."""
    environment = Environment()
    environment.filters |= names.FilterModule().filters()
    template = environment.from_string("{{ {'lab': 'lab'} | name_refusals(['n1']) }} {{ 'a b' | is_name('volume') }}")
    assert template.render(lab="a b", hostvars={"n1": {}}) == str([f"lab is 'a b': {LAB}"]) + " False"
