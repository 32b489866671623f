"""Whatever is written for a server: a configuration comes of it, or one sentence of ours."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.profiles import examples
from mcpsync.config import is_user_sourced, load_servers, load_yaml, parse_user_server
from mcpsync.config.parsing import MODELS, SPELLINGS
from mcpsync.config.servers import ServerConfig
from mcpsync.errors import ConfigurationError

FIELDS = sorted({name for model in MODELS.values() for name in model.model_fields} | {*SPELLINGS})
TEXT = st.text(string.printable, max_size=30) | st.sampled_from(
    ["${A}", "{{USER_ID}}", "{{KEY}}", "https://x.example.com", "wss://x", "a\r\nb: c", "http://["]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
WRITTEN = st.dictionaries(st.sampled_from(FIELDS) | TEXT, ANYTHING, max_size=6)
OVER_HTTP = WRITTEN.map(lambda written: {**written, "url": "https://crm.example.com"})


@examples(100)
@given(WRITTEN | OVER_HTTP)
@example({"command": {}, "url": []})
@example({"type": []})
@example({"url": "http://[::1"})
@example({"api_key": {"source": "user"}, "custom_user_vars": 7})
def test_a_server_is_one_or_an_error_of_ours(written: dict[str, Any]) -> None:
    try:
        loaded = load_servers({"crm": written}, environment={"A": "a"})
    except ConfigurationError as error:
        sentence = str(error)
    else:
        assert isinstance(loaded["crm"], ServerConfig)
        return
    assert "\n" not in sentence


@examples(100)
@given(WRITTEN | OVER_HTTP)
def test_what_a_user_sent_is_a_users_or_an_error_of_ours(sent: dict[str, Any]) -> None:
    try:
        config = parse_user_server("mine", sent)
    except ConfigurationError:
        return
    assert is_user_sourced(config)
    assert config.type != "stdio"
    assert config.timeout is config.scope is config.db_id is None


YAML = st.text("abc:-{}[],&*!<>|#'\"\n\t 01.?%@`\\", max_size=60)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "mcpsync.yaml"


@examples(100)
@given(
    st.binary(max_size=60) | YAML.map(str.encode) | YAML.map(lambda t: f"servers:\n {t}".encode())
)
@example(b"servers: {? {a: b} : c}")
@example(b"servers:\n  a: 0b\n  b: !!float x")
@example(b"servers: !!set {a, b}")
@example(b"servers: {a: !!binary x}")
@example(b"servers: {<<: x}")
@example(b"servers: {a: 2026-02-30}")
def test_a_file_is_one_of_servers_or_an_error_of_ours(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        loaded = load_yaml(file, environment={})
    except ConfigurationError as error:
        sentence = str(error)
    else:
        assert all(isinstance(config, ServerConfig) for config in loaded.values())
        return
    assert "mcpsync.yaml" in sentence
    assert "\n" not in sentence
