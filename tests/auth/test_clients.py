"""Who we are to authorization servers; requirements A16 to A22."""

import json

import pytest

from mcpsync.auth import CimdDocument
from mcpsync.auth.clients import (
    ClientCredentials,
    at,
    check_redirect_uri,
    preferred_method,
    registered,
    registration,
)
from mcpsync.auth.metadata import ServerMetadata
from mcpsync.errors import ConfigurationError, MessageInvalid, OAuthError

AS = "https://as.example"
BACK = "https://app.example/callback"
URL = "https://app.example/oauth/client.json"
SECRET = "s3cr3t"


def server(**said):
    return ServerMetadata.model_validate({"issuer": AS, **said})


def answered(asked="client_secret_basic", **answer):
    return registered(answer, issuer=AS, redirect_uri=BACK, asked=asked)


# -- client id metadata documents ------------------------------------------------------------


def test_the_document_says_who_we_are_under_the_url_it_stands_at():
    document = CimdDocument(URL, [BACK], "My application", {"client_uri": "https://app.example"})
    body = json.loads(json.dumps(document.body))
    assert body["client_id"] == URL
    assert body["client_name"] == "My application"
    assert body["redirect_uris"] == [BACK]
    assert body["client_uri"] == "https://app.example"
    assert body["token_endpoint_auth_method"] == "none"
    assert set(body["grant_types"]) == {"authorization_code", "refresh_token"}


def test_nothing_that_is_added_replaces_the_client_id():
    assert CimdDocument(URL, [BACK], more={"client_id": "x"}).body["client_id"] == URL


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/client.json",
        "https://app.example/a/b",
        "https://app.example:8443/a",
        "https://app.example/a?b=c",
    ],
)
def test_an_https_url_with_a_path_is_a_client_id(url):
    assert CimdDocument(url, [BACK]).body["client_id"] == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "client.json",
        "http://app.example/client.json",
        "http://localhost/client.json",
        "https://app.example",
        "https://app.example/",
        "https:///client.json",
        "https://app.example/client.json#me",
        "https://app.example/client.json#",
        "https://ada:s3cr3t@app.example/client.json",
        "https://app.example/a/../client.json",
        "https://app.example/./client.json",
        "https://app.example/client .json",
        "https://app.example/client\n.json",
        "https://app.exämple/client.json",
        "https://[/client.json",
        "https://app.example:99999/client.json",
        "javascript:alert(1)",
    ],
)
def test_other_urls_are_none(url):
    with pytest.raises(ConfigurationError, match="https:// with a path") as caught:
        CimdDocument(url, [BACK])
    assert SECRET not in str(caught.value)


def test_a_document_without_a_place_to_come_back_to_is_of_no_use():
    with pytest.raises(ConfigurationError, match="redirect URI"):
        CimdDocument(URL, [])


@pytest.mark.parametrize(
    "uri",
    [
        BACK,
        "http://127.0.0.1/callback",
        "http://localhost:4711/callback",
        "http://[::1]:4711/",
        "com.example.app:/callback",
    ],
)
def test_users_may_come_back_to_us(uri):
    check_redirect_uri(uri)
    CimdDocument(URL, [uri])


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "callback",
        "http://app.example/callback",
        "https://",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/callback",
        f"{BACK}#there",
        f"{BACK}#",
        "https://[",
        "https://app.example/\n",
        "https://app.example/a b",
    ],
)
def test_users_do_not_come_back_to_what_is_not_safe(uri):
    with pytest.raises(ConfigurationError, match="a redirect URI is"):
        check_redirect_uri(uri)
    with pytest.raises(ConfigurationError, match="a redirect URI is"):
        CimdDocument(URL, [uri])


# -- what is said when registering -----------------------------------------------------------


@pytest.mark.parametrize(
    ("uris", "kind"),
    [
        ([BACK], "web"),
        (["http://127.0.0.1:4711/callback"], "native"),
        (["http://localhost/callback", "http://[::1]/callback"], "native"),
        (["com.example.app:/callback"], "native"),
        (["com.example.app:/callback", "http://127.0.0.1/"], "native"),
        ([BACK, "http://127.0.0.1/callback"], "web"),
    ],
)
def test_the_type_of_the_application_follows_from_where_users_come_back_to(uris, kind):
    assert registration(uris)["application_type"] == kind


def test_only_what_is_needed_is_asked_for():
    said = registration([BACK], method="client_secret_post", scopes=("a", "b"), refreshes=False)
    assert said["grant_types"] == ["authorization_code"]
    assert said["token_endpoint_auth_method"] == "client_secret_post"
    assert said["scope"] == "a b"
    assert "scope" not in registration([BACK])
    assert "refresh_token" in registration([BACK])["grant_types"]


# -- how to say who we are -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "has_secret", "method"),
    [
        (None, True, "client_secret_basic"),
        (None, False, "none"),
        ([], True, "client_secret_basic"),
        ("client_secret_post", True, "client_secret_basic"),
        (["none", "client_secret_post", "client_secret_basic"], True, "client_secret_basic"),
        (["none", "client_secret_post"], True, "client_secret_post"),
        (["none"], True, "none"),
        (["client_secret_basic"], False, "none"),
        (["none"], False, "none"),
    ],
)
def test_basic_is_preferred_to_post_and_that_to_nothing(offered, has_secret, method):
    said = server(token_endpoint_auth_methods_supported=offered)
    assert preferred_method(said, has_secret=has_secret, forced=None) == method


