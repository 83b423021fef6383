"""Stack files that nobody means to write, and YAML's own ways of saying a thing twice: docker's outcome, or one sentence."""

import json
import time

import docker_oracle
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.load import load, read_file
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError

ANCHORS = "x-a: &a {user: first, labels: {k: a}}\nx-b: &b {user: second, tty: true, labels: {k: b, l: b}}\n"
# What `services.s` is merged of, and which user and label are its own then.
MERGES = [
    ("<<: [*a, *b]", "first", "a"),
    ("<<: [*b, *a]", "second", "b"),
    ("user: own\n    <<: [*a, *b]", "own", "a"),
    ("<<: [*a, *b]\n    user: own", "own", "a"),
    ("<<: {<<: [*a, *b], user: third}", "third", "a"),
    ("<<: [{<<: *b}, *a]", "second", "b"),
    ("<<: *a\n    labels: {<<: {k: c, l: c}, l: own}", "first", "c"),
]


def written(tmp_path, text):
    path = tmp_path / "stack.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "services:\t# all of them\n  s:\t\n    image:\ti\t# one\n    user:\t'me'\t\n",
        "services:\n  s: {image: i,\tuser:\tme\t,\n\ttty:\ttrue}\n",
        "services:\n  s:\n    image: i\n    command: [a,\n\t\tb\t]\n    user:\t&u me\n    hostname: *u\t\n",
    ],
)
def test_tabs_between_tokens(tmp_path, text):
    path = written(tmp_path, text)
    assert read_file(str(path))["services"]["s"]["image"] == "i"
    if docker_oracle.command():
        theirs, ours = docker_oracle.both(path, directory=tmp_path, environment={})
        assert ours == theirs


@pytest.mark.parametrize(("lines", "user", "label"), MERGES)
def test_of_what_is_merged_in_the_first_counts(tmp_path, lines, user, label):
    path = written(tmp_path, f"{ANCHORS}services:\n  s:\n    image: i\n    {lines}\n  t: {{<<: *a, image: i}}\n")
    services = read_file(str(path))["services"]
    assert (services["s"]["user"], services["s"]["labels"]["k"]) == (user, label)
    assert services["t"] == {"user": "first", "labels": {"k": "a"}, "image": "i"}
    if docker_oracle.command():
        theirs, ours = docker_oracle.both(path, directory=tmp_path, environment={})
        assert ours == theirs


TWICE = "a mapping has the same key twice"
SENTENCES = [
    ("services:\n  s: {image: i}\n  s: {image: j}\n", f"is not valid YAML: {TWICE} (line 3, column 3)"),
    ("services:\n  s: {<<: {user: a}, image: i,\n    image: j}\n", f"is not valid YAML: {TWICE} (line 3, column 5)"),
    ("services:\n  s: {<<: {user: a}, <<: {tty: true}}\n", f"is not valid YAML: {TWICE} (line 2, column 22)"),
    ('{"services": {"s": {"image": "i", "image": "j"}}}', f": {TWICE}"),
    ("services:\n  1: {image: i}\n", "is not valid YAML: a key is no text: put it between quotes (line 2, column 3)"),
    ("services:\n  s: {image: i, labels: {true: x}}\n", "a key is no text: put it between quotes (line 2, column 26)"),
    ("services: {~: {image: i}}\n", "a key is no text: put it between quotes (line 1, column 12)"),
    ("services: {[a]: {image: i}}\n", "a key is no text: put it between quotes (line 1, column 12)"),
    ("services: {s: {<<: 1}}\n", "is not valid YAML: << takes a mapping or a list of mappings (line 1, column 20)"),
    ("services: {s: {<<: [{a: b}, c]}}\n", "<< takes a mapping or a list of mappings (line 1, column 29)"),
    ("services: &a\n  s: {image: i}\n  t: *a\n", "is nested too deeply, or an anchor in it holds itself"),
    ("services: {s: &a {<<: *a}}\n", "is nested too deeply, or an anchor in it holds itself"),
    ("services: " + "[" * 3000 + "]" * 3000, "is nested too deeply, or an anchor in it holds itself"),
    ('{"a":' * 100_000, "is nested too deeply"),
    ("services:\n\ts: 1\n", "cannot start any token: PyYAML takes no tabs, write blanks (line 2, column 1)"),
    ("", "does not hold a mapping"),
    ("# nothing\n---\n", "does not hold a mapping"),
    (b"\x00\x01\xff", "cannot read the compose file %s on the target: it is no text in UTF-8"),
    ("services: {s: {image: ä}}".encode("latin-1"), "on the target: it is no text in UTF-8"),
]


