"""What is said of signing in to a server: what is taken, and what each mistake is called."""

import traceback
from typing import Any

import pytest

from mcpsync.config import HttpServerConfig, parse_server
from mcpsync.config.oauth import OAuthConfig
from mcpsync.errors import ConfigurationError

URL = "https://crm.example.com/mcp"
LOGIN = "https://login.example.com"
URLS = {"authorization_url": f"{LOGIN}/authorize", "token_url": f"{LOGIN}/token"}
CLIENT = {"client_id": "me", "client_secret": "s3cret", "issuer": LOGIN}
KEY = "-----BEGIN PRIVATE KEY----- s3cret"
MACHINE = {"grant": "client_credentials", "client_id": "me"}


def oauth(**fields: Any) -> OAuthConfig:
    """What a server's configuration makes of this ``oauth:``."""
    config = parse_server("crm", {"url": URL, "oauth": fields})
    assert isinstance(config, HttpServerConfig)
    assert config.oauth is not None
    return config.oauth


def mistake(fields: dict[str, Any], **server: Any) -> str:
    """The sentence about an ``oauth:`` that is not taken."""
    with pytest.raises(ConfigurationError) as caught:
        parse_server("crm", {"url": URL, "oauth": fields, **server})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "s3cret" not in shown
    assert caught.value.server_name == "crm"
    return caught.value.message


# -- what is taken ---------------------------------------------------------------------------------


def test_nothing_has_to_be_said() -> None:
    said = oauth()
    assert said == OAuthConfig()
    assert said.grant == "authorization_code"
    assert said.is_of_users
    assert said.send_resource_parameter
    assert not said.skip_code_challenge_check
    assert (said.client_id, said.scope, said.dpop, said.urls) == (None, None, None, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": "me"},
        CLIENT,
        {"client_id": "me", "client_secret": "s3cret", **URLS},
        {"client_id": "me", "private_key": KEY},
        {"client_id": "me", "private_key": KEY, "token_endpoint_auth_method": "private_key_jwt"},
        {"issuer": LOGIN},
        URLS,
        {**URLS, "revocation_url": f"{LOGIN}/revoke"},
        {"redirect_uri": "https://app.example.com/callback"},
        {"redirect_uri": "http://127.0.0.1:8000/callback"},
        {"dpop": True},
        {"dpop": False},
        {"send_resource_parameter": False},
        {"skip_code_challenge_check": True},
        {"headers": {"X-Tenant": "s3cret"}},
        {**MACHINE, "client_secret": "s3cret", "issuer": LOGIN},
        {**MACHINE, "private_key": KEY, "signing_algorithm": "ES256", "issuer": LOGIN},
        {"grant": "workload_identity", "assertion": "s3cret", "issuer": LOGIN},
        {"grant": "workload_identity", "assertion_file": "/run/token", "issuer": LOGIN},
        {**MACHINE, "client_secret": "s3cret", "token_url": URLS["token_url"]},
        {
            "grant": "workload_identity",
            "assertion": "s3cret",
            "client_id": "me",
            "token_url": URLS["token_url"],
        },
    ],
    ids=lambda fields: " ".join(fields),
)
def test_what_belongs_together_is_taken_as_it_is(fields: dict[str, Any]) -> None:
    said = oauth(**fields)
    assert {name: getattr(said, name) for name in fields} == fields
    assert said.is_of_users is ("grant" not in fields)


@pytest.mark.parametrize("scope", ["read write", " read  write ", ["read", "write"]])
def test_scopes_are_names_with_blanks_between_or_a_list(scope: Any) -> None:
    assert oauth(scope=scope).scope == ("read", "write")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"token_exchange_method": "default_post"}, "client_secret_post"),
        ({"token_exchange_method": "basic_auth_header"}, "client_secret_basic"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "client_secret_basic"),
        ({"token_endpoint_auth_method": "none"}, "none"),
    ],
)
def test_how_to_say_who_we_are_may_be_written_as_the_seed_does(
    written: dict[str, str], read: str
) -> None:
    assert oauth(**written).token_endpoint_auth_method == read


def test_where_tokens_are_revoked_may_be_written_as_the_seed_does() -> None:
    assert oauth(revocation_endpoint=f"{LOGIN}/revoke").revocation_url == f"{LOGIN}/revoke"


