"""What ./ddp is made of: the project's playbooks with a face. Runs on the controller."""

from __future__ import annotations

import sys
from pathlib import Path

# The checkout that it was started from, or installed from as an editable package.
ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "site.yml").exists():
    sys.exit("ddp was installed without its playbooks: run 'pipx install --editable .' in the checkout.")
# The project's own parts, under the name by which Ansible knows them.
sys.path.insert(0, str(ROOT / "collections"))
