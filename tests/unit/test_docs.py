"""The pages: they build without a warning, have every variable, playbook and command, and name nothing that is gone."""

import html
import os
import re
import shlex
import subprocess
import sys
import textwrap
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from ansible.cli.galaxy import GalaxyCLI
from ansible.cli.playbook import PlaybookCLI
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from console.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/README.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
)
PLAYBOOKS = {"site.yml", *(f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# The tree without what tools and runs leave in it.
FILES = [
    path.relative_to(ROOT).as_posix()
    for place in ROOT.iterdir()
    if place.name not in {"artifacts", "backups", "collections", "dist"} and (place.is_file() or place.name[0] != ".")
    for path in ([place] if place.is_file() else place.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OURS = re.compile(r"\b(?:docker|swarm|image|preflight|training|lab|lock|monitoring|teardown|lease)_[a-z_]*[a-z]\b")
# What a command line begins with: the file that runs it, and the words there that do. Nothing else may stand on a page as a command.
RUN_BY = {
    "ansible-galaxy collection install": ("tests/archives.py", '"ansible-galaxy", "collection", "install", archive'),
    "apt-get install --download-only --no-install-recommends": (
        "tests/image/test_air_gap.py",
        "apt-get install -qq --download-only --no-install-recommends",
    ),
    "docker pull": ("tests/image/test_registry.py", "docker pull {host}/{tag}"),
    "docker save --output": ("tests/prometheus_stand_ins.py", '"docker", "save", "--output"'),
    "pip download --dest": ("roles/lab/vars/main.yml", "- pip\n  - download\n  - --quiet\n  - --dest"),
    "pip install -r": ("Makefile", "pip install --quiet --disable-pip-version-check -r requirements.txt"),
    "pip install pillow": ("tests/requirements.txt", "\npillow=="),
    "python examples/images/make_shapes.py": ("tests/scripts/conftest.py", '"examples/images/make_shapes.py", drawn'),
    "rsync -a": ("tests/roles/test_training_data.py", "rsync"),
    "ssh -L": ("tests/unit/test_filter_monitoring.py", '"ssh -N -L '),
}
# Needs a host, a program or hardware that no test has. The page has to say so.
UNTRIED = {
    "ansible-builder build": "The image has not been built",
    "ansible-navigator run": "These two commands were run with",
    "ansible-runner run": "These two commands were run with",
    "semanage fcontext": "No host with SELinux was tried",
    "restorecon -R": "No host with SELinux was tried",
}
OURSELVES = {"ansible-playbook", "make", "./ddp"}
PROGRAMS = {*OURSELVES, *(words.split()[0] for words in (*RUN_BY, *UNTRIED))}
# Files that a page names and that are not of this tree: a user's, a run's, or another project's.
MADE = {"docker-compose-2node.yml", "hosts.yml", "newest.txt", "stack.yml", "train.yml"}
MADE_IN = ("artifacts/", "backups/", "dist/", ".lab/", "runs/", "project/", "tensorboard/", "compose/", "collections/")
# Names with an underscore that are another's: Docker's, torch's, a user's.
OTHERS = {"docker_gwbridge", "docker_user"}
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


@cache
def specs() -> dict[str, dict[str, Any]]:
    """What each role says of its variables."""
    found: dict[str, dict[str, Any]] = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= entry.get("options") or {}
    return found


def variables() -> set[str]:
    return set(specs())


def commands(page: Path) -> list[list[str]]:
    """The command lines on a page: lines of a code block that begin with a program of those that are used here."""
    found = []
    for line in page.read_text().replace("\\\n", " ").splitlines():
        inner = re.fullmatch(r" {4,}(\S.*)", line)
        for part in re.split(r" && ", inner[1]) if inner else []:
            words = part.split()
            # Words that stand far apart are a drawing.
            if words[0] in PROGRAMS and not re.match(r"\S+ {3}", part):
                found.append(shlex.split(part, comments=True))
    return found


def programs(page: Path) -> set[str]:
    """What each line of a code block begins with that looks like a command: for its form, or for the line above."""
    found = set()
    text = page.read_text().replace("\\\n", " ")
    for block in re.findall(r"(?:^ {4,}\S.*\n)+", text, re.MULTILINE):
        parts = [part.strip() for line in block.splitlines() for part in line.split(" && ")]
        if any(part.split()[0] in PROGRAMS and not re.match(r"\S+ {3}", part) for part in parts):
            found |= {part.split()[0] for part in parts}
        found |= {part.split()[0] for part in parts if re.match(r"\./|[a-z][a-z-]* (?:.* )?--?[a-z]", part)}
    return found


def options(command: str) -> set[str]:
    return {name for parameter in COMMANDS[command].params for name in parameter.opts}


@cache
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


def test_no_sentence_is_shown_as_code(site: Path) -> None:
    """As one that is indented too far is."""
    wrong = []
    for page in site.rglob("*.html"):
        for block in re.findall(r"<pre>(.*?)</pre>", page.read_text(), re.DOTALL):
            text = html.unescape(re.sub(r"<[^>]*>", "", block)).strip()
            if re.search(r"\*\*\w[^*]*\w\.?\*\*|\]\(|^[A-Z][a-z]+(?: [a-z]+)+[.:]$", text, re.MULTILINE):
                wrong.append((page.name, text[:60]))
    assert not wrong


def test_every_playbook_and_every_command_of_the_console_is_described() -> None:
    text = (ROOT / "docs" / "playbooks.md").read_text()
    assert not {name for name in PLAYBOOKS if not re.search(rf"`{re.escape(name)}[` ]", text)}
    text = (ROOT / "docs" / "console.md").read_text()
    assert not {name for name in COMMANDS if not re.search(rf"`ddp {name}[` ]", text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_what_is_gone(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"(?<![\w/.-])(?:playbooks/[a-z_]+\.yml|site\.yml)\b", text))
    assert named <= PLAYBOOKS
    assert set(re.findall(r"`(?:\./)?ddp ([a-z]+)", text)) <= set(COMMANDS)


def test_no_page_names_a_setting_that_is_gone() -> None:
    """What tests and messages say is no proof of a setting: roles and playbooks have to have it."""
    tree = {
        word
        for folder in ("roles", "playbooks")
        for path in (ROOT / folder).rglob("*.yml")
        for word in OURS.findall(path.read_text())
    }
    names = tree | variables() | OTHERS | {Path(file).stem for file in FILES if not file.startswith("roles/")}
    names |= {parent.name for file in FILES for parent in Path(file).parents}
    for page in PAGES:
        # With a star behind it, it is a family of names.
        named = set(re.findall(OURS.pattern + r"(?![*_])", page.read_text()))
        assert not named - names, page


def test_no_page_names_a_name_of_the_code_that_is_gone() -> None:
    """Of names with an underscore, whatever they begin with, and of variables of the environment."""
    code = "\n".join(
        (ROOT / file).read_text()
        for file in FILES
        if file.endswith((".py", ".yml", ".j2", "Makefile")) and file != "tests/unit/test_docs.py"
    )
    words = set(re.findall(r"\w+", code))
    for page in PAGES:
        text = page.read_text()
        named = set(re.findall(r"`-{0,2}([a-z]+(?:_[a-z0-9]+)+)(?=[`:=])", text)) | set(
            re.findall(r"\bDDP_[A-Z_]+", text)
        )
        assert not named - words - OTHERS, page


def test_full_names_exist() -> None:
    known = {Path(file).stem for file in FILES if re.match(r"(playbooks|library|plugins/\w+)/\w+\.(py|yml)$", file)}
    known |= {path.name for path in (ROOT / "roles").iterdir()} | {"site"}
    named = {name for page in PAGES for name in re.findall(r"\bddp\.swarm\.(\w+)", page.read_text())}
    assert len(named) > 8
    assert not named - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_file_that_is_gone(page: Path) -> None:
    """By its path, or by the end of it: `collect.yml`, `judge/`, `training/Dockerfile`."""
    ends = {f"/{file}" for file in FILES} | {f"/{parent}/" for file in FILES for parent in Path(file).parents}
    named = re.findall(r"`([\w./-]+(?:\.(?:yml|py|toml|txt|lock|j2|md)|/|/[A-Z][a-z]+))`", page.read_text())
    named = [name for name in named if name not in MADE and not name.startswith(MADE_IN) and "ROLE" not in name]
    named += re.findall(r"`((?:tests|roles)/[\w./-]+)`", page.read_text().replace("/ROLE/", "/training/"))
    assert not [name for name in named if not any(end.rstrip("/").endswith(f"/{name}".rstrip("/")) for end in ends)]


@cache
def options_of(program: str) -> Any:
    """The parser of one of Ansible's programs, without what its start does."""
    cli = {"ansible-playbook": PlaybookCLI, "ansible-galaxy": GalaxyCLI}[program]([program])
    cli.init_parser()
    # The beginning of an option is none.
    cli.parser.allow_abbrev = False
    return cli.parser


def test_ansible_takes_the_options() -> None:
    seen = 0
    for page, words in everywhere():
        if words[0] in {"ansible-playbook", "ansible-galaxy"}:
            seen += 1
            try:
                options_of(words[0]).parse_args(words[1:])
            except SystemExit:
                pytest.fail(f"{page}: {shlex.join(words)}")
    assert seen > 20


def test_options_in_a_sentence_are_those_of_a_program() -> None:
    known = {name for action in options_of("ansible-playbook")._actions for name in action.option_strings}
    known |= {name for command in COMMANDS for name in options(command)}
    trainer = "\n".join(path.read_text() for path in (ROOT / "training").rglob("*.py"))
    known |= set(re.findall(r'"(--[a-z_]+)"', trainer))
    # Of torchrun, accelerate, pip, docker, the network file system, and of a script that is shown.
    known |= {"--tee", "--nnodes", "--node_rank", "--master_addr", "--multi_gpu", "--extra-index-url", "--gpus"}
    known |= {"--epochs", "--compress", "--max_steps"}
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(--[a-z_-]+)", page.read_text())}
    assert not {(page, name) for page, name in named if name not in known}


def refusals(given: dict[str, Any]) -> list[str]:
    """What Ansible says of these settings, as it says it when a role starts."""
    known = specs()
    wrong = [f"{name} is no setting" for name in given if name not in known]
    for name in given.keys() & known.keys():
        spec = {key: value for key, value in known[name].items() if key != "required"}
        # What a template makes of it is not known here.
        if "{{" not in str(given[name]):
            wrong += ArgumentSpecValidator({name: spec}).validate({name: given[name]}).error_messages
    return wrong


def test_values_that_a_sentence_gives_to_a_setting_are_taken() -> None:
    seen, wrong = 0, []
    known = specs()
    for page in PAGES:
        for name, value in re.findall(r"[` ]([a-z]+(?:_[a-z]+)+)(?:=|: )([^`\n]+)`", page.read_text()):
            if name in known and not re.search(r"\b[A-Z]{3,}\b|\.\.\.", value):
                seen += 1
                # With "=", Ansible takes the value as a text, and makes of it what the setting is.
                wrong += [(page.name, name, said) for said in refusals({name: yaml.safe_load(value)})]
    assert not wrong
    assert seen > 40


def test_each_block_of_settings_holds() -> None:
    """A block is one of settings if one of its names is one."""
    seen, wrong = 0, []
    for page in PAGES:
        for block in re.findall(r"(?:^ {4}[^\n]*\n)+", page.read_text(), re.MULTILINE):
            try:
                given = yaml.safe_load(textwrap.dedent(block))
            except yaml.YAMLError:
                continue
            if isinstance(given, dict) and given.keys() & specs().keys():
                seen += 1
                wrong += [(page.name, said) for said in refusals(given)]
    assert not wrong
    assert seen > 10


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


def test_targets_of_make_exist_with_their_variables() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines = [" ".join(words) for _page, words in everywhere() if words[0] == "make"]
    lines += [line for page in PAGES for line in re.findall(r"`(make [^`&]+)", page.read_text())]
    assert len(lines) > 40
    for line in lines:
        words = line.split()[1:]
        assert {word for word in words if "=" not in word} <= TARGETS | {".venv/.installed"}, line
        assert not [word for word in words if "=" in word and not re.search(rf"\b{word.split('=')[0]}\b", makefile)], (
            line
        )


def test_commands_of_the_console_exist_with_their_options() -> None:
    for page, words in everywhere():
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


def test_there_are_two_whole_files_of_settings() -> None:
    """Their names and values are looked at with all other blocks."""
    heads = [page.name for page in PAGES if "\n    # inventory/group_vars/all.yml\n" in page.read_text()]
    assert heads == ["gpu.md", "training.md"]


def test_other_commands_are_run_by_a_test_or_marked() -> None:
    # "." reads a file of the shell; accelerate is shown as a setting's value.
    unknown = [(page, programs(page) - PROGRAMS - {".", "accelerate"}) for page in PAGES]
    assert not [(page, found) for page, found in unknown if found]
    for page, words in everywhere():
        if words[0] not in OURSELVES:
            line = " ".join(words) + " "
            begun = [said for said in (*RUN_BY, *UNTRIED) if line.startswith(f"{said} ")]
            assert begun, (page, line)
            assert begun[0] in RUN_BY or UNTRIED[begun[0]] in page.read_text(), page
    for file, said in RUN_BY.values():
        assert said in (ROOT / file).read_text(), said


def test_each_playbook_and_command_of_the_console_is_run_by_a_suite() -> None:
    """Those of the pages are all that there are. A sentence about one does not count, only a word of its own."""
    files = [file for file in FILES if file.startswith(("tests/", "molecule/")) and file != "tests/unit/test_docs.py"]
    suites = "\n".join((ROOT / file).read_text() for file in files if file.endswith((".py", ".yml")))
    typed = set(re.findall(r'\bddp\("([a-z]+)"', suites)) | set(re.findall(r"\bddp ([a-z]+)", suites))
    played = set(re.findall(r'"((?:playbooks/)?[a-z_]+\.yml)"', suites))
    played |= {f"playbooks/{name}.yml" for name in re.findall(r"import_playbook: \S*playbooks/([a-z_]+)\.yml", suites)}
    assert {name for name in PLAYBOOKS if not {name, Path(name).name} & played} <= {"playbooks/board.yml"}
    assert set(COMMANDS) - typed == set()
