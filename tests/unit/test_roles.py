"""What roles say about their variables is what they do."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ddp.swarm.plugins.filter.swarm_jobs import job_network
from jinja2.nativetypes import NativeEnvironment

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


class Loader(yaml.SafeLoader):
    """Reads what Ansible reads, in which texts may be marked as not to be templated."""


Loader.add_constructor("!unsafe", lambda loader, node: node.value)


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader)


def entry_points(role: str) -> dict[str, Any]:
    specs: dict[str, Any] = read(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    return specs


def options(role: str) -> dict[str, Any]:
    found: dict[str, Any] = entry_points(role)["main"]["options"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = read(ROLES / role / "defaults/main.yml")
    return found


def is_expression(value: Any) -> bool:
    return "{{" in str(value) or "{%" in str(value)


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_an_option(role: str) -> None:
    assert set(options(role)) == set(defaults(role))


@pytest.mark.parametrize("role", NAMES)
def test_defaults_agree(role: str) -> None:
    for name, option in options(role).items():
        value = defaults(role)[name]
        if is_expression(value):
            assert "default" not in option, name
        else:
            assert option["default"] == value, name


@pytest.mark.parametrize("role", NAMES)
def test_types_accept_the_defaults(role: str) -> None:
    literal = {
        name: value for name, value in defaults(role).items() if name in options(role) and not is_expression(value)
    }
    result = ArgumentSpecValidator(options(role)).validate(literal, validate_role_argument_spec=True)
    assert result.error_messages == []


@pytest.mark.parametrize("role", NAMES)
def test_options_are_described(role: str) -> None:
    for name, option in options(role).items():
        assert option["type"], name
        assert option["type"] != "list" or "elements" in option, name
        said = option["description"]
        assert all(line[0].isupper() and line.endswith(".") for line in ([said] if isinstance(said, str) else said)), (
            name
        )


@pytest.mark.parametrize("role", NAMES)
def test_variables_carry_their_role(role: str) -> None:
    assert [name for name in defaults(role) if not name.startswith(f"{role}_")] == []
    private = read(ROLES / role / "vars/main.yml")
    assert [name for name in private if not name.startswith(f"_{role}_")] == []


def test_a_play_that_only_forms_the_swarm_has_the_trainings_default_stack() -> None:
    said = read(ROLES / "swarm/vars/main.yml")["_swarm_stack"]
    stack = defaults("training")["training_stack"]
    assert NativeEnvironment().from_string(said).render() == stack
    assert NativeEnvironment().from_string(said).render(training_stack="other") == "other"
    assert job_network(stack) == "ddp-net"
    homes = ("roles/*/[dvt]*/**/*.yml", "playbooks/**/*.yml")
    files = [file for pattern in homes for file in ROLES.parent.glob(pattern) if stack in file.read_text()]
    assert {str(file.relative_to(ROLES.parent)) for file in files} == {
        "roles/swarm/vars/main.yml",
        "roles/training/defaults/main.yml",
    }


@pytest.mark.parametrize("role", NAMES)
def test_entry_points_exist(role: str) -> None:
    for name, spec in entry_points(role).items():
        assert (ROLES / role / "tasks" / f"{name}.yml").is_file(), name
        assert spec["short_description"], name


def calls(value: Any) -> list[tuple[str, str]]:
    """Every (role, tasks_from) in a file of tasks or plays."""
    if isinstance(value, list):
        return [pair for item in value for pair in calls(item)]
    if not isinstance(value, dict):
        return []
    found = [pair for item in value.values() for pair in calls(item)]
    if isinstance(value.get("tasks_from"), str):
        found.append((value["name"], value["tasks_from"]))
    return found


NAMED = re.compile(r"(?m)^ +(?:ansible\.builtin\.(?:include|import)_tasks|file): +\"?(\S.*\.yml)\"?$")


@pytest.mark.parametrize("role", NAMES)
def test_files_with_tasks_are_where_they_are_looked_for(role: str) -> None:
    """From the role's tasks/, whatever file names them; of a name with a variable in it, at least one."""
    tasks = ROLES / role / "tasks"
    named = [name for file in tasks.rglob("*.yml") for name in NAMED.findall(file.read_text())]
    patterns = {re.sub(r"\{\{.*?\}\}", "*", name.removeprefix("{{ role_path }}/tasks/")) for name in named}
    assert [pattern for pattern in sorted(patterns) if not list(tasks.glob(pattern))] == []
    used = {file for pattern in patterns for file in tasks.glob(pattern)}
    assert [
        file for file in sorted(tasks.rglob("*.yml")) if file not in used and file.stem not in entry_points(role)
    ] == []


