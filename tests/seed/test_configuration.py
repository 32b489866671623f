"""What a configuration may say, what follows from it, and what is put in. (8.8, 8.9)"""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from mcpsync.config import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    User,
    WebSocketServerConfig,
    get_missing_custom_user_vars,
    has_custom_user_vars,
    is_oauth_server,
    is_user_sourced,
    load_servers,
    missing_body_fields,
    normalize_server_name,
    oauth_tool_name,
    parse_server,
    parse_user_server,
    requires_ephemeral_user_connection,
    requires_oauth_machinery,
    requires_user_scoped_connection,
    resolve,
    shadowed_names,
    split_tool_key,
)
from mcpsync.errors import ConfigurationError, PlaceholderError

pytestmark = pytest.mark.once  # nothing here depends on the Python

URL = "https://crm.example.com/mcp"
LOGIN = "https://login.example.com"
OBO = {"scopes": "api://crm/.default"}
ADA = User("42", name="Ada", email="ada@example.com", username="ada", openid_id="o-1")
MAKERS = [{"source": "user"}, {"dbId": "7"}]


def loaded(written: dict[str, Any], **environment: str) -> ServerConfig:
    return load_servers({"crm": written}, environment=environment)["crm"]


def http(**fields: Any) -> dict[str, Any]:
    return {"url": URL, **fields}


def put_in(
    config: ServerConfig,
    user: User | None = ADA,
    now: float | None = None,
    **custom: str,
) -> Any:
    return resolve(config, user=user, custom_user_vars=custom, body={}, now=now)


def refused(written: dict[str, Any], take: Callable[..., Any] = parse_server) -> str:
    with pytest.raises(ConfigurationError) as caught:
        take("crm", written)
    return caught.value.message


# -- 8.8.5 -----------------------------------------------------------------------------------------


def test_obo_is_accepted_over_http_and_rejected_elsewhere() -> None:
    for type_ in ("sse", "http", "streamable-http"):
        config = parse_server("crm", http(type=type_, obo=OBO))
        assert isinstance(config, HttpServerConfig)
        assert config.obo is not None
    assert "'obo'" in refused({"command": "npx", "args": [], "obo": OBO})
    assert "'obo'" in refused({"url": "wss://crm.example.com", "obo": OBO})


def test_obo_has_scopes() -> None:
    for said in ({}, {"scopes": ""}, {"scopes": "  "}, {"scopes": ["a"]}):
        assert "'obo.scopes'" in refused(http(obo=said))


def test_a_user_may_send_obo() -> None:
    config = parse_user_server("crm", http(obo=OBO))
    assert config.obo is not None
    assert is_user_sourced(config)


# -- 8.9.1 -----------------------------------------------------------------------------------------


def test_names_are_normalised() -> None:
    assert normalize_server_name("crm.v2_a-b") == "crm.v2_a-b"
    assert normalize_server_name(" my crm! ") == "my_crm"
    assert normalize_server_name("顧客").startswith("server_")


def test_a_key_is_split_at_its_last_delimiter() -> None:
    assert split_tool_key("a_mcp_b_mcp_crm") == ("a_mcp_b", "crm")


def test_names_that_come_to_the_same_are_shadowed() -> None:
    assert shadowed_names(["my crm", "my_crm"]) == {"my crm": "my_crm"}


def test_the_name_of_the_oauth_tool_is_not_wrapped_twice() -> None:
    assert oauth_tool_name("crm") == oauth_tool_name(oauth_tool_name("crm")) == "oauth_mcp_crm"


# -- 8.9.4 and 8.9.5 -------------------------------------------------------------------------------

