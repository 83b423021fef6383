"""What is secret, and how it is kept out of everything that is printed or written. Standard library only, Python 3.9 or newer.

`mask` goes by names: it hides what a definition, a command or a configuration calls a password, a token or a key.
`hide` goes by values: it takes secrets that are known out of any result. `secrets_of` finds those of a compose definition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .text import printable

HIDDEN = "********"
# Shorter secrets are parts of ordinary words.
LONG = 8

# Names are compared as small letters with '_' between their words: DB_PASS, db-pass and dbPass are db_pass.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
HARMLESS = re.compile(
    r"(?:by_?|com|over|under|sur|tres|high|low|band|(?:forward|backward|two|single|multi)_)pass(?![a-z])"
    r"|pass_?(?:through|thru)|credential_spec"
    # What counts, cuts or fills a text's tokens.
    r"|(?:max|min|num|pad|eos|bos|unk|cls|sep|mask)_token(?![a-z])|token_(?:count|length|len|limit|budget|type)(?![a-z])"
)
SECRET_NAME = re.compile(
    r"passw|passphrase|passcode|pass(?![a-z])|pwd(?![a-z])|secret|credential|conn(?:ection)?_?str(?:ing)?(?![a-z])"
    r"|token(?!s|iz|is)|(?:access|api|auth|refresh|session)_?tokens"
    r"|auth$|authorization$|basic_?auth_users$|(?<![a-z])(?:pw|psk|pat|jwt|dsn|creds?|cookie|bearer)(?![a-z])"
    r"|(?:private|api|access|encrypt(?:ion)?|sign(?:ing)?|master|account|auth|fernet|license|storage|shared|app"
    r"|subscription|ssh|session|openai|kaggle|comet)_?keys?(?![a-z])"
)
# Where it is, and what it is called, may be known.
PLACE = re.compile(r"(?:_|word|phrase|token|secret)(?:files?|paths?|dirs?|directory|filename|name)$")

QUOTED = r""""(?:[^"\\]|\\.){0,4000}"|'(?:[^'\\]|\\.){0,4000}'"""
NAME = r"""(?<![\w.-])(?:\\?["'])?(?P<name>[\w.-]+)"""
# A colon alone is not enough: repository/secret-service:1.2
COLON = r"""(?:(?:\\?["'])[ \t]*:[ \t]*|:(?:[ \t]+|(?=\\?["'])))"""
# Each finds a name and its value, at whatever place of a text. The value is hidden if the name is a secret's. Values are looked at without
# being used up, "(?=", where they can hold further names: in "--ask-pass --token x", in JSON within JSON.
NAMED = [
    # A line of a file: "password = a b", "requirepass x", '  "password": "x",'
    re.compile(rf"""^[ \t]*(?:-[ \t]+)?(?!-){NAME}(?:["']?[ \t]*=|{COLON})[ \t]*(?P<value>\S.*)$""", re.MULTILINE),
    re.compile(rf"^[ \t]*(?P<name>[\w.-]+)[ \t]+(?P<value>{QUOTED}|\S+)[ \t]*$", re.MULTILINE),
    # YAML: the indented lines below "password: |"
    re.compile(
        r"""^(?=(?P<indent>[ \t]*)(?:-[ \t]+)?["']?(?P<name>[\w.-]+)["']?[ \t]*:[ \t]*(?:[|>][-+0-9]*)?[ \t]*\n"""
        r"(?P<value>(?P=indent)[ \t]+\S.*(?:\n(?:(?P=indent)[ \t]+.*|[ \t]*(?=\n)))*))",
        re.MULTILINE,
    ),
    # "Server=db;Password=a b;", "host=db password=x", {"user": "a", "password": "x"}, ?token=x&, --password=x, export TOKEN=x
    re.compile(r"(?:^|;)[ \t]*(?P<name>[\w.-]+(?: [\w.-]+){0,3})[ \t]*=[ \t]*(?P<value>[^;\n]+)(?=;)", re.MULTILINE),
    re.compile(rf"""(?={NAME}["']?[ \t]*=[ \t]*(?P<value>{QUOTED}|(?P<assigned>[^\s;&]{{1,200}})))"""),
    re.compile(rf"(?={NAME}{COLON}(?P<value>{QUOTED}|(?P<told>[^\s,;&}}\]]{{1,200}})))"),
    # "run --token x", "-pass x"
    re.compile(rf"(?=(?<![\w.-])(?P<name>--?[\w.-]+)(?:[ \t]|\\\n)+(?P<value>{QUOTED}|\S+))"),
]
# What such a value goes on with: to look at all of it from each name in it would take too long.
RESTS = {"assigned": re.compile(r"[^\s;&]*"), "told": re.compile(r"[^\s,;&}\]]*")}
# A user's name, or a token in its place, a password, and what of them should have been quoted.
ADDRESS = re.compile(r"""://(?P<run>[^\s"']+)""")
QUERY = re.compile(r"""[?&](?P<name>[\w.-]+)=(?P<value>[^\s&#"']+)""")
QUERY_NAME = re.compile(r"(?:.*[_.-])?(?:key|sig|signature)", re.IGNORECASE)
# What is secret by its form.
FORMS = [
    re.compile(r"""(?i)authorization\\?["']?[ \t]*[:=][ \t]*\\?["']?(?:[a-z]+[ \t]+)?(?P<value>[^\s"']+)"""),
    re.compile(r"(?i)\bbearer[ \t]+(?P<value>[\w.~+/=-]+)"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<value>.+?)(?=-----END|\Z)", re.DOTALL),
]
ASSIGNED = re.compile(r"\s*([\w.-]+)=(.+)", re.DOTALL)
ALREADY = re.compile(r"\(hidden \d+\)")
# In these sections of a compose definition the keys are names of things, and say nothing about what is in them.
SECTIONS = ("services", "networks", "volumes", "configs")
# The keys of a secret's definition whose values are not secret.
DESCRIBING = ("file", "external", "name", "labels", "driver", "driver_opts", "template_driver")

