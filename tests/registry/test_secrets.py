"""Secrets that are kept when a configuration is written anew without them."""

from typing import Any

import pytest

from mcpsync.config import parse_server
from mcpsync.errors import ConfigurationError, SecretRequired
from mcpsync.registry import ServersRegistry, redact_server_secrets
from mcpsync.registry.secrets import keep_secrets
from mcpsync.testing import FakeClock

OAUTH = {
    "client_id": "c",
    "client_secret": "s3cret",
    "authorization_url": "https://as.example.com/authorize",
    "token_url": "https://as.example.com/token",
}
BEFORE: dict[str, Any] = {"url": "https://crm.example.com/mcp", "title": "CRM", "oauth": OAUTH}
SHOWN = {key: value for key, value in OAUTH.items() if key != "client_secret"}


def after(oauth: Any = None, **fields: Any) -> dict[str, Any]:
    return {**BEFORE, **fields, "oauth": SHOWN if oauth is None else oauth}


def test_a_secret_that_is_not_mentioned_is_kept() -> None:
    wanted = after(title="Customers")
    kept = keep_secrets(BEFORE, wanted)
    assert kept == {**BEFORE, "title": "Customers"}
    assert wanted["oauth"] == SHOWN  # and what was given is not changed


def test_a_secret_that_is_given_takes_its_place() -> None:
    wanted = after({**SHOWN, "client_secret": "another"})
    assert keep_secrets(BEFORE, wanted) == wanted


def test_a_secret_that_is_none_goes_and_so_does_a_section_that_is_missing() -> None:
    wanted = after({**SHOWN, "client_secret": None})
    assert keep_secrets(BEFORE, wanted) == wanted
    without = {"url": BEFORE["url"]}
    assert keep_secrets(BEFORE, without) == without


def test_a_secret_of_another_kind_takes_its_place() -> None:
    wanted = after({**SHOWN, "private_key": "PEM"})
    assert keep_secrets(BEFORE, wanted) == wanted


def test_where_there_was_none_there_is_none() -> None:
    assert keep_secrets({"url": "u"}, after()) == after()
    assert keep_secrets({"url": "u", "oauth": SHOWN}, after()) == after()


@pytest.mark.parametrize(
    "wanted",
    [
        after(url="https://attacker.example.com/mcp"),
        after({**SHOWN, "token_url": "https://attacker.example.com/token"}),
        after({**SHOWN, "authorization_url": "https://attacker.example.com/authorize"}),
        after({**SHOWN, "issuer": "https://attacker.example.com"}),
        after({**SHOWN, "client_id": "another"}),
        after({"client_id": "c"}),
        after(proxy="http://attacker.example.com"),
    ],
    ids=["url", "token_url", "authorization_url", "issuer", "client_id", "no URLs", "proxy"],
)
def test_if_it_leads_elsewhere_the_secret_has_to_be_given_again(wanted: dict[str, Any]) -> None:
    with pytest.raises(SecretRequired) as caught:
        keep_secrets(BEFORE, wanted)
    error = caught.value
    assert isinstance(error, ConfigurationError)
    assert error.fields == ("oauth.client_secret",)
    assert "s3cret" not in str(error)
    given = {**wanted, "oauth": {**wanted["oauth"], "client_secret": "typed again"}}
    assert keep_secrets(BEFORE, given) == given


def test_a_key_of_an_api_is_kept_for_the_same_place_only() -> None:
    before = {"url": "https://a.example.com", "api_key": {"key": "k", "source": "admin"}}
    kept = keep_secrets(before, {"url": "https://a.example.com", "api_key": {"source": "admin"}})
    assert kept["api_key"] == {"key": "k", "source": "admin"}
    with pytest.raises(SecretRequired) as caught:
        keep_secrets(before, {"url": "https://b.example.com", "api_key": {"source": "admin"}})
    assert caught.value.fields == ("api_key.key",)


def test_what_a_form_was_shown_leads_where_it_led() -> None:
    before = {**BEFORE, "oauth": {**OAUTH, "revocation_endpoint": "https://as.example.com/revoke"}}
    before["api_key"] = {"key": "k"}
    shown = redact_server_secrets(parse_server("crm", before), can_edit=True)
    wanted = {name: shown[name] for name in ("url", "oauth", "api_key")}
    kept = keep_secrets(before, wanted)
    assert kept["oauth"]["client_secret"] == "s3cret"
    assert kept["api_key"]["key"] == "k"
    wanted["oauth"]["revocation_url"] = "https://attacker.example.com/revoke"
    with pytest.raises(SecretRequired, match=r"oauth\.client_secret"):
        keep_secrets(before, wanted)


def test_the_operators_secrets_are_kept_however_his_update_is_spelt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRM", "crm.example.com")
    servers = {"crm": {"url": "https://${CRM}/mcp", "api_key": {"key": "k"}}}
    registry = ServersRegistry(servers, FakeClock())
    updated = registry.update_server("crm", {"url": "https://${CRM}/mcp", "apiKey": {}})
    assert updated.api_key is not None  # type: ignore[union-attr]
    assert updated.api_key.key == "k"  # type: ignore[union-attr]
    monkeypatch.setenv("CRM", "elsewhere.example.com")
    with pytest.raises(SecretRequired):
        registry.update_server("crm", {"url": "https://${CRM}/mcp", "apiKey": {}})
