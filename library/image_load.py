#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: an image made of the layers that were shipped and of those that the engine has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_load
short_description: Load an image from the layers that the host lacked
description:
  - Makes an archive for C(docker load) of the files that C(image_save) wrote, and lets the engine take the other layers from
    what it has. It does so for a layer whose chain ID it knows, whether or not the archive holds the layer (moby,
    image/tarexport/load.go).
  - What C(image_save) could only save as a whole is loaded with all files that are in it. First its manifest is read, and nothing is
    loaded if that names another image than O(ref) and O(tags), which would take the name of an image that the host has.
  - The files come from another host. Their names and their directory are checked, and no file is read or written through a link.
  - The engine recomputes the diff ID of every layer that it reads, and makes the image last. So there is the whole image,
    the same as at the source, or none.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with the tag to give it.
    type: str
    required: true
  tags:
    description: Further names to give it.
    type: list
    elements: str
    default: []
  src:
    description: Directory with the files, to which nobody else may write. Needed unless C(image_save) returned them.
    type: path
  id:
    description: The image's ID at the source. Where one of the two engines keeps images in containerd, the ID becomes another, and the
      layers are compared instead.
    type: str
    required: true
  config:
    description: The image's configuration, in base64.
    type: str
    required: true
  diff_ids:
    description: The diff IDs of all layers.
    type: list
    elements: str
    required: true
  layers:
    description: The layers that were shipped, as C(image_save) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Load the image
  image_load:
    ref: my-ddp-trainer:0123456789ab
    src: /var/lib/ddp-swarm
    id: "{{ saved.id }}"
    config: "{{ saved.config }}"
    diff_ids: "{{ saved.diff_ids }}"
    layers: "{{ saved.layers }}"
"""

RETURN = r""" # """

import tempfile
from pathlib import Path
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.image.layers import saved_problem
from ..module_utils.image.load import Unfit, load_image
from ..module_utils.reporting import ReportingModule


class LoadModule(ReportingModule):  # type: ignore[misc,unused-ignore]
    """Keeps the layers themselves, in base64, out of the host's log and of the result."""

    logs = False

    def shown_params(self) -> dict[str, Any]:
        return {name: value for name, value in super().shown_params().items() if name not in ("layers", "config")}


def main() -> None:
    module = LoadModule(
        argument_spec={
            "ref": {"type": "str", "required": True},
            "tags": {"type": "list", "elements": "str", "default": []},
            "src": {"type": "path"},
            "id": {"type": "str", "required": True},
            "config": {"type": "str", "required": True},
            "diff_ids": {"type": "list", "elements": "str", "required": True},
            "layers": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=False,
    )
    params = module.params
    ref, problem = params["ref"], saved_problem(params)
    if problem:
        module.fail_json(msg=f"What the image {ref} shall be made of does not serve: {problem}.")
    program = str(module.get_bin_path("docker", required=True))
    try:
        with tempfile.TemporaryDirectory() as own:
            load_image(DockerCli(module), program, params, Path(params["src"] or own))
    except Unfit as error:
        module.fail_json(msg=f"{error}.")
    except (DockerError, OSError) as error:
        if "no space left" in str(error).lower():
            module.fail_json(
                msg=f"The disk that docker keeps its images on is full: free some space and run this again ({error})."
            )
        module.fail_json(msg=f"The image {ref} could not be loaded: {error}. Run this again.")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
