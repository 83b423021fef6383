"""No file that people read is longer than 500 lines."""

import subprocess

from by_path import ROOT

READ = (".py", ".yml", ".yaml", ".md", ".j2", ".sh")


def test_no_file_is_long() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [ROOT / name for name in names if name.endswith(READ)]
    assert len(files) > 500
    long = {str(file.relative_to(ROOT)): lines for file in files if (lines := len(file.read_text().splitlines())) > 500}
    assert long == {}
