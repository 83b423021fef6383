"""The project's modules can be imported."""

import modules  # noqa: F401