SIGNED_IN: dict[str, Any] = {"oauth": {"client_id": "me"}}
PREDICATES: list[
    tuple[Callable[[ServerConfig], Any], list[dict[str, Any]], list[dict[str, Any]]]
] = [
    (is_user_sourced, MAKERS, [{}, {"source": "yaml", "db_id": "7"}, {"source": "config"}]),
    (
        is_oauth_server,
        [{"requiresOAuth": True}, SIGNED_IN, {"requiresOAuth": True, **SIGNED_IN}],
        [{}, {"requiresOAuth": False}, {"requiresOAuth": False, **SIGNED_IN}, {"obo": OBO}],
    ),
    (
        requires_oauth_machinery,
        [{"requiresOAuth": True}, SIGNED_IN, {"obo": OBO}, {"obo": OBO, "requiresOAuth": False}],
        [{}, {"requiresOAuth": False, **SIGNED_IN}],
    ),
    (has_custom_user_vars, [{"customUserVars": {"K": {}}}], [{}, {"customUserVars": {}}]),
    (
        requires_user_scoped_connection,
        [
            {"requiresOAuth": True},
            {"obo": OBO},
            {"customUserVars": {"K": {}}},
            {"headers": {"X": "{{LIBRECHAT_USER_ID}}"}},
            {"headers": {"X": "{{LIBRECHAT_OPENID_ACCESS_TOKEN}}"}},
            {"headers": {"X": "{{LIBRECHAT_GRAPH_ACCESS_TOKEN}}"}},
            {"url": f"{URL}/{{{{LIBRECHAT_BODY_MESSAGEID}}}}"},
            {"apiKey": {"key": "{{LIBRECHAT_USER_ID}}"}},
        ],
        [{}, {"requiresOAuth": False}, {"apiKey": {"key": "k"}}],
    ),
]


@pytest.mark.parametrize(("predicate", "true", "false"), PREDICATES)
def test_each_predicate_is_true_when_the_seed_says_so(
    predicate: Callable[[ServerConfig], Any],
    true: list[dict[str, Any]],
    false: list[dict[str, Any]],
) -> None:
    assert [bool(predicate(parse_server("crm", http() | each))) for each in true] == [
        True for _ in true
    ]
    assert [bool(predicate(parse_server("crm", http() | each))) for each in false] == [
        False for _ in false
    ]
    declared = parse_server("crm", http(customUserVars={"A": {}, "B": {}, "C": {}}))
    assert get_missing_custom_user_vars(declared, {"A": "1", "B": " "}) == ["B", "C"]


def test_an_effective_configuration_has_to_parse_again() -> None:
    config = parse_server("crm", http(headers={"X": "{{LIBRECHAT_USER_ID}}"}, apiKey={"key": "k"}))
    effective = put_in(config)
    assert parse_server("crm", effective.model_dump()) == effective


@pytest.mark.parametrize("maker", MAKERS)
def test_no_placeholder_of_what_a_user_configured_counts(maker: dict[str, str]) -> None:
    for name in ("USER_ID", "OPENID_ACCESS_TOKEN", "GRAPH_ACCESS_TOKEN", "BODY_MESSAGEID"):
        config = parse_server("crm", http(headers={"X": f"{{{{LIBRECHAT_{name}}}}}"}, **maker))
        assert not requires_user_scoped_connection(config)
        assert not requires_ephemeral_user_connection(config)


def test_only_fields_of_the_body_make_a_connection_ephemeral() -> None:
    def is_ephemeral(name: str) -> bool:
        config = parse_server("crm", http(headers={"X": f"{{{{LIBRECHAT_{name}}}}}"}))
        return requires_ephemeral_user_connection(config)

    assert is_ephemeral("BODY_CONVERSATIONID")
    assert not is_ephemeral("GRAPH_ACCESS_TOKEN")
    assert not is_ephemeral("OPENID_ACCESS_TOKEN")


def test_missing_fields_of_the_body_are_named_in_order() -> None:
    names = ("CONVERSATIONID", "PARENTMESSAGEID", "MESSAGEID")
    headers = {f"X-{name}": f"{{{{LIBRECHAT_BODY_{name}}}}}" for name in names}
    config = parse_server("crm", http(headers=headers))
    assert missing_body_fields(config, None) == ["messageId", "parentMessageId", "conversationId"]
    assert missing_body_fields(config, {"messageId": " ", "conversationId": "c"}) == [
        "messageId",
        "parentMessageId",
    ]


# -- 8.9.6 -----------------------------------------------------------------------------------------


def test_what_was_given_is_not_mutated() -> None:
    written = http(headers={"X": "${A} {{LIBRECHAT_USER_ID}}"}, args=None)
    del written["args"]
    before = repr(written)
    config = loaded(written, A="a")
    dumped = config.model_dump()
    assert put_in(config).headers == {"X": "a 42"}
    assert (repr(written), config.model_dump()) == (before, dumped)
    with pytest.raises(TypeError):
        config.headers["X"] = "other"  # type: ignore[index, union-attr]


def test_the_environment_comes_first_and_then_what_is_the_users() -> None:
    written = http(headers={"X": "${TEMPLATE} {{KEY}}"}, customUserVars={"KEY": {}})
    config = loaded(written, TEMPLATE="{{LIBRECHAT_USER_ID}}")
    assert put_in(config, KEY="k").headers == {"X": "42 k"}


