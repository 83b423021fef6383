"""One POST of JSON to whoever is to be told. The address holds a secret: it is in no message of this module."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

SECONDS = 10.0
AGAIN = (408, 425, 429)  # of the answers from 400 to 499 those that are about the moment, and not about what was sent
LONGEST = 1900  # characters of the text: Discord takes 2000


class Refused(Exception):
    """The receiver will not take it another time either."""


class _Here(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Whoever is to be told is whom the user has named, and a POST that is redirected becomes a GET."""


@dataclass
class Receiver:
    """`proxies` has http, https and no_proxy; without it the container's environment says which."""

    address: str
    proxies: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def read(text: str) -> Receiver:
        value = json.loads(text)
        return Receiver(str(value["url"]), {str(k): str(v) for k, v in (value.get("proxy") or {}).items() if v})

    def body(self, event: dict[str, Any]) -> bytes:
        """Each of the fields by which Slack and Mattermost, Discord, and ntfy know a text; ntfy's topic is what stands behind # in the address."""
        text = event["text"]
        text = text if len(text) <= LONGEST else text[: LONGEST - 2] + " …"
        topic = urlsplit(self.address).fragment
        value = {**event, "text": text, "content": text, "message": text, **({"topic": topic} if topic else {})}
        return json.dumps(value).encode()

    def _opener(self, host: str) -> urllib.request.OpenerDirector:
        proxies: dict[str, str] | None = None
        if self.proxies:
            aside = {"no": self.proxies.get("no_proxy", "")}
            spared = urllib.request.proxy_bypass_environment(host, aside)  # type: ignore[attr-defined]
            proxies = {} if spared else {k: v for k, v in self.proxies.items() if k in ("http", "https")}
        return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), _Here())

    def tell(self, event: dict[str, Any]) -> None:
        """OSError, with a sentence, where another time may be better; Refused where not."""
        parts = urlsplit(self.address)
        place = parts.netloc.rpartition("@")
        request = urllib.request.Request(
            urlunsplit((parts.scheme, place[2], parts.path or "/", parts.query, "")),
            data=self.body(event),
            headers={"Content-Type": "application/json", "User-Agent": "ddp-swarm"},
            method="POST",
        )
        if place[0]:
            request.add_header("Authorization", "Basic " + base64.b64encode(unquote(place[0]).encode()).decode())
        try:
            with self._opener(place[2]).open(request, timeout=SECONDS):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if 300 <= error.code < 500 and error.code not in AGAIN:
                raise Refused(f"the receiver answers HTTP {error.code}") from None
            raise OSError(f"the receiver answers HTTP {error.code}") from None
        except urllib.error.URLError as error:
            why = error.reason
            words = (
                why.verify_message if isinstance(why, ssl.SSLCertVerificationError) else getattr(why, "strerror", None)
            )
            raise OSError(f"the receiver cannot be reached: {words or type(why).__name__}") from None
        except OSError as error:
            raise OSError(f"the receiver cannot be reached: {error.strerror or type(error).__name__}") from None
        except Exception as error:  # noqa: BLE001 - of http.client, whose words have the address in them
            raise OSError(f"the receiver cannot be reached: {type(error).__name__}") from None
