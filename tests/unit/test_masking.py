"""What is secret by its name, and what is taken out of a result because it is known to be secret."""

import time

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.masking import (
    HIDDEN,
    hide,
    is_secret_name,
    mask,
    secret_texts,
    secrets_of,
)

SECRET_NAMES = """RABBITMQ_DEFAULT_PASS MYSQL_PWD DB_PASS DB_PASS_2 SMTP_PASSWD AUTH REDIS_AUTH masterauth requirepass --requirepass
-pass pass sshpass PGPASSWORD dbPassword SSH_PASSPHRASE ADMIN_PW WPA_PSK HF_TOKEN TOKEN API_TOKENS apiKey APIKey api_key WANDB_API_KEY
X-Api-Key KAGGLE_KEY AWS_SECRET_ACCESS_KEY SECRET clientSecret GITHUB_PAT SENTRY_DSN AZURE_STORAGE_CONNECTION_STRING CONN_STR
RABBITMQ_ERLANG_COOKIE Authorization Proxy-Authorization spring.datasource.password PASSTHROUGH_PASSWORD CREDENTIALS FERNET_KEY
ACCESS_TOKENS AUTH_TOKENS BEARER_TOKENS REFRESH_TOKENS SESSION_TOKENS PASSCODE basicAuthUsers APP_JWT DB_CREDS CRED BEARER
ACCESS_KEY ENCRYPT_KEY ENCRYPTION_KEY SIGN_KEY SIGNING_KEY MASTER_KEY ACCOUNT_KEY AUTH_KEY JWT_KEY LICENSE_KEY STORAGE_KEY SHARED_KEY
APP_KEY SUBSCRIPTION_KEY SSH_KEY SESSION_KEY OPENAI_KEY COMET_KEY PRIVATE_KEY"""
PLAIN_NAMES = """PASSES BYPASS PASSTHROUGH PASS_THROUGH --pass-through COMPASS compassion passenger MAX_TOKENS --max-new-tokens
TOKENIZERS_PARALLELISM tokenizer pad_token MAX_TOKEN_LENGTH PASSWORD_FILE DB_PASS_FILE PGPASSFILE passwordFile TOKEN_PATH SECRETS_DIR
TOKENISER FORWARD_PASS BACKWARD_PASS TWO_PASS SINGLE_PASS MULTI_PASS OVERPASS UNDERPASS SURPASS TRESPASS HIGHPASS LOWPASS BANDPASS
PASS_THRU MAX_TOKEN MIN_TOKEN NUM_TOKEN EOS_TOKEN BOS_TOKEN UNK_TOKEN CLS_TOKEN SEP_TOKEN MASK_TOKEN TOKEN_COUNT TOKEN_LENGTH TOKEN_LEN
TOKEN_LIMIT TOKEN_BUDGET TOKEN_TYPE CREDENTIAL_SPEC PASSWORDFILE PASSPHRASEFILE TOKENFILE APIKEYFILE SECRETFILE PASSWORD_FILES
PASSWORD_DIRECTORY PASSWORD_FILENAME TOKEN_DIR TOKEN_NAME
SecretName PWD OLDPWD AUTHOR AUTH_URL AUTH_MODE KEY PUBLIC_KEY --label-key MONKEY USER PATH --patience MASTER_PORT NCCL_IB_DISABLE"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES.split())
def test_names_that_are_none(name):
    assert not is_secret_name(name)


class TestMask:
    @pytest.mark.parametrize(
        "value",
        [
            {"RABBITMQ_DEFAULT_PASS": "hush"},
            {"DB_PASS": 12345678},
            {"password": {"value": ["hush"]}},
            ["MYSQL_PWD=hush"],
            ["PRIVATE_KEY=first hush\nsecond hush"],
            ["redis-server", "--requirepass", "hush"],
            ["x", "--ask-pass", "--token", "hush"],
            ["--password=hush"],
            ["-H", "Authorization: Bearer hush"],
            {"ARGS": "--requirepass hush --port 80"},
            "java -pass hush",
            "mysql --password 'one hush'",
            "run --ask-pass --token hush",
            "run --token \\\n  hush",
            'sh -c "run --token hush"',
            "export TOKEN=hush; run",
            "curl -H 'Authorization: Bearer hush' http://x",
            'curl -H "authorization: Basic hush"',
            "send Bearer hush along",
            "Cookie: a=hush; b=hush",
            "redis://:hush@h:6379/0",
            "postgres://user:p@ss-hush@db/name",
            "https://hushhushhushhushhush@github.com/x",
            "https://h/x?token=hush&y=1",
            "https://hush@idx",
            "https://hush:x-oauth-basic@github.com/x",
            "https://user:hush/hush@idx",
            "https://user:hush@hush@idx/simple",
            "--extra-index-url=https://hush@idx",
            *(
                f"https://h/x?a=b&{key}=hush#x"
                for key in ("key", "sig", "signature", "Key", "X-Amz-Signature", "my_key")
            ),
            "https://h/x?key=hush",
            "password=" + "x" * 5000 + "hush",
            "a:\\'b:\\'password:\\'" + "x" * 5000 + "hush",
            "Server=db;User Id=sa;Password=one hush;Db=x",
            "AccountName=n;AccountKey=hush==;EndpointSuffix=x",
            "host=db user=u password=hush dbname=x",
            '{"user": "a", "password": "hush", "n": 1}',
            '{"password":"hush"}',
            '{"inner": "{\\"password\\": \\"hush\\"}"}',
            "port 1\nrequirepass hush\nend",
            "a: 1\nb:\n  password: |\n    hush\n\n    hush\n  c: 2",
            "password:\n  hush",
            "-----BEGIN RSA PRIVATE KEY-----\nhush\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nhush",
            {"secrets": {"token": {"content": "hush"}}},
            {"secrets": {"token": {"value": {"deep": "hush"}}}},
            {"secrets": {"token": {"hush": None}}},
            {"secrets": {"token": "hush"}},
            {"secrets": "hush"},
            {"secrets": [{"token": "hush"}]},
        ],
        ids=str,
    )
    def test_hidden(self, value):
        shown = str(mask(value))
        assert "hush" not in shown
        assert "12345678" not in shown
        assert "(hidden 1)" in shown

    @pytest.mark.parametrize(
        "value",
        [
            {"DB_PASSWORD_FILE": "/run/x", "MAX_TOKENS": 2048, "TOKENIZERS_PARALLELISM": "false", "BYPASS": "1"},
            {"PASSWORD": None, "TOKEN": "", "AUTH": True},
            ["torchrun", "--nproc_per_node=2", "--rdzv_conf=timeout=30", "train.py", "10", "2", "--lr", "0.1"],
            "node.role == worker",
            "http://host:8080/a b@c",
            "http://host/x?page=1&monkey=2 a@b",
            "registry/secret-service:1.2",
            "secret-data:/run/x",
            "2025-01-01 10:00: a pass over the data, token by token",
            {"services": {"auth": {"image": "i", "secrets": ["token", {"source": "token", "target": "x"}]}}},
            {"secrets": {"token": {"external": True, "name": "demo_token"}, "key": {"file": "/srv/key"}, "none": None}},
            {
                "secrets": {
                    "a": {
                        "labels": {"b": "c"},
                        "driver": "d",
                        "driver_opts": {"e": "f"},
                        "template_driver": "g",
                        "x-h": "i",
                    }
                }
            },
            *(
                {section: {"auth": {"a": "b"}, "token": {"a": "b"}}}
                for section in ("services", "networks", "volumes", "configs")
            ),
            {"secrets": {"a": {"external": {"name": "n"}}}},
            ["USER=my-password"],
            "-----BEGIN PRIVATE KEY-----",
            {"Secrets": [{"SecretName": "demo_token", "File": {"Name": "token", "Mode": 292}}]},
        ],
        ids=str,
    )
    def test_shown(self, value):
        assert mask(value) == value

    def test_around_a_secret_all_is_shown(self):
        assert mask("redis-server --requirepass hush --port 80") == "redis-server --requirepass (hidden 1) --port 80"
        assert mask("a: 1\npassword: |\n  hush\n\nb: 2") == "a: 1\npassword: (hidden 1)\n(hidden 2)\nb: 2"
        assert mask('"https://a:b@h/x?key=c&d=e" f@g') == '"https://(hidden 1)@h/x?key=(hidden 2)&d=e" f@g'
        assert (
            mask("{a: 1, token: x, b: [c, token: y], d: 2}")
            == "{a: 1, token: (hidden 1), b: [c, token: (hidden 2)], d: 2}"
        )
        assert mask("run token=x;a=1&b=2 c") == "run token=(hidden 1);a=1&b=2 c"
        assert mask("amqp://u:hush@h:5672/v") == "amqp://(hidden 1)@h:5672/v"

    def test_numbers_tell_secrets_apart(self):
        shown = mask({"A_PASS": "one", "B_PASS": "two", "C_PASS": "one"})
        assert shown == {"A_PASS": "(hidden 1)", "B_PASS": "(hidden 2)", "C_PASS": "(hidden 1)"}
        assert mask({"B_PASS": "two"}) == {"B_PASS": "(hidden 1)"}
        assert mask({"D_PASS": "three", **shown}) == {"D_PASS": "(hidden 1)", **shown}

    def test_numbers_go_on(self):
        numbers = {}
        assert mask({"PASS": "one"}, numbers) != mask({"PASS": "two"}, numbers)
        assert list(numbers) == ["one", "two"]

    def test_what_was_given_is_not_changed(self):
        value = {"a": [{"PASS": "x"}]}
        mask(value)
        assert value == {"a": [{"PASS": "x"}]}

    @pytest.mark.parametrize(
        "text",
        [
            "a b ",
            " ",
            '"password ',
            'password="',
            "x",
            "a: b\n",
            ";",
            "://",
            "a;",
            "-",
            "token: ",
            "a=",
            "password=",
            "?key=",
            "://a",
            "a:\\'",
            "token:\\'",
            "a='b\"",
            "://a@",
        ],
    )
    def test_long_texts_take_no_time(self, text):
        """Expressions that go back over a text again and again take minutes for this."""
        started = time.monotonic()
        mask(text * (100_000 // len(text)))
        assert time.monotonic() - started < 3


class TestHide:
    @pytest.mark.parametrize(
        ("secret", "text", "shown"),
        [
            ("S3CR3T-long", "xS3CR3T-longx", "x********x"),
            ("S3CR3T8", "xS3CR3T8", None),
            ("AAAAAAAA", "xAAAAAAAAAx", "x********x"),
            ('é"b', '{"k": "é\\"b"}', '{"k": "********"}'),
            ('é"b', '{"k": "\\u00e9\\"b"}', '{"k": "********"}'),
            ("S3CR3T88", "xS3CR3T88", "x********"),
            ("host", "node host1, myhost, host_a, hosts", None),
            ("host", "host (host) 'host' a.host/host", "******** (********) '********' a.********/********"),
            ("pw-1", "pw-1 pw-12 xpw-1", "******** pw-12 xpw-1"),
            ("1", "replica 1 of 1", None),
            ("a", "a man", None),
            ("é1", "é1 né1", "******** né1"),
            ("one\ntwo-three", "'one\\ntwo-three'", "'********'"),
            ('a"b c', '{"k": "a\\"b c"}', '{"k": "********"}'),
            ("one\r\ntwo", "one\ntwo", "********"),
            ("x\x1b[0my1", "xy1", "********"),
            ("", "text", None),
            ("   ", "a   b", None),
            (" " * 9, " " * 20, None),
        ],
    )
    def test_texts(self, secret, text, shown):
        assert hide(text, [secret]) == (text if shown is None else shown)

    def test_secrets_that_overlap(self):
        assert hide("AAAABBBBCCCC", ["AAAABBBB", "BBBBCCCC"]) == HIDDEN
        assert hide("AAAABBBBx", ["AAAABBBB", "AAAABBBBx"]) == HIDDEN
        assert hide("xAAAABBBBCCCCx", ["AAAABBBBCCCC", "AABBBBCC"]) == f"x{HIDDEN}x"
        assert hide("AAAABBBB CCCCDDDDEEEE", ["AAAABBBB", "CCCCDDDD", "DDDDEEEE"]) == f"{HIDDEN} {HIDDEN}"
        # Side by side they are two.
        assert hide("AAAABBBBCCCCDDDD", ["AAAABBBB", "CCCCDDDD"]) == HIDDEN + HIDDEN

    def test_a_whole_result(self):
        value = {"log": ["token host now", ("host",)], "host": {"longsecret": 1}, "n": [12345678, 1, True, None, 1.5]}
        assert hide(value, ["host", "longsecret", "12345678", "1", "True", "1.5"]) == {
            "log": [f"token {HIDDEN} now", [HIDDEN]],
            "host": {HIDDEN: 1},
            "n": [HIDDEN, 1, True, None, 1.5],
        }

    def test_nothing_to_hide(self):
        assert hide({"a": "b"}, []) == {"a": "b"}


class TestSecretsOf:
    @pytest.mark.parametrize(
        ("compose", "texts"),
        [
            ({"secrets": {"t": {"content": "x1"}, "u": {"content": 17}}}, {"x1", "17"}),
            ({"secrets": {"t": {"content": {"a": ["x1", True, None]}}}}, {"x1", '{"a": ["x1", true, null]}'}),
            ({"secrets": {"t": {"content": {"b": "x1", "a": 17}}}}, {"x1", "17", '{"a": 17, "b": "x1"}'}),
            (
                {"secrets": {"t": {"content": "\n  line \nab\n"}}},
                {"\n  line \nab\n", "line \nab", "line"},
            ),
            ({"secrets": {"t": "x1"}}, {"x1"}),
            ({"secrets": ["x1", {"t": "x2"}]}, {"x1", "x2"}),
            ({"secrets": "x1"}, {"x1"}),
            ({"secrets": {"t": {"value": "x1", "x2": None}}}, {"x1", "x2"}),
            ([{"secrets": {"t": "x1"}}, [{"secrets": {"t": "x2"}}]], {"x1", "x2"}),
            ({"x-base": {"secrets": {"t": "x1"}}}, {"x1"}),
            ({"secrets": {"t": {"file": "/f", "name": "n", "external": True, "labels": {"a": "b"}}}}, set()),
            ({"services": {"s": {"secrets": ["t", {"source": "t"}]}}, "x-s": {"secrets": ["t"]}}, set()),
            ({"services": {"s": {"secrets": [{"t": "x1"}]}}}, {"x1"}),
            ({"services": {"secrets": ["x1"]}}, {"x1"}),
            ({"secrets": None}, set()),
            ("text", set()),
        ],
    )
    def test_each_place(self, compose, texts):
        assert secrets_of(compose) == texts

    def test_bytes_of_a_file(self):
        assert secret_texts(b"key \xff\n") == {"key \ufffd\n", "key \ufffd"}

    def test_lines_of_four_characters_and_more(self):
        assert secret_texts("abcd\nabc\nabcde") == {"abcd\nabc\nabcde", "abcd", "abcde"}