@pytest.mark.parametrize("typed", ["${SECRET}", "{{LIBRECHAT_USER_EMAIL}}", "{{KEY}}"])
def test_what_a_user_typed_is_not_expanded(typed: str) -> None:
    config = loaded(http(headers={"X": "{{KEY}}"}, customUserVars={"KEY": {}}), SECRET="s3cret")
    assert put_in(config, KEY=typed).headers == {"X": typed}


@pytest.mark.parametrize("maker", MAKERS)
def test_of_what_a_user_configured_only_his_variables_are_resolved(maker: dict[str, str]) -> None:
    own = http(headers={"X": "${SECRET} {{KEY}}"}, customUserVars={"KEY": {}}, **maker)
    assert put_in(loaded(own, SECRET="s3cret"), KEY="k").headers == {"X": "${SECRET} k"}
    for name in ("USER_EMAIL", "OPENID_ACCESS_TOKEN", "BODY_MESSAGEID"):
        other = loaded(http(headers={"X": f"{{{{LIBRECHAT_{name}}}}}"}, **maker))
        with pytest.raises(PlaceholderError, match="not resolved in what a user configured"):
            put_in(other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER_ID", "42"),
        ("USER_NAME", "Ada"),
        ("USER_USERNAME", "ada"),
        ("USER_EMAIL", "ada@example.com"),
        ("USER_OPENIDID", "o-1"),
    ],
)
def test_a_placeholder_stands_for_a_field_of_the_user(name: str, value: str) -> None:
    config = loaded(http(headers={"X": f"{{{{LIBRECHAT_{name}}}}}"}))
    assert put_in(config).headers == {"X": value}


def test_what_has_no_value_is_an_error() -> None:
    with pytest.raises(PlaceholderError, match=r"headers\.X needs a value for"):
        put_in(loaded(http(headers={"X": "{{LIBRECHAT_USER_ROLE}}"})))


def test_an_unknown_placeholder_is_an_error() -> None:
    for name in ("NOBODY_KNOWS", "LIBRECHAT_USER_PASSWORD", "LIBRECHAT_X"):
        with pytest.raises(PlaceholderError):
            put_in(loaded(http(headers={"X": f"{{{{{name}}}}}"})))


def test_an_unset_variable_is_an_error() -> None:
    for environment in ({}, {"A": ""}, {"A": " "}):
        with pytest.raises(PlaceholderError, match="needs the environment variable A"):
            loaded(http(headers={"X": "${A}"}), **environment)


NEVER = "JWT_SECRET JWT_REFRESH_SECRET CREDS_KEY CREDS_IV MEILI_MASTER_KEY MONGO_URI REDIS_URI"


@pytest.mark.parametrize("name", [*NEVER.split(), "REDIS_PASSWORD"])
def test_the_secrets_of_the_application_are_never_expanded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(PlaceholderError, match="holds a secret of the application") as caught:
        load_servers({"crm": {"command": "x", "env": {"A": f"${{{name}}}"}}})
    assert "s3cret" not in str(caught.value)


def test_a_name_beyond_latin_1_is_sent_as_base64() -> None:
    config = loaded(http(headers={"X": "{{LIBRECHAT_USER_NAME}}"}))
    ada = User("42", name="Ада")
    expected = "b64:" + base64.b64encode("Ада".encode()).decode()
    assert put_in(config, ada).headers == {"X": expected}


@pytest.mark.parametrize(
    ("said", "header"),
    [
        ({"authorization_type": "bearer"}, {"Authorization": "Bearer k"}),
        ({"authorization_type": "basic"}, {"Authorization": "Basic k"}),
        ({"authorization_type": "custom"}, {"X-Api-Key": "k"}),
        ({"authorization_type": "custom", "custom_header": "X-K"}, {"X-K": "k"}),
    ],
)
def test_an_api_key_is_a_header(said: dict[str, str], header: dict[str, str]) -> None:
    admin = loaded(http(apiKey={"source": "admin", "key": "${KEY}", **said}), KEY="k")
    assert isinstance(admin, HttpServerConfig)
    assert admin.all_headers == header
    own = loaded(http(apiKey={"source": "user", **said}))
    assert put_in(own, MCP_API_KEY="k").headers == header


