"""What docker leaves out by a .dockerignore: the cases of its own reader, in our words."""

import os
from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.dockerignore import BadPattern, Ignored, patterns_of


def out(text: str, path: str) -> bool:
    return Ignored(patterns_of(text)).leaves_out(path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("data", "data", True),
        ("data", "data/sub/file", True),
        ("data", "other/data", False),
        ("data", "Data", False),
        ("data", "database", False),
        ("/data", "data/x", True),
        ("data/", "data", True),
        ("./data/../data", "data", True),
        ("../data", "data", False),
        (".", "data", False),
        ("*", "data/x", True),
        ("*.py", "a.py", True),
        ("*.py", "sub/a.py", False),
        ("*.py", "apy", False),
        ("*/b", "a/b/c", True),
        ("*/*/c", "a/b/c", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("**", "a/b", True),
        ("**/", "a/b", True),
        ("**/*.py", "a.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("**/b", "b", True),
        ("**/b", "a/b/c", True),
        ("**/b", "a/ab", False),
        ("**b", "a/ab", True),
        ("**.txt", "a/b.txt", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/bz", False),
        ("a**", "ab/c", True),
        ("**/a/**", "x/a/y", True),
        ("[a-c]", "b", True),
        ("[^a]", "a", False),
        ("[^a]", "b", True),
        ("[!a]", "b", False),
        ("[!a]", "!", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a.b", "axb", False),
        ("a+(b)|{c}$", "a+(b)|{c}$", True),
        ("a^b", "a^b", True),
        ("**/.*_cache", "sub/.ruff_cache/c", True),
        ("#a", "#a", False),
        (" #a", "#a", True),
        ("\ufeffa", "a", True),
        ("a\r\nb\r\n", "a", True),
        ("a\u2028b", "a", False),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "keep/x", False),
        ("*\n!keep\nkeep/secret", "keep/secret", True),
        ("*\n! keep ", "keep", False),
        ("!keep\n*", "keep", True),
        ("data\n!data/**/keep", "data/a/keep", False),
        ("data\n!data/**/keep", "data/a/other", True),
        ("*\n!/keep", "keep", False),
        ("**", "Dockerfile", False),
        ("**", ".dockerignore", False),
        ("**", "sub/Dockerfile", True),
    ],
)
def test_rules(pattern: str, path: str, expected: bool) -> None:
    assert out(pattern, path) is expected


@pytest.mark.parametrize("line", ["!", "! ", "[a", "a\\"])
def test_no_patterns(line: str) -> None:
    with pytest.raises(BadPattern, match="is no pattern"):
        patterns_of(f"a\n{line}\n")


def test_what_is_kept(tmp_path: Path) -> None:
    for name in ("a/b/keep", "a/b/other", "a/c/other", "data/big", "some/x", "train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "folder").symlink_to("data")
    os.mkfifo(tmp_path / "pipe")
    kept = Ignored(patterns_of("a\n!**/keep\ndata/*\nsome\n")).kept(tmp_path)
    # A folder of which all is left out is sent as an empty one, unless it is left out itself.
    assert sorted(kept) == ["a/b/keep", "data", "folder", "link", "nothing", "train.py"]


def test_nothing_is_asked_of_a_folder_that_is_left_out(tmp_path: Path) -> None:
    shut = tmp_path / "data"
    shut.mkdir()
    asked: list[str] = []

    class Seen(Ignored):
        def leaves_out(self, path: str) -> bool:
            asked.append(path)
            return super().leaves_out(path)

    (shut / "big").write_text("x")
    assert list(Seen(patterns_of("data")).kept(tmp_path)) == []
    assert asked == ["data"]
