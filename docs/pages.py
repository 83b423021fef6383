"""What the site has beside the files in docs/: pages made of other files, and links that lead to them.

A page in docs/ links to a file as it lies in the tree, so that the link works in a checkout too. Here it becomes a link to the page
that is made of that file, or to the file in the repository. One that leads nowhere ends the build.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
# V(x), O(x), C(x) and so on: all are code. L(text,url) is a link, B and I are emphasis, R and M name other documents.
CODE = re.compile(r"\b([VOCEPMR]|RV)\((?:[^()]|\([^()]*\))*?\)")


def sources() -> dict[str, str]:
    """The file in the tree, and the page that is made of it."""
    made = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
    made["examples/README.md"] = "examples/index.md"
    for path in sorted((ROOT / "examples").glob("*/README.md")):
        made[path.relative_to(ROOT).as_posix()] = f"examples/{path.parent.name}.md"
    for path in sorted((ROOT / "roles").glob("*/README.md")):
        made[path.relative_to(ROOT).as_posix()] = f"variables.md#{path.parent.name}"
    return made


def origin(page: str) -> str:
    """The path in the tree of a page's text."""
    return next((source for source, made in sources().items() if made == page), f"docs/{page}")


def resolved(target: str, page: str, repository: str) -> str:
    """Where a link leads that was written in the file that a page is made of."""
    path, _hash, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return target
    found = posixpath.normpath(posixpath.join(posixpath.dirname(origin(page)), path))
    place = ROOT / found
    if found.startswith("../") or not place.exists():
        raise PluginError(f"{origin(page)} links to {target}: there is no {found}.")
    made = sources().get(f"{found}/README.md" if place.is_dir() else found)
    if not made and found.startswith("docs/") and place.is_file():
        made = found.removeprefix("docs/")
    if not made:
        return f"{repository}/{'tree' if place.is_dir() else 'blob'}/main/{found}"
    here, _hash, there = made.partition("#")
    link = posixpath.relpath(here, posixpath.dirname(page) or ".")
    return f"{link}#{anchor or there}" if anchor or there else link


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}({resolved(match[2], page.file.src_uri, str(config.extra['repository']))})"

    # What stands between fences, or is indented as code, is no link; neither has the form of one in these pages.
    return LINK.sub(replaced, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme's search is a dialog without a name for who hears the page."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in sources().items():
        if "#" not in page:
            text = (ROOT / source).read_text()
            if source == "README.md" and files.get_file_from_path("index.md"):
                raise PluginError("docs/index.md is in the way: the first page is README.md.")
            files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "variables.md", content=variables()))
    files.append(File.generated(config, "modules.md", content=modules()))
    return files


def prose(said: Any) -> str:
    """Ansible's markup as Markdown, on one line."""
    text = " ".join(" ".join(said if isinstance(said, list) else [str(said or "")]).split())
    text = re.sub(r"\bL\(([^,]+),\s*([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\bU\(([^)]+)\)", r"<\1>", text)
    text = re.sub(r"\bB\(([^)]+)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]+)\)", r"*\1*", text)
    return CODE.sub(lambda match: f"`{match[0][match[0].index('(') + 1 : -1]}`", text)


def kind(option: dict[str, Any]) -> str:
    named = str(option.get("type", "str"))
    return f"list of {option['elements']}" if named == "list" and option.get("elements") else named


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if option.get("default") is None:
        return ""
    value = option["default"]
    return f"default `{value if isinstance(value, str) and value else json.dumps(value)}`"


def facts(option: dict[str, Any]) -> str:
    """Type, default and choices, on one line."""
    said = [kind(option), default(option)]
    if option.get("choices"):
        words = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in option["choices"]]
        said.append(f"one of {', '.join(f'`{word}`' for word in words)}")
    return ", ".join(filter(None, said))


def listed(options: dict[str, Any], depth: int = 0) -> list[str]:
    """A list, since tables cut names on a narrow screen. What an option holds is listed below it."""
    made = []
    for name, option in options.items():
        made.append(f"{'    ' * depth}- **`{name}`** ({facts(option)}): {prose(option.get('description'))}")
        made += listed(option.get("options") or option.get("suboptions") or {}, depth + 1)
    return made


def described(options: dict[str, Any]) -> list[str]:
    """Each variable under a heading of its own, to which one can link."""
    made = []
    for name, option in options.items():
        made += [f"#### `{name}` {{ #{name} }}", f"*{facts(option)}*", prose(option.get("description"))]
        made += ["\n".join(listed(option["options"]))] if option.get("options") else []
    return made


def variables() -> str:
    """Every variable of every role, out of the specifications that the roles are checked with."""
    parts = ["# Variables"]
    parts.append(
        "Set them in `inventory/group_vars/all.yml`, for a group or a host in the inventory, or with `-e`. This page is made of the roles' "
        "`meta/argument_specs.yml`. Ansible checks what you set with the same files."
    )
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        role = path.parents[1].name
        parts.append(f"## {role} {{ #{role} }}")
        for entry, spec in yaml.safe_load(path.read_text())["argument_specs"].items():
            parts += [f"### {role}: {entry} {{ #{role}-{entry} }}"] if entry != "main" else []
            parts.append(prose(spec.get("description") or spec.get("short_description")))
            parts += described(spec.get("options") or {})
    return "\n\n".join(parts) + "\n"


def module_names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "library").glob("*.py"))


def documentation() -> dict[str, Any]:
    """What ansible-doc says of each module."""
    words = [
        str(Path(sys.executable).parent / "ansible-doc"),
        "--json",
        *(f"ddp.swarm.{name}" for name in module_names()),
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PluginError(f"ansible-doc failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def modules() -> str:
    """The modules, as ansible-doc describes them."""
    parts = ["# Modules"]
    parts.append(
        "Made of the modules' own documentation. `ansible-doc ddp.swarm.NAME` shows the same in a terminal. "
        "[swarm_stack](swarm_stack.md) is useful in other projects; most of the others do one step of a role."
    )
    for name, said in sorted(documentation().items()):
        doc = said["doc"]
        short = name.removeprefix("ddp.swarm.")
        parts += [
            f"## {short} {{ #{short} }}",
            f"`{name}`: {prose(doc['short_description'])}.",
            *map(prose, doc["description"]),
        ]
        parts += ["\n".join(listed(doc["options"]))] if doc.get("options") else []
        if said.get("examples"):
            parts += [f"```yaml\n{said['examples'].strip()}\n```"]
        if said.get("return"):
            parts += ["Returns:", "\n".join(listed(said["return"]))]
    return "\n\n".join(parts) + "\n"
