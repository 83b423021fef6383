"""Makes the project's modules importable as Ansible sees them on a target."""

import sys
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "library"))
ansible.module_utils.__path__.insert(0, str(ROOT / "module_utils"))