def test_what_a_folders_file_imports_is_named_from_the_role() -> None:
    """Ansible looks for it beside the playbook before it looks in the role's tasks/. Files that are included it finds there first."""
    imports = [
        name
        for file in ROLES.glob("*/tasks/*/*.yml")
        for name in re.findall(r"import_tasks: +\"?(.*\.yml)", file.read_text())
    ]
    assert len(imports) > 5
    assert [name for name in imports if not name.startswith("{{ role_path }}/tasks/")] == []


@pytest.mark.parametrize("role", NAMES)
def test_beside_the_entry_points_there_are_folders_alone(role: str) -> None:
    """Whoever opens a role sees what may be called; what is internal lies below, by its subject."""
    assert {path.stem for path in (ROLES / role / "tasks").glob("*.yml")} == set(entry_points(role))


def test_entry_points_that_are_called_are_described() -> None:
    files = [*ROLES.glob("*/tasks/**/*.yml"), *(ROLES.parent / "playbooks").glob("*.yml")]
    called = {pair for file in files for pair in calls(read(file))}
    assert ("training", "plan") in called
    assert [pair for pair in sorted(called) if pair[1] not in entry_points(pair[0])] == []


@pytest.mark.parametrize("role", NAMES)
def test_the_readme_is_that_of_the_specs(role: str, tmp_path: Path) -> None:
    """`make readmes` writes it."""
    copy = tmp_path / "roles" / role
    shutil.copytree(ROLES / role, copy, ignore=shutil.ignore_patterns("files", "templates", "README.md"))
    # The tool takes the collection's name and version from there.
    shutil.copy(ROLES.parent / "galaxy.yml", tmp_path)
    aar_doc = Path(sys.executable).with_name("aar-doc")
    subprocess.run([aar_doc, "--output-mode", "replace", copy, "markdown"], check=True, capture_output=True)
    assert (copy / "README.md").read_text() == (ROLES / role / "README.md").read_text()


@pytest.mark.parametrize("family", ["debian", "redhat", "", "../../../../artifacts/simple-training", "suse", None])
def test_no_path_of_a_file_with_tasks_is_made_of_what_a_host_says(family: str | None) -> None:
    """Such a file runs on the controller, and a host can have files there: its results."""
    said = read(ROLES / "docker/vars/main.yml")["_docker_family"]
    found = NativeEnvironment().from_string(said).render(docker_host_info={"distribution": {"family": family}})
    assert found == ("redhat" if family == "redhat" else "debian")


def test_paths_of_files_with_tasks_hold_no_other_variable() -> None:
    """lab_state is the user's, on the controller alone."""
    files = [*ROLES.rglob("tasks/**/*.yml"), *ROLES.parent.glob("playbooks/**/*.yml")]
    named = re.compile(
        r"(?m)^ +(?:ansible\.builtin\.(?:include|import)_tasks|file|tasks_from): +\"?(\S*\{\{.*\.yml)\"?$"
    )
    paths = [path for file in files for path in named.findall(file.read_text())]
    assert {variable for path in paths for variable in re.findall(r"\{\{ *(\w+)", path)} == {
        "_docker_family",
        "lab_state",
        "role_path",
    }