Span = tuple[int, int]


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret: RABBITMQ_DEFAULT_PASS, --requirepass, apiKey. Not BYPASS, MAX_TOKENS, TOKEN_FILE."""
    if name in ("PWD", "OLDPWD"):
        # The shell's directories.
        return False
    words = re.sub(r"(?:_\d+)+$", "", "_".join(WORD.findall(name)).lower())
    return bool(SECRET_NAME.search(HARMLESS.sub(" ", words))) and not PLACE.search(words)


def mask(value: Any, numbers: dict[str, int] | None = None) -> Any:
    """The same without what its names, or its form, make a secret; for definitions, commands and texts of configurations.

    In the place of a secret stands a number, the same for the same secret, so that a change of it can be seen. Calls that are given
    the same `numbers` count on, and find in it afterwards what they have hidden. Without it, each call begins at 1.

    Not known as secret: what has no name, such as a password that is an argument by itself, and `-p x` or `-u user:x`.
    """
    return _Mask({} if numbers is None else numbers).value(value, "")


class _Mask:
    def __init__(self, numbers: dict[str, int]) -> None:
        self.numbers = numbers

    def number(self, text: str) -> str:
        if ALREADY.fullmatch(text):
            return text
        return f"(hidden {self.numbers.setdefault(text, len(self.numbers) + 1)})"

    def value(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: self.entry(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            # In ["--token", "abc"] the name of an item is the item before it.
            names = ["", *(item if isinstance(item, str) and item.startswith("-") else "" for item in value)]
            return [self.item(item, before) for before, item in zip(names, value)]
        if is_secret_name(name):
            return self.leaves(value)
        return self.text(value) if isinstance(value, str) else value

    def entry(self, key: str, item: Any) -> Any:
        section = key.lower()
        if section == "secrets" and isinstance(item, dict):
            return {name: self.secret(definition) for name, definition in item.items()}
        if section == "secrets" and isinstance(item, list):
            return [self.value(used, "") if _is_reference(used) else self.leaves(used) for used in item]
        if section in SECTIONS and isinstance(item, dict):
            return {name: self.value(definition, "") for name, definition in item.items()}
        return self.leaves(item) if is_secret_name(key) else self.value(item, key)

    def item(self, item: Any, name: str) -> Any:
        found = ASSIGNED.fullmatch(item) if isinstance(item, str) else None
        if found and is_secret_name(found[1]) and not is_secret_name(name):
            # An environment's NAME=VALUE, whose value may have several lines.
            return f"{item[: found.start(2)]}{self.number(found[2])}"
        return self.value(item, name)

    def secret(self, definition: Any) -> Any:
        """One of the section secrets. What it should not have may be the secret, in the wrong place, even as a key."""
        if not isinstance(definition, dict):
            return self.leaves(definition)
        shown = {}
        for key, item in definition.items():
            if _describes(key):
                shown[key] = self.value(item, "")
            else:
                # {token: {S3CR3T}} is YAML for a key without a value.
                shown[self.number(str(key)) if item is None else key] = self.leaves(item)
        return shown

    def leaves(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.leaves(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.leaves(item) for item in value]
        return value if value is None or isinstance(value, bool) or value == "" else self.number(str(value))

    def text(self, text: str) -> str:
        spans = [span for pattern in NAMED for span in _named(pattern, text)]
        for found in ADDRESS.finditer(text):
            start, end = found.start("run"), text.rfind("@", *found.span("run"))
            if end > start:
                spans.append((start, end))
        spans += [
            found.span("value")
            for found in QUERY.finditer(text)
            if QUERY_NAME.fullmatch(found["name"]) or is_secret_name(found["name"])
        ]
        spans += [found.span("value") for pattern in FORMS for found in pattern.finditer(text)]
        return _replace(text, spans, self.number)


def _named(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Where the values of secrets are. Those within one another have the same end, which is looked for once."""
    kind = next((kind for kind in RESTS if kind in pattern.groupindex), "")
    reach = 0
    for found in pattern.finditer(text):
        if is_secret_name(found["name"]):
            start, end = found.span("value")
            if kind and found[kind]:
                rest = RESTS[kind].match(text, end) if end > reach else None
                end = reach = rest.end() if rest else reach
            yield start, end


