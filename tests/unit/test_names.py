"""What may be part of a path or of a command."""

import ast
import re

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter.training_launcher import SECRET
from ansible_collections.ddp.swarm.plugins.module_utils import names
from ansible_collections.ddp.swarm.plugins.module_utils.names import KINDS, is_name, refusal, shown
from by_path import ROOT
from ddp_launcher import files


@pytest.mark.parametrize(
    ("service", "job", "rank"),
    [
        ("demo_node3", ("demo", 3), None),
        ("demo_node1_node0", ("demo_node1", 0), None),
        ("node12", None, 12),
        ("demo-preflight_node0", None, None),
        ("demo_node", None, None),
        ("_node0", None, None),
        ("demo_node123456", None, None),
        ("demo_node1\n", None, None),
        ("demo_node١", None, None),
        ("node1.log", None, None),
    ],
)
def test_what_the_service_of_a_rank_is_called(service: str, job: object, rank: int | None) -> None:
    assert (names.job_and_rank(service), names.rank_of(service)) == (job, rank)
    if job:
        assert names.service_of(*job) == service


def test_nothing_else_knows_it() -> None:
    """roles/ has programs of its own, which run where module_utils is not."""
    files = [path for folder in ("library", "module_utils", "plugins") for path in (ROOT / folder).rglob("*.py")]
    pattern = re.compile(r"""node\(?(?:\\d|\[0-9\])[^".]{0,9}\)?"|\}_node|endswith\("_node""")
    assert {path.name for path in files if pattern.search(path.read_text())} == {"names.py"}


def test_ports_of_the_swarm_have_one_home() -> None:
    """A sentence may name one. What YAML cannot import is held to that home."""
    ports = {names.MANAGER_PORT, names.GOSSIP_PORT, names.DATA_PORT}
    typed = re.compile(rf"\S*\b(?:{'|'.join(map(str, ports))})(?:/\w+)?")
    files = [path for folder in ("library", "module_utils", "plugins") for path in (ROOT / folder).rglob("*.py")]
    found = {
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and (node.value in ports or typed.fullmatch(str(node.value)))
    }
    assert found == {"names.py"}
    tasks = [(ROOT / f"roles/swarm/tasks/converge/{name}.yml").read_text() for name in ("free_port", "join", "reform")]
    numbers = [set(map(int, re.findall(r"\b\d{4}\b", text))) for text in tasks]
    assert numbers == [{names.GOSSIP_PORT}, ports, ports]


OWN = (
    names.RANK,
    names.HOST,
    names.SERVICE_LABEL,
    names.NAMESPACE,
    names.GPU,
    names.OWN_LABEL,
    names.STAGE_LABEL,
    names.RESULTS_LABEL,
)
STACKS = (names.REGISTRY, names.MONITORING, names.NOTIFY)


def test_labels_and_resources_have_one_home() -> None:
    files = [path for folder in ("library", "module_utils", "plugins") for path in (ROOT / folder).rglob("*.py")]
    whole = re.compile(rf"\S*(?<![\w.-])(?:label=|DOCKER_RESOURCE_)?(?:{'|'.join(map(re.escape, (*OWN, *STACKS)))})=?")
    found = {
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and whole.fullmatch(str(node.value))
    }
    assert found == {"names.py"}


def test_what_yaml_cannot_import_is_held_to_that_home() -> None:
    files = [
        path for form in ("*.yml", "*.j2") for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob(form)
    ]
    text = "\n".join(path.read_text() for path in [*files, ROOT / "training/Dockerfile"])
    labels = re.findall(
        r"com\.docker\.s[\w.]+|io\.ddp-swarm\.\w+|\b[A-Z]+-GPU\b|\bddp_(?:rank|host)\b|(?<=node\.labels\.)\w+", text
    )
    # That of a lab is the role's own.
    assert set(labels) == {*OWN, "io.ddp-swarm.lab"}
    assert set(re.findall(r"\bddp-(?:reg|mon|not)[a-z]+", text)) == set(STACKS)
    # The name of its network, and that of its probe's archive, are no stacks.
    assert set(re.findall(r"training_stack(?: \}\}| ~ ')(-[a-z]+)", text)) == {names.CHECK, "-net", "-probe"}


GOOD = {
    "stack": ["simple-training", "a", "A_1", "a" * 52],
    "network": ["ddp-net", "a.b_c-1"],
    "volume": ["simple-training_snapshots", "a.b"],
    "backup": ["2026-11-27T150000Z", "before.upgrade"],
    "image": ["my-ddp-trainer", "team/trainer", "registry.example:5000/team/trainer", "a__b", "a--b"],
    "run": ["20260102T030405Z", "_run", "-run", "a.b"],
    "node ID": ["a1" * 12 + "z"],
    "layer": ["a" * 64 + ".tar", "0" * 64 + ".tar.zst"],
}
BAD = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "/x",
    "a/../b",
    "a b",
    "a;b",
    "$(x)",
    "`x`",
    "a\n",
    "\na",
    "a\x00b",
    "é",
    "-" * 300,
    "a" * 400,
    None,
    1,
    ["a"],
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_names(kind: str) -> None:
    assert [name for name in GOOD[kind] if not is_name(kind, name)] == []
    assert [name for name in BAD if is_name(kind, name)] == []
    assert [refusal(kind, "it", name) for name in GOOD[kind] if refusal(kind, "it", name)] == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("stack", "a.b"),
        ("stack", "-a"),
        ("stack", "a" * 53),
        ("image", "My-Trainer"),
        ("image", "a:latest"),
        ("image", "a/"),
        ("run", ".hidden"),
        ("node ID", "self"),
        ("node ID", "a" * 26),
        ("node ID", "A" * 25),
        ("run", "a/b"),
        ("layer", "a" * 64),
        ("layer", "A" * 64 + ".tar"),
        ("layer", "../" + "a" * 61 + ".tar"),
        ("layer", "a" * 64 + ".tar\n"),
    ],
)
def test_what_another_kind_may_have(kind: str, name: str) -> None:
    assert not is_name(kind, name)


def test_a_refusal_says_what_and_spells_control_characters_out() -> None:
    said = refusal("stack", "training_stack", "a\x1b[2J\nb")
    assert said.startswith(r"training_stack is 'a\x1b[2J\nb', which is not the name of a stack: letters, digits")
    assert said.isprintable()


def test_the_article_fits() -> None:
    assert "is not the name of an image" in refusal("image", "image_name", "A")


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 10_000)) < 110


@pytest.mark.parametrize(("length", "text"), [(98, f"'{'x' * 98}'"), (99, f"'{'x' * 99}...")])
def test_a_value_is_cut_beyond_its_limit(length: int, text: str) -> None:
    assert shown("x" * length) == text
    assert shown("x" * 9, 10) == "'xxxxxxxxx..."


def test_the_launcher_lies_where_its_stack_puts_it_and_keeps_its_own_where_others_leave_it() -> None:
    """It imports nothing of the project, and YAML cannot."""
    assert files.OWN == names.LAUNCHER
    assert {names.CACHES, names.LAUNCHER} <= set(files.ASIDE)
    plan = yaml.safe_load((ROOT / "roles/training/vars/main.yml").read_text().replace("!unsafe ", ""))["_training_plan"]
    assert plan["configs_target"] == {"launcher": names.LAUNCHED[1]}
    assert f'"{SECRET}"' in (ROOT / "roles/training/templates/stack.yml.j2").read_text()
