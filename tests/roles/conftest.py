"""The project's modules can be imported, and playbooks say what each task did."""

import os

import modules  # noqa: F401

os.environ["ANSIBLE_STDOUT_CALLBACK"] = "default"