def _replace(text: str, spans: Iterable[Span], replacement: Callable[[str], str]) -> str:
    """Replace parts of a text; those that overlap count as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            before = joined.pop()
            start, end = before[0], max(before[1], end)
        joined.append((start, end))
    made, position = "", 0
    for start, end in joined:
        made += text[position:start] + replacement(text[start:end])
        position = end
    return made + text[position:]


# Secrets that are known


def secret_texts(value: Any) -> set[str]:
    """What must not show of a secret: each leaf, whole and without blanks around it, and its lines, because a program may print one.

    Lines of less than four characters are left out: in a key file or in JSON they are brackets. None, true and false are no secrets.
    """
    if isinstance(value, (Mapping, list, tuple)):
        items = value.values() if isinstance(value, Mapping) else value
        return {text for item in items for text in secret_texts(item)}
    if value is None or isinstance(value, bool):
        return set()
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    lines = {line.strip() for line in text.splitlines()}
    return {part for part in {text, text.strip(), *(line for line in lines if len(line) >= 4)} if part.strip()}


def secrets_of(compose: Any, path: tuple[str, ...] = ()) -> set[str]:
    """The texts of all secrets in a compose definition, be it as it should be or not."""
    if isinstance(compose, (list, tuple)):
        return {text for item in compose for text in secrets_of(item, path)}
    found: set[str] = set()
    for key, item in compose.items() if isinstance(compose, Mapping) else ():
        # In a service, or in what services are made of (x-common: ...), the names of those that it uses.
        names = isinstance(item, list) and path not in ((), ("services",)) and all(map(_is_reference, item))
        if key != "secrets" or names:
            found |= secrets_of(item, (*path, str(key)))
        elif isinstance(item, Mapping):
            found |= {text for definition in item.values() for text in _texts_of_definition(definition)}
        else:
            found |= secret_texts(item)
    return found


def _is_reference(used: Any) -> bool:
    """What a service says about a secret that it uses, and what the engine says about it."""
    return isinstance(used, str) or (isinstance(used, Mapping) and ("source" in used or "SecretName" in used))


def _texts_of_definition(definition: Any) -> set[str]:
    if not isinstance(definition, Mapping):
        return secret_texts(definition)
    secret = {key: item for key, item in definition.items() if not _describes(key)}
    found = secret_texts([str(key) if item is None else item for key, item in secret.items()])
    return found | {json.dumps(item, sort_keys=True) for item in secret.values() if isinstance(item, (dict, list))}


def _describes(key: Any) -> bool:
    """A part of a secret's definition that is not secret itself."""
    return str(key) in DESCRIBING or str(key).startswith("x-")


def hide(value: Any, secrets: Iterable[str]) -> Any:
    """The same with asterisks for every secret in it.

    A secret of eight or more characters is replaced wherever it stands, in the keys of mappings too, and where it is a number. A shorter
    one is replaced where it stands alone, with no letter, digit or '_' directly beside it, and never in keys: "host" stays in "node host1".
    A secret of one character is not replaced at all. It protects nothing, and the results are full of it: replica 1, exit code 1.
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    return _hide(value, sorted(forms), sorted(form for form in forms if len(form) >= LONG)) if forms else value


def _forms(secret: str) -> set[str]:
    """How a secret may be spelled: as it is, as it is shown, and quoted by JSON or by Python."""
    quoted = {json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), ascii(secret)}
    forms = {secret, printable(secret), *(text[1:-1] for text in quoted)}
    return {form for form in forms if len(form) > 1 and form.strip()}


def _hide(value: Any, forms: list[str], in_keys: list[str]) -> Any:
    if isinstance(value, str):
        return _hide_text(value, forms)
    if isinstance(value, Mapping):
        return {
            _hide_text(key, in_keys) if isinstance(key, str) else key: _hide(item, forms, in_keys)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_hide(item, forms, in_keys) for item in value]
    if isinstance(value, (int, float)) and str(value) in in_keys:
        return HIDDEN
    return value


def _hide_text(text: str, forms: list[str]) -> str:
    spans: list[Span] = []
    for form in forms:
        start = text.find(form)
        while start >= 0:
            end = start + len(form)
            if len(form) >= LONG or not (_in_word(text[start - 1 : start]) or _in_word(text[end : end + 1])):
                spans.append((start, end))
            start = text.find(form, start + 1)
    return _replace(text, spans, lambda _secret: HIDDEN)


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