SIGNED = {"access_token": "at", "id_token": "it", "expires_at": 100, "sub": "s", "email": "a@b.c"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCESS_TOKEN", "at"),
        ("TOKEN", "at"),
        ("ID_TOKEN", "it"),
        ("USER_ID", "s"),
        ("USER_EMAIL", "a@b.c"),
        ("EXPIRES_AT", "100"),
    ],
)
def test_openid_placeholders_are_the_users_tokens(name: str, value: str) -> None:
    config = loaded(http(headers={"X": f"{{{{LIBRECHAT_OPENID_{name}}}}}"}))
    assert put_in(config, User("42", openid=SIGNED), now=99).headers == {"X": value}


def test_an_expired_token_has_the_user_sign_in_again() -> None:
    ada = User("42", openid=SIGNED)
    for name in ("ACCESS_TOKEN", "TOKEN", "ID_TOKEN"):
        config = loaded(http(headers={"X": f"{{{{LIBRECHAT_OPENID_{name}}}}}"}))
        with pytest.raises(PlaceholderError, match="expired: the user has to sign in again"):
            put_in(config, ada, now=100)
    who = loaded(http(headers={"X": "{{LIBRECHAT_OPENID_USER_ID}}"}))
    assert put_in(who, ada, now=100).headers == {"X": "s"}


# -- 8.9.7 -----------------------------------------------------------------------------------------


def test_a_user_cannot_have_the_environment_told() -> None:
    urls = {"authorization_url": f"{LOGIN}/a", "token_url": f"{LOGIN}/${{CREDS_KEY}}"}
    for sent in (
        {"url": "https://evil.example.com/${MONGO_URI}"},
        {"url": "${MONGO_URI}"},
        {"url": "wss://evil.example.com/${MONGO_URI}"},
        http(oauth=urls),
    ):
        assert "environment variable references are not allowed in URLs" in refused(
            sent, parse_user_server
        )


def test_a_url_has_a_protocol_of_its_transport() -> None:
    for take in (parse_server, parse_user_server):
        for url in ("file:///etc/passwd", "ftp://x.example.com", "javascript:alert(1)", "x"):
            assert "'url'" in refused({"url": url}, take)
        for type_ in ("sse", "http", "streamable-http"):
            assert "'url'" in refused({"type": type_, "url": "ws://x.example.com"}, take)
        assert "'url'" in refused({"type": "websocket", "url": URL}, take)


def test_a_client_secret_needs_where_it_is_sent() -> None:
    known = {"client_id": "me", "client_secret": "s3cret"}
    urls = {"authorization_url": f"{LOGIN}/a", "token_url": f"{LOGIN}/t"}
    assert "'client_secret' needs" in refused(http(oauth=known))
    assert "'client_secret' needs" in refused(http(oauth={"client_secret": "s3cret", **urls}))
    assert parse_server("crm", http(oauth=known | urls)).oauth is not None
    assert parse_server("crm", http(oauth={**known, "issuer": LOGIN})).oauth is not None


def test_a_proxy_is_http_or_https() -> None:
    for url in ("http://proxy:3128", "https://proxy:3128"):
        assert parse_server("crm", http(proxy=url)).model_dump()["proxy"] == url
    for url in ("socks5://proxy:1080", "proxy:3128", "ftp://proxy", "{{LIBRECHAT_USER_ID}}"):
        assert "'proxy'" in refused(http(proxy=url))
    assert "'proxy'" in refused({"command": "x", "proxy": "http://proxy:3128"})
    assert "'proxy'" in refused(http(proxy="http://proxy:3128"), parse_user_server)


def test_a_title_has_letters_numbers_and_spaces() -> None:
    for title in ("CRM 2", "Büro", "顧客"):
        assert parse_server("crm", http(title=title)).title == title
    for title in ("<b>CRM</b>", "a_b", "a\nb", "", " ", "{{LIBRECHAT_USER_ID}}"):
        assert "can only contain letters, numbers, and spaces" in refused(http(title=title))


@pytest.mark.parametrize(
    ("written", "kind", "type_"),
    [
        ({"command": "npx", "args": []}, StdioServerConfig, "stdio"),
        ({"url": "ws://x.example.com"}, WebSocketServerConfig, "websocket"),
        ({"url": "wss://x.example.com"}, WebSocketServerConfig, "websocket"),
        ({"url": URL}, HttpServerConfig, "streamable-http"),
        ({"url": URL, "type": "http"}, HttpServerConfig, "http"),
        ({"url": URL, "type": "sse"}, HttpServerConfig, "sse"),
    ],
)
def test_the_type_follows_from_what_is_there(
    written: dict[str, Any], kind: type, type_: str
) -> None:
    config = parse_server("crm", written)
    assert (type(config), config.type) == (kind, type_)
