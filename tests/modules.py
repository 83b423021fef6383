"""Makes the project importable as the collection that it is: `ansible_collections.ddp.swarm`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "collections"))
