#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: those layers of an image that others lack, as files named by their content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_save
short_description: Write those layers of an image that others lack
description:
  - Writes only the layers that are asked for, one file each, named by its content.
  - Reads them where the engine keeps them, which takes no longer than they are large. Where it does not find them there, or not as the
    image names them, it reads C(docker save) as it comes, for which the engine puts the whole image aside on its disk.
  - An engine that keeps images in containerd tells nothing of single layers. Its image is written as one file, whatever others have.
  - A file that is there already is kept, so that an interrupted transfer goes on where it stopped.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with its tag.
    type: str
    required: true
  dest:
    description:
      - Directory to write to. It is made. The files belong to the login user, who can then fetch them by their names, and only root
        can put another in their place. A directory to which others may write, as earlier versions made it, is emptied first.
    type: path
    required: true
  held:
    description: Chain IDs that every receiver has, as C(image_state) tells. The layers under them are left out.
    type: list
    elements: str
    default: []
  compress:
    description: Compress with the command zstd (level 1), which every receiver then needs as well.
    type: bool
    default: false
  inline:
    description: Where the files take no more bytes than this together, they are returned instead, and O(dest) is removed.
    type: int
    default: 0
notes:
  - Works with both layouts of C(docker save), that of engines before 25 and the OCI layout since.
"""

EXAMPLES = r"""
- name: Write what the others lack
  image_save:
    ref: my-ddp-trainer:0123456789ab
    dest: /var/lib/ddp-swarm
    held: "{{ found.chains }}"
"""

RETURN = r"""
id:
  description: The image's ID.
  returned: success
  type: str
config:
  description: The image's configuration, in base64. Its SHA-256 is the image's ID. Empty where the image was written as one file.
  returned: success
  type: str
diff_ids:
  description: The diff IDs of all layers, lowest first.
  returned: success
  type: list
  elements: str
layers:
  description:
    - The layers that were written, each with C(diff_id), C(chain), C(file) (its name in O(dest)), C(sha256) and C(bytes) of the
      file, and C(size), its bytes before compression.
    - C(diff_id) and C(chain) of the one file that is the whole image are empty.
    - C(content) is the file itself, in base64, where it is RV(inline).
  returned: success
  type: list
  elements: dict
source:
  description: Where the layers were read, C(store) or C(docker save), or C(files) where all were there already.
  returned: success
  type: str
inline:
  description: Whether the files were returned instead of left in O(dest).
  returned: success
  type: bool
bytes:
  description: Bytes of all files together.
  returned: success
  type: int
size:
  description: The same before compression.
  returned: success
  type: int
"""

import errno
from pathlib import Path

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.image.save import write_lacking
from ..module_utils.reporting import ReportingModule


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "ref": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "held": {"type": "list", "elements": "str", "default": []},
            "compress": {"type": "bool", "default": False},
            "inline": {"type": "int", "default": 0},
        },
        supports_check_mode=False,
    )
    params = dict(module.params)
    dest = params["dest"] = Path(params["dest"])
    program = str(module.get_bin_path("docker", required=True))
    try:
        written = write_lacking(DockerCli(module), program, **params)
    except DockerError as error:
        module.fail_json(msg=f"The image {params['ref']} cannot be read: {error}.")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            module.fail_json(msg=f"{dest} has no space left: free some space there and run this again.")
        module.fail_json(msg=f"{dest} cannot take the image's layers ({error}): correct that there and run this again.")
    module.exit_json(changed=True, **written)


if __name__ == "__main__":
    main()