def test_the_configuration_has_the_last_word():
    said = server(token_endpoint_auth_methods_supported=["none"])
    assert preferred_method(said, has_secret=True, forced="client_secret_post") == (
        "client_secret_post"
    )


@pytest.mark.parametrize("offered", [["tls_client_auth"], ["<script>"], ["private_key_jwt"]])
def test_who_takes_nothing_that_we_know_is_told_so(offered):
    said = server(token_endpoint_auth_methods_supported=offered)
    with pytest.raises(OAuthError, match="none of the ways") as caught:
        preferred_method(said, has_secret=True, forced=None)
    assert caught.value.error == "auth_method_unsupported"
    assert "<" not in str(caught.value)


# -- what comes back -------------------------------------------------------------------------


def test_a_registration_is_its_servers_alone():
    client = answered(client_id="me", client_secret=SECRET)
    assert client == ClientCredentials(
        "me", SECRET, "client_secret_basic", "registered", AS, BACK, None
    )
    assert SECRET not in repr(client)


@pytest.mark.parametrize(
    ("said", "secret", "method"),
    [
        (None, SECRET, "client_secret_basic"),
        ("client_secret_post", SECRET, "client_secret_post"),
        ("none", None, "none"),
        ("none", SECRET, "none"),
        (None, None, "none"),
        ("client_secret_basic", None, "none"),
        ("client_secret_post", "", "none"),
        (7, SECRET, "client_secret_basic"),
    ],
)
def test_how_to_say_who_we_are_is_as_the_answer_says_and_as_it_can_be(said, secret, method):
    client = answered(client_id="me", client_secret=secret, token_endpoint_auth_method=said)
    assert client.method == method


@pytest.mark.parametrize("said", ["tls_client_auth", "private_key_jwt", "<script>", ""])
def test_a_way_we_do_not_know_or_cannot_go_is_refused(said):
    with pytest.raises(OAuthError, match="in a way we do not know") as caught:
        answered(client_id="me", client_secret=SECRET, token_endpoint_auth_method=said)
    assert "<" not in str(caught.value)


def test_a_key_is_used_by_who_asked_for_that():
    assert answered("private_key_jwt", client_id="me").method == "private_key_jwt"
    said = {"client_id": "me", "token_endpoint_auth_method": "private_key_jwt"}
    assert answered("private_key_jwt", **said).method == "private_key_jwt"


@pytest.mark.parametrize(
    "client_id", [None, "", 7, ["me"], "m\ne", "\ud800", "mé", "x" * 5000, True, {}]
)
def test_an_answer_without_a_usable_client_id_is_none(client_id):
    with pytest.raises(MessageInvalid, match="no usable client_id"):
        answered(client_id=client_id, client_secret=SECRET)


@pytest.mark.parametrize("secret", [7, ["s3cr3t"], "s3cr3t\n", "s3cr3t\ud800", "s3cr3t" * 5000])
def test_a_secret_that_cannot_be_sent_is_not_kept_and_not_shown(secret):
    with pytest.raises(MessageInvalid, match="unusable client_secret") as caught:
        answered(client_id="me", client_secret=secret)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uris", [["https://evil.example/callback"], [], [None], [f"{BACK}/"]])
def test_a_registration_that_sends_users_elsewhere_is_refused(uris):
    with pytest.raises(OAuthError, match="other redirect URIs") as caught:
        answered(client_id="me", redirect_uris=uris)
    assert caught.value.error == "invalid_redirect_uri"
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("uris", [None, [BACK], ["https://evil.example", BACK], "no list"])
def test_a_registration_that_has_ours_or_says_nothing_will_do(uris):
    assert answered(client_id="me", redirect_uris=uris).redirect_uri == BACK


@pytest.mark.parametrize(
    ("said", "expires"),
    [
        (None, None),
        (0, None),
        (-1, None),
        (2_000_000_000, 2e9),
        (2_000_000_000.5, 2_000_000_000.5),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        ("2000000000", None),
    ],
)
def test_a_secret_is_over_when_it_says_so(said, expires):
    answer = {"client_id": "me", "client_secret": SECRET, "client_secret_expires_at": said}
    assert answered(**answer).expires_at == expires


def test_where_there_is_no_secret_nothing_is_over():
    assert answered(client_id="me", client_secret_expires_at=1).expires_at is None


# -- clients that were registered by hand ----------------------------------------------------


def test_a_client_of_one_issuer_is_not_shown_to_another():
    client = ClientCredentials("me", SECRET, "client_secret_post", issuer=AS)
    assert at(client, AS) == client
    with pytest.raises(OAuthError, match="not sent there") as caught:
        at(client, "https://evil.example")
    assert caught.value.error == "client_of_another_issuer"
    assert SECRET not in str(caught.value)


def test_a_client_of_nobody_in_particular_is_his_who_is_asked():
    assert at(ClientCredentials("me"), AS).issuer == AS