def test_it_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        oauth().client_id = "other"  # type: ignore[misc]


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"clientid": "me"}, "oauth.clientid", "not permitted"),
        ({"grant": "password"}, "oauth.grant", "authorization_code"),
        ({"client_id": ""}, "oauth.client_id", "at least 1"),
        ({"client_id": 7}, "oauth.client_id", "string"),
        ({**CLIENT, "client_secret": ""}, "oauth.client_secret", "at least 1"),
        ({"private_key": "", "client_id": "me"}, "oauth.private_key", "at least 1"),
        ({"scope": 7}, "oauth.scope", "tuple"),
        ({"token_endpoint_auth_method": "s3cret"}, "auth_method", "client_secret_basic"),
        ({"token_exchange_method": "s3cret"}, "exchange_method", "client_secret_basic"),
        ({"dpop": "perhaps"}, "oauth.dpop", "boolean"),
        ({"headers": ["s3cret"]}, "oauth.headers", "dictionary"),
        ({"headers": {"a": 7}}, "oauth.headers.a", "string"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], field: str, says: str) -> None:
    sentence = mistake(fields)
    assert field in sentence
    assert says in sentence


@pytest.mark.parametrize(
    "name", ["issuer", "authorization_url", "token_url", "revocation_url", "redirect_uri"]
)
@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example.com",
        "/authorize",
        "https://",
        "ftp://login.example.com/s3cret",
        "javascript:alert(1)//s3cret",
        "file:///s3cret",
        "https://me:s3cret@login.example.com/",
        "https://login.example.com:port/s3cret",
        "https://[::1/s3cret",
        "https://login.example.com/\n/s3cret",
        "https://login.example.com/ s3cret",
        "https://login.example.cöm/s3cret",
    ],
)
def test_what_is_no_url_is_named_and_not_shown(name: str, url: str) -> None:
    sentence = mistake({**URLS, name: url})
    assert f"'oauth.{name}'" in sentence
    assert "it is not an https:// URL" in sentence


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"authorization_url": URLS["authorization_url"]}, "are given together"),
        ({"token_url": URLS["token_url"]}, "are given together"),
        ({"client_secret": "s3cret", "issuer": LOGIN}, "'client_secret' needs 'client_id'"),
        ({"client_secret": "s3cret", "client_id": "me"}, "sent to nobody who was merely found"),
        ({"private_key": KEY}, "'private_key' needs 'client_id'"),
        ({**CLIENT, "private_key": KEY}, "no 'client_secret' beside it"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "needs 'private_key'"),
        (
            {"grant": "client_credentials", "private_key": KEY},
            "'private_key' needs 'client_id'",
        ),
        (MACHINE, "'client_credentials' needs 'issuer' or 'token_url'"),
        ({**MACHINE, "issuer": LOGIN}, "'client_credentials' needs 'client_id', and 'client_secr"),
        ({**MACHINE, **CLIENT, "private_key": KEY}, "no 'client_secret' beside it"),
        ({"grant": "workload_identity"}, "'workload_identity' needs 'issuer' or 'token_url'"),
        ({"grant": "workload_identity", "issuer": LOGIN}, "needs 'assertion' or 'assertion_file'"),
        ({"assertion": "s3cret"}, "'assertion' is not for 'authorization_code'"),
        ({"scope": "read {{USER_ID}}"}, "placeholders are not replaced in 'scope'"),
        ({"scope": ["{{USER_ID}}"]}, "placeholders are not replaced in 'scope'"),
        (
            {**MACHINE, "private_key": KEY, "issuer": LOGIN, "assertion": "s3cret"},
            "'assertion' is not for 'client_credentials'",
        ),
    ],
)
def test_what_does_not_belong_together_is_one_sentence(fields: dict[str, Any], says: str) -> None:
    sentence = mistake(fields)
    assert says in sentence
    assert sentence.startswith("its configuration is wrong at 'oauth': ")
    assert sentence.count("\n") == 0
    assert sentence.endswith(".")


@pytest.mark.parametrize("parameter", ["audience", "resource"])
@pytest.mark.parametrize("name", ["authorization_url", "token_url", "revocation_url"])
def test_a_user_does_not_say_in_a_url_for_whom_tokens_are(name: str, parameter: str) -> None:
    fields = {**URLS, name: f"{LOGIN}/x?{parameter}="}
    assert f"'oauth.{name}' says for whom tokens are" in mistake(fields, source="user")
    assert f"'oauth.{name}' says for whom tokens are" in mistake(fields, db_id="7")
    assert oauth(**fields).urls[name].endswith(f"?{parameter}="), "the operator may"


# -- secrets ---------------------------------------------------------------------------------------


def test_no_secret_is_shown() -> None:
    for fields in (
        CLIENT,
        {"client_id": "me", "private_key": KEY},
        {"grant": "workload_identity", "assertion": "s3cret", "issuer": LOGIN},
        {"headers": {"X-Key": "s3cret"}},
    ):
        said = oauth(**fields)
        config = parse_server("crm", {"url": URL, "oauth": fields})
        assert "s3cret" not in f"{said!r} {said!s} {config!r} {config!s}"
