"""The pages: they build without a warning, have every variable, playbook and command, and name nothing that is gone."""

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from console.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/README.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
)
PLAYBOOKS = {"site.yml", *(f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OURS = re.compile(r"\b(?:docker|swarm|image|preflight|training|lab|lock|monitoring|teardown|lease)_[a-z_]*[a-z]\b")
# What a command line begins with, and the test that runs it. Nothing else may stand on a page as a command.
RUN_BY = {
    "ansible-builder": "tests/roles/test_collection.py",
    "ansible-doc": "tests/roles/test_collection.py",
    "ansible-galaxy": "tests/roles/test_collection.py",
    "apt-get": "tests/image/test_air_gap.py",
    "docker": "tests/image/test_air_gap.py",
    "pip": "roles/lab/tasks/hosts/offline.yml",
    "rsync": "tests/roles/test_training_data.py",
    "ssh": "tests/field/test_ways_in.py",
}
# Needs a host, a program or hardware that no test has. The page has to say so.
UNTRIED = {
    "ansible-navigator": "These two commands were run with",
    "ansible-runner": "These two commands were run with",
    "semanage": "No host with SELinux was tried",
    "restorecon": "No host with SELinux was tried",
}
# "python" runs files of this tree, which have to be there.
PROGRAMS = {"ansible-playbook", "make", "./ddp", "python", *RUN_BY, *UNTRIED}
# Variables of a playbook that no role has.
OF_A_PLAYBOOK = {
    "playbooks/remove.yml": {"host"},
    "playbooks/restore.yml": {"backup", "restore_partial"},
    "playbooks/stop.yml": {"all"},
    "playbooks/teardown.yml": {"teardown_all", "teardown_volumes"},
}


class Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        name = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag, "")
        if said.get(name) and said.get("rel") != "canonical":
            self.addresses.append(str(said[name]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a warning ends it."""
    place = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def variables() -> set[str]:
    found = set()
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(entry.get("options") or {})
    return found


def commands(page: Path) -> list[list[str]]:
    """The command lines on a page: lines of a code block that begin with a program of those that are used here."""
    found = []
    for line in page.read_text().replace("\\\n", " ").splitlines():
        inner = re.fullmatch(r" {4,}(\S.*)", line)
        for part in re.split(r" && ", inner[1]) if inner else []:
            words = part.split()
            if words[0] in PROGRAMS:
                found.append(shlex.split(part, comments=True))
    return found


def programs(page: Path) -> set[str]:
    """What each line of a code block begins with that looks like a command: for its form, or for the line above."""
    found = set()
    text = page.read_text().replace("\\\n", " ")
    for block in re.findall(r"(?:^ {4,}\S.*\n)+", text, re.MULTILINE):
        parts = [part.strip() for line in block.splitlines() for part in line.split(" && ")]
        if parts[0].split()[0] in PROGRAMS:
            found |= {part.split()[0] for part in parts}
        found |= {part.split()[0] for part in parts if re.match(r"\./|[a-z][a-z-]* (?:.* )?--?[a-z]", part)}
    return found


def options(command: str) -> set[str]:
    return {name for parameter in COMMANDS[command].params for name in parameter.opts}


def everywhere() -> list[tuple[Path, list[str]]]:
    return [(page, words) for page in PAGES for words in commands(page)]


def test_every_variable_and_module_is_on_a_page(site: Path) -> None:
    page = (site / "variables.html").read_text()
    assert not {name for name in variables() if f"<code>{name}</code>" not in page}
    page = (site / "modules.html").read_text()
    assert not {path.stem for path in (ROOT / "library").glob("*.py") if f'id="{path.stem}"' not in page}


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        assert not [address for address in loaded.addresses if "//" in address], page


def test_every_playbook_and_every_command_of_the_console_is_described() -> None:
    text = (ROOT / "docs" / "playbooks.md").read_text()
    assert not {name for name in PLAYBOOKS if f"`{name}" not in text}
    text = (ROOT / "docs" / "console.md").read_text()
    assert not {name for name in COMMANDS if f"ddp {name}" not in text}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_what_is_gone(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"(?<![\w/.-])(?:playbooks/[a-z_]+\.yml|site\.yml)\b", text))
    assert named <= PLAYBOOKS
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= TARGETS
    assert set(re.findall(r"`(?:\./)?ddp ([a-z]+)", text)) <= set(COMMANDS)
    paths = re.findall(
        r"`((?:tests|roles|docs|examples|library|module_utils|plugins|training|console)/[a-z_0-9./-]*)[`:]", text
    )
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_no_page_names_a_setting_that_is_gone() -> None:
    kinds = ("*.yml", "*.py", "*.j2")
    folders = ("roles", "playbooks", "library", "plugins", "module_utils", "tests", "training", "inventory")
    tree = {
        word
        for folder in folders
        for kind in kinds
        for path in (ROOT / folder).rglob(kind)
        for word in OURS.findall(path.read_text())
    }
    names = variables() | {
        path.stem
        for folder in ("library", "plugins", "module_utils", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    for page in PAGES:
        # With a star behind it, it is a family of names.
        named = set(re.findall(OURS.pattern + r"(?![*_])", page.read_text()))
        assert not named - tree - names, page


def test_playbooks_on_pages_exist_and_take_their_variables() -> None:
    seen = 0
    for page, words in everywhere():
        if words[0] == "ansible-playbook":
            seen += 1
            # By its path, by its full name, or one that the page itself shows.
            named = {word for word in words if word.startswith("ddp.swarm.") or word.endswith(".yml")} - {"hosts.yml"}
            full = {
                f"playbooks/{word.removeprefix('ddp.swarm.')}.yml" for word in named if word.startswith("ddp.swarm.")
            }
            shown = {word for word in named if f"Save it as `{word}`" in page.read_text()}
            assert (named & PLAYBOOKS) | (full & PLAYBOOKS) | shown, (page, words)
            for word in re.findall(r"(?<=-e )([a-z_]+)=", " ".join(words)):
                own = [OF_A_PLAYBOOK.get(name, set()) for name in named]
                assert word in variables().union(*own), (page, word)
    assert seen > 10


def test_variables_and_files_that_a_sentence_gives_to_a_playbook_exist() -> None:
    known, given = variables(), 0
    wrong: list[object] = []
    for page in PAGES:
        text = page.read_text()
        words = set(re.findall(r"-e ([a-z_]+)=(?!value)", text))
        given += len(words)
        wrong += [(page.name, word) for word in words - known.union(*OF_A_PLAYBOOK.values())]
        for playbook, rest in re.findall(r"`(site\.yml|playbooks/[a-z_]+\.yml)( [^`]*)`", text):
            own = OF_A_PLAYBOOK.get(playbook, set())
            wrong += [(playbook, word) for word in re.findall(r"-e ([a-z_]+)=", rest) if word not in known | own]
        files = re.findall(r"(?:-e @|\bpython )([a-z_]+/[\w/]*\.(?:yml|py))", text)
        given += len(files)
        wrong += [(page.name, file) for file in files if not (ROOT / file).is_file()]
    assert not wrong
    assert given > 20


def test_targets_and_commands_of_the_console_exist_with_their_options() -> None:
    for page, words in everywhere():
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS | {".venv/.installed"}, (page, words)
        if words[0] == "./ddp":
            said = {word.split("=")[0] for word in words[2:] if word.startswith("-")}
            assert said <= options(words[1]), (page, words)


def test_options_of_the_console_in_a_sentence_or_a_table_exist() -> None:
    seen = 0
    wrong: list[object] = []
    for page in PAGES:
        for name, rest in re.findall(r"`(?:\./)?ddp ([a-z]+)( [^`]*)`", page.read_text()):
            said = {word.split("=")[0] for word in rest.split() if word.startswith("-")}
            seen += len(said)
            wrong += [(page.name, name, word) for word in said - options(name)]
    text = (ROOT / "docs" / "console.md").read_text()
    for row in re.findall(r"^\| (`ddp .*?) \|", text, re.MULTILINE):
        said = set(re.findall(r"`(--[a-z-]+)`", row))
        seen += len(said)
        wrong += [(row, word) for word in said.difference(*map(options, re.findall(r"`ddp ([a-z]+)", row)))]
    assert not wrong
    assert seen > 8


def test_whole_files_of_settings_hold() -> None:
    seen = 0
    for page in PAGES:
        for block in re.findall(
            r"^    # inventory/group_vars/all\.yml\n((?:    .*\n)+)", page.read_text(), re.MULTILINE
        ):
            seen += 1
            assert set(yaml.safe_load(block)) <= variables(), page
    assert seen == 2


def test_other_commands_are_run_by_a_test_or_marked() -> None:
    # "." reads a file of the shell; accelerate is shown as a setting's value.
    unknown = [(page, programs(page) - PROGRAMS - {".", "accelerate"}) for page in PAGES]
    assert not [(page, found) for page, found in unknown if found]
    for page, words in everywhere():
        if words[0] in UNTRIED:
            assert UNTRIED[words[0]] in page.read_text(), page
    for program, file in RUN_BY.items():
        assert program in (ROOT / file).read_text(), program


def test_each_playbook_target_and_command_is_run_by_a_suite() -> None:
    suites = "\n".join(
        path.read_text()
        for folder in ("tests", "molecule")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".yml"}
    )
    for _page, words in everywhere():
        for word in words:
            if word in PLAYBOOKS:
                assert Path(word).name in suites, word
