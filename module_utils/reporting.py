"""What leaves a module: nothing that moves a terminal's cursor, and no secret. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .masking import LONG, hide, mask
from .text import printable_all

# An archive in base64 says nothing to a reader, and takes a second to look through.
LONGEST = 10_000


def tell(file: str | None, text: str) -> None:
    """Write how far a module is, for its action plugin to read. Where nobody can be told, it goes on."""
    if file:
        with suppress(OSError):
            new = f"{file}.new"
            with open(new, "w", encoding="utf-8") as stream:
                stream.write(text)
            # It may have been made with a umask that lets nobody else read it.
            os.chmod(new, 0o644)
            os.replace(new, file)


class ReportingModule(AnsibleModule):  # type: ignore[misc,unused-ignore]
    """An AnsibleModule whose results, messages, warnings and log entries are printable text without its secrets.

    In its place nothing else is needed. A module that is given secrets finds them in `secrets_in`, and adds those that it learns about
    with `keep_secret`.
    """

    # Whether the host's log gets the module's name and parameters, as Ansible does it.
    logs = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.secrets: set[str] = set()
        super().__init__(*arguments, **options)

    def secrets_in(self, params: dict[str, Any]) -> Iterable[str]:
        """The secrets among the parameters, which are not validated yet."""
        return ()

    def shown_params(self) -> Any:
        """The parameters as the result's invocation has them."""
        params = getattr(self, "params", {})
        return mask(
            {
                name: f"({len(item)} characters)" if isinstance(item, str) and len(item) > LONGEST else item
                for name, item in params.items()
            }
        )

    def keep_secret(self, texts: Iterable[str]) -> None:
        texts = set(texts)
        self.secrets |= texts
        # For what Ansible prints by itself. It would replace shorter ones within words.
        self.no_log_values.update(text for text in texts if len(text) >= LONG)

    def clean(self, value: Any) -> Any:
        return hide(printable_all(value), self.secrets)

    def _load_params(self) -> None:
        # Before the validation, which can fail, and shows what it got.
        super()._load_params()
        self.keep_secret(self.secrets_in(self.params))

    def exit_json(self, **result: Any) -> None:
        super().exit_json(**self._cleaned(result))

    def fail_json(self, msg: str, **result: Any) -> None:
        given = result.pop("exception", None)
        if isinstance(given, BaseException) and str(given) not in msg:
            msg = f"{msg}: {given}"
        exception = given or sys.exc_info()[1]
        if isinstance(exception, BaseException):
            # As text, because Ansible's own form of it cannot be cleaned.
            exception = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
        if exception:
            result["exception"] = exception
        super().fail_json(msg=self.clean(str(msg)), **self._cleaned(result))

    def warn(self, warning: str, **options: Any) -> None:
        super().warn(self.clean(warning), **self.clean(options))

    def error_as_warning(self, msg: str | None, exception: BaseException, **options: Any) -> None:
        self.warn(": ".join(str(part) for part in (msg, exception) if part), **options)

    def deprecate(self, msg: str, *arguments: Any, **options: Any) -> None:
        super().deprecate(self.clean(msg), *arguments, **options)

    def log(self, msg: Any, log_args: Any = None) -> None:
        if self.logs:
            text = msg.decode("utf-8", "replace") if isinstance(msg, bytes) else msg
            super().log(self.clean(text), log_args=self.clean(log_args))

    def _cleaned(self, result: dict[str, Any]) -> dict[str, Any]:
        result.setdefault("invocation", {"module_args": self.shown_params()})
        # The module chose these keys; a secret may be the same word.
        return {key: self.clean(item) for key, item in result.items()}