@pytest.mark.parametrize(("text", "sentence"), SENTENCES)
def test_one_sentence_each(tmp_path, text, sentence):
    path = written(tmp_path, text)
    with pytest.raises(ComposeError) as caught:
        load([str(path)])
    said = str(caught.value)
    assert sentence.replace("%s", str(path)) in said
    assert str(path) in said
    assert "\n" not in said
    if docker_oracle.command():
        assert docker_oracle.config(path, directory=tmp_path, environment={})[1]


@pytest.mark.parametrize(("name", "said"), [("", "Is a directory"), ("none.yml", "No such file or directory")])
def test_no_file(tmp_path, name, said):
    with pytest.raises(ComposeError, match=f"^cannot read the compose file {tmp_path}/?{name} on the target: {said}$"):
        load([str(tmp_path / name)])


def levels(number, way):
    lines = ["x-0: &l0 [a, b, c, d, e, f, g, h, i]"] if way == "list" else ["x-0: &l0 {a: 1}"]
    for level in range(1, number):
        above = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"x-{level}: &l{level} " + (f"[{above}]" if way == "list" else f"{{<<: [{above}]}}"))
    return "\n".join([*lines, "services: {s: {image: i}}", ""])


def test_a_few_lines_that_make_gigabytes(tmp_path):
    path = written(tmp_path, levels(12, "list"))
    began = time.monotonic()
    with pytest.raises(ComposeError, match="its anchors make more than a hundred times of what is written$"):
        load([str(path)])
    assert time.monotonic() - began < 2


def test_merged_again_and_again_it_is_read_once(tmp_path):
    began = time.monotonic()
    assert load([str(written(tmp_path, levels(25, "merge")))])[0][0]["x-24"] == {"a": 1}
    assert time.monotonic() - began < 2


def test_many_services_of_one_anchor(tmp_path):
    """As people write them: they are not gigabytes."""
    services = "".join(f"  s{number}: {{<<: *a, hostname: h{number}}}\n" for number in range(500))
    path = written(
        tmp_path, "x-a: &a {image: i, labels: &l {a: b, c: d}, deploy: {labels: *l}}\nservices:\n" + services
    )
    assert len(load([str(path)])[0][0]["services"]) == 500


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path, encoding):
    """As editors and shells of Windows write them, with a mark at the start."""
    text = "services: {s: {image: 'ä'}}"
    text = f"\ufeff{text}" if encoding in ("utf-16-le", "utf-16-be") else text
    path = written(tmp_path, text.encode(encoding))
    assert read_file(str(path)) == {"services": {"s": {"image": "ä"}}}
    if docker_oracle.command():
        assert docker_oracle.config(path, directory=tmp_path, environment={})[1] == ""


def test_what_is_written_twice_in_two_mappings(tmp_path):
    parts = {"services": {"a": {"image": "i"}, "b": {"image": "i"}}}
    assert load([str(written(tmp_path, json.dumps(parts)))])[0] == [parts]


USES = [
    ("{path}", "cannot read the compose file {path} on the target"),
    ({"services": {"s": {"image": "i", "env_file": "{path}"}}}, "service s: cannot read env_file {path}"),
    (
        {"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {"file": "{path}"}}},
        "config c: cannot read {path} on the target",
    ),
]


@pytest.mark.parametrize(("use", "sentence"), USES, ids=["compose", "env_file", "config"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "Is a directory"),
        ("/no/such", "No such file or directory"),
        ("/dev/zero", "it has more than 16 MiB"),
        ("/a\0b", "a path cannot hold this: embedded null byte"),
        ("/" + "x" * 300, "File name too long"),
    ],
)
def test_files_that_cannot_be_read(use, sentence, path, said):
    compose = json.loads(json.dumps(use).replace("{path}", path.replace("\0", "\\u0000")))
    with pytest.raises(ComposeError) as caught:
        prepare([compose], "demo", {})
    assert str(caught.value) == f"{sentence.replace('{path}', path)}: {said}"


@pytest.mark.parametrize("source", ["", " "])
def test_no_path(source):
    with pytest.raises(ComposeError, match="^an entry of compose is empty: write a mapping, or the path of a file"):
        load([source])


def test_a_path_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "services: {s: {image: i}}")
    assert load(["~/stack.yml"]) == ([{"services": {"s": {"image": "i"}}}], str(tmp_path))
