"""login, logout, whoami, and what the other commands send by themselves."""

import dataclasses
import re
import socket
import stat
import sys
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from mcpsync._runtime.deadline import Deadline
from mcpsync.auth.tokens import Grant
from mcpsync.cli.kept import REDIRECT, oauth_of, opened_store, store_path
from mcpsync.cli.target import find_target
from mcpsync.stores import new_key
from mcpsync.testing import Fault, LocalServer, Page
from support.authority import Authority
from support.processes import free_port

pytestmark = pytest.mark.once  # words and exit codes are the same with every Python

ADD = ("a=1", "b=2")


@pytest.fixture
def authority():
    with Authority() as authority:
        yield authority


class Browser:
    """A user who agrees to everything, or does what he is told to."""

    def __init__(self, authority):
        self.authority = authority
        self.opened = []
        self.pages = []
        self.on_the_way = []
        self.decide = authority.approve

    def open(self, url):
        self.opened.append(url)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(parse_qs(url)["redirect_uri"][0]))
        for path in self.on_the_way:
            self.pages.append(requests.get(f"{origin}{path}", timeout=10))
        self.pages.append(requests.get(self.decide(url), timeout=10))
        return True

    def asked_for(self):
        """The parameters of the last authorization request."""
        return {
            name: values[0] for name, values in parse_qs(urlsplit(self.opened[-1]).query).items()
        }


@pytest.fixture
def browser(authority, monkeypatch):
    browser = Browser(authority)
    monkeypatch.setattr(webbrowser, "open", browser.open)
    return browser


@pytest.fixture
def nobody(authority, monkeypatch):
    """A user who looks at the page and goes away."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    return opened


def kept(url):
    """What the store keeps of the sign-in, and how to keep something else."""
    config = find_target(url, None, None).config
    with opened_store() as store:
        oauth = oauth_of(config, store, REDIRECT)
        return oauth.ceremony(url).storage.find(oauth.owner_at(url))


def keep(url, change):
    config = find_target(url, None, None).config
    with opened_store() as store:
        oauth = oauth_of(config, store, REDIRECT)
        storage, owner = oauth.ceremony(url).storage, oauth.owner_at(url)
        grant = storage.find(owner)
        assert isinstance(grant, Grant)
        storage.keep(owner, change(grant))


def configured(tmp_path, text):
    (tmp_path / "mcpsync.yaml").write_text(text, encoding="utf-8")


# -- login ----------------------------------------------------------------------------------------


def test_the_browser_signs_in_and_the_other_commands_send_the_tokens(cli, authority, browser):
    outcome = cli("login", authority.url)
    assert (outcome.code, outcome.out) == (0, f"Signed in to {authority.url}.\n")
    assert browser.opened[0] in outcome.err
    assert cli("call", authority.url, "add", *ADD).out == "3\n"
    assert cli("tools", authority.url).out.startswith("add\t")
    assert cli("info", authority.url).code == 0
    assert authority.count("token") == 1


def test_whoever_else_comes_to_the_port_does_not_end_it(cli, authority, browser):
    browser.on_the_way = ["/favicon.ico", "/callback?code=evil&state=guessed", "/callback"]
    assert cli("login", authority.url).code == 0
    assert [page.status_code for page in browser.pages] == [404, 404, 404, 200]


def test_only_the_user_may_read_what_is_kept(cli, authority, browser):
    cli("login", authority.url)
    path = store_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_that_the_store_is_not_encrypted_is_said_once(cli, authority, browser):
    first = cli("login", authority.url)
    assert first.err.count("not encrypted") == 1
    assert str(store_path()) in first.err
    assert kept(authority.url).tokens.access_token.encode() in store_path().read_bytes()
    for words in (("login",), ("whoami",), ("tools",), ("logout",)):
        assert cli(*words, authority.url).err == ""


def test_with_a_key_the_store_is_encrypted(cli, authority, browser, monkeypatch):
    monkeypatch.setenv("MCPSYNC_STORE_KEY", new_key())
    assert "encrypted" not in cli("login", authority.url).err
    held = store_path().read_bytes()
    assert not [secret for secret in authority.secrets if secret.encode() in held]
    assert cli("call", authority.url, "add", *ADD).code == 0


def test_keys_are_changed_by_putting_a_new_one_in_front(cli, authority, browser, monkeypatch):
    old = new_key()
    monkeypatch.setenv("MCPSYNC_STORE_KEY", old)
    cli("login", authority.url)
    monkeypatch.setenv("MCPSYNC_STORE_KEY", f"{new_key()} {old}")
    assert cli("whoami", authority.url).code == 0


def test_the_store_may_be_another_file(cli, authority, browser, monkeypatch, tmp_path):
    monkeypatch.setenv("MCPSYNC_STORE", str(tmp_path / "elsewhere" / "mine.db"))
    cli("login", authority.url)
    assert (tmp_path / "elsewhere" / "mine.db").exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("system", "folder"), [("linux", ".local/share"), ("darwin", "Library/Application Support")]
)
@pytest.mark.parametrize("said", ["", "relative/path"])
def test_it_is_in_the_data_folder_of_the_platform(monkeypatch, tmp_path, system, folder, said):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", said)
    assert store_path() == tmp_path / folder / "mcpsync" / "tokens.db"


def test_who_is_signed_in_is_told_so_and_sent_nowhere(cli, authority, browser):
    cli("login", authority.url)
    outcome = cli("login", authority.url)
    assert outcome.code == 0
    assert outcome.out.startswith(f"You are signed in to {authority.url} already.")
    assert len(browser.opened) == 1


@pytest.mark.parametrize("option", ["--again", "--force"])
def test_again_signs_in_anew(cli, authority, browser, option):
    cli("login", authority.url)
    before = kept(authority.url)
    assert cli("login", authority.url, option).out == f"Signed in to {authority.url}.\n"
    assert kept(authority.url).tokens != before.tokens
    assert authority.count("register") == 1


def test_who_was_signed_in_and_is_not_any_more_signs_in(cli, authority, browser):
    cli("login", authority.url)
    authority.end_grants()
    assert cli("login", authority.url).out.startswith("Signed in")
    assert len(browser.opened) == 2


def test_where_nobody_has_to_sign_in_nobody_is_made_to(cli, server, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("it was opened"))
    outcome = cli("login", server.url)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{server.url} lets everybody in; there is no need to sign in.")


def test_a_server_that_fails_at_other_pages_lets_everybody_in_all_the_same(cli):
    with LocalServer(front=lambda request: None if request.path == "/mcp" else Page(500)) as server:
        assert "lets everybody in" in cli("login", server.url).out


class ForToolsOnly(Authority):
    """Lets everybody look at its tools, and nobody call them who has not signed in."""

    def _before_mcp(self, request):
        page = super()._before_mcp(request)
        is_call = b'"tools/call"' in request.body
        return None if page is not None and page.status == 401 and not is_call else page


def test_where_only_tools_want_a_sign_in_there_is_one(cli, monkeypatch):
    with ForToolsOnly() as authority:
        monkeypatch.setattr(webbrowser, "open", Browser(authority).open)
        assert cli("tools", authority.url).code == 0
        cli("call", authority.url, "add", *ADD).assert_failed(5, "mcpsync login")
        assert cli("login", authority.url).out.startswith("Signed in")
        assert cli("call", authority.url, "add", *ADD).out == "3\n"


def test_a_refusal_leaves_what_was_kept_before(cli, authority, browser):
    cli("login", authority.url)
    before = kept(authority.url)
    browser.decide = authority.refuse
    outcome = cli("login", authority.url, "--again")
    assert outcome.code == 5
    assert "did not agree, or may not: access_denied" in outcome.err
    assert kept(authority.url) == before


def test_an_answer_of_another_server_is_not_believed(cli, authority, browser):
    browser.decide = lambda url: re.sub("iss=[^&]+", "iss=https://evil", authority.approve(url))
    assert "another authorization server" in cli("login", authority.url).err
    assert authority.count("token") == 0
    assert kept(authority.url) is None


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "http://as.example.com/", "https://a@b/"]
)
def test_no_browser_is_sent_to_what_is_no_page_of_https(cli, authority, nobody, url):
    authority.server_metadata["authorization_endpoint"] = url
    cli("login", authority.url).assert_failed(2, "authorization endpoint")
    assert nobody == []


def test_who_has_to_register_by_hand_is_told_what(cli, authority, nobody):
    authority.server_metadata["registration_endpoint"] = None
    outcome = cli("login", authority.url, "--port", (port := free_port()))
    outcome.assert_failed(5, f"comes back to http://127.0.0.1:{port}/callback", "--client-id")


def test_who_never_comes_back_is_not_waited_for_forever(cli, authority, nobody):
    outcome = cli("login", authority.url, "--timeout", "0.6")
    assert outcome.code == 4
    assert "nobody signed in within 0.6 s." in outcome.err
    assert len(nobody) == 1
    assert kept(authority.url) is None


def test_a_registration_that_led_nowhere_is_not_used_again(cli, authority, nobody, monkeypatch):
    cli("login", authority.url, "--timeout", "0.6")
    authority.forget_clients()  # which is why he did not come back
    monkeypatch.setattr(webbrowser, "open", Browser(authority).open)
    assert cli("login", authority.url, "--timeout", "10").code == 0
    assert authority.count("register") == 2


def test_a_sign_in_that_died_does_not_stand_in_the_next_ones_way(cli, authority, browser):
    config = find_target(authority.url, None, None).config
    with opened_store() as store:
        oauth = oauth_of(config, store, "http://127.0.0.1:9/callback")
        owner = oauth.owner_at(authority.url)
        before = oauth.ceremony(authority.url).begin(owner, Deadline(10))
    assert cli("login", authority.url, "--timeout", "10").code == 0
    assert browser.opened[0] != before.url


def test_a_server_that_does_not_answer_is_no_longer_waited_for_and_has_run_nothing(cli):
    with LocalServer() as server:
        server.inject(Fault.HANG, method="tools/list", times=None)
        outcome = cli("login", server.url, "--timeout", "0.5", "--json")
    assert outcome.code == 4
    assert outcome.error["maybe_executed"] is False
    assert outcome.error["server"] == server.url


def test_what_is_asked_for_can_be_said(cli, authority, browser):
    cli("login", authority.url, "--scope", "read", "--scope", "write list")
    assert browser.asked_for()["scope"] == "read write list"
    assert cli("whoami", authority.url, "--json").json["scopes"] == ["read", "write", "list"]


def test_more_can_be_asked_for_later_and_nothing_is_lost(cli, authority, browser):
    authority.scope_of["echo"] = "admin"
    cli("login", authority.url, "--scope", "read")
    outcome = cli("call", authority.url, "echo", "text=hi")
    assert outcome.code == 5
    assert f"`mcpsync login {authority.url} --scope admin`" in outcome.err
    assert cli("login", authority.url, "--scope", "admin").code == 0
    assert browser.asked_for()["scope"] == "read admin"
    registered = [said["scope"] for name, said in authority.asked if name == "register"]
    assert registered == ["read", "read admin"]  # a client may not ask for more than that
    assert cli("call", authority.url, "echo", "text=hi").out == "hi\n"
    assert cli("login", authority.url, "--scope", "admin").out.startswith("You are signed in")


def test_a_client_registered_by_hand_signs_in_with_its_secret(cli, authority, browser, monkeypatch):
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    authority.add_client("by-hand", client_secret="s3cret", redirect_uris=[redirect_uri])
    monkeypatch.setenv("HAND", "s3cret")
    outcome = cli(
        *("login", authority.url, "--client-id", "by-hand", "--client-secret-env", "HAND"),
        *("--issuer", authority.issuer, "--port", urlsplit(redirect_uri).port),
    )
    assert outcome.code == 0, outcome
    assert "s3cret" not in outcome.out + outcome.err
    assert authority.count("register") == 0
    authority.end_access_tokens()
    assert cli("call", authority.url, "add", *ADD).code == 0
    assert cli("whoami", authority.url, "--json").json["client_id"] == "by-hand"


def test_another_client_signs_in_anew_and_nothing_of_the_configured_one_is_used(
    cli, authority, browser, tmp_path
):
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    port = urlsplit(redirect_uri).port
    authority.add_client("by-hand", redirect_uris=[redirect_uri])
    configured(
        tmp_path,
        f"""
        servers:
          crm:
            url: {authority.url}
            oauth: {{client_id: configured, client_secret: s3cret, issuer: '{authority.issuer}',
                     token_endpoint_auth_method: client_secret_post}}
        """,
    )
    cli("login", authority.url)
    outcome = cli("login", "crm", "--client-id", "by-hand", "--port", port, "--timeout", "10")
    assert outcome.out == "Signed in to crm.\n", outcome
    assert kept(authority.url).client.client_id == "by-hand"
    assert "s3cret" not in str(authority.asked)
    assert cli("call", "crm", "add", *ADD).out == "3\n"


def test_the_secret_may_be_asked_for(cli, authority, browser, monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "s3cret")
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    authority.add_client("by-hand", client_secret="s3cret", redirect_uris=[redirect_uri])
    outcome = cli(
        *("login", authority.url, "--client-id", "by-hand", "--client-secret-prompt"),
        *("--issuer", authority.issuer, "--port", urlsplit(redirect_uri).port),
    )
    assert outcome.code == 0, outcome


def test_an_interrupt_while_the_secret_is_asked_for_is_one_line(cli, authority, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("getpass.getpass", interrupted)
    words = ("--client-id", "c", "--client-secret-prompt", "--issuer", authority.issuer)
    outcome = cli("login", authority.url, *words)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "mcpsync: interrupted."


def test_a_configured_server_is_signed_in_to_as_configured(cli, authority, browser, tmp_path):
    redirect_uri = f"http://localhost:{free_port()}/signed/in"
    authority.add_client("configured", client_secret="s3cret", redirect_uris=[redirect_uri])
    configured(
        tmp_path,
        f"""
        servers:
          crm:
            url: {authority.url}
            oauth:
              client_id: configured
              client_secret: s3cret
              issuer: {authority.issuer}
              scope: read write
              redirect_uri: {redirect_uri}
        """,
    )
    outcome = cli("login", "crm")
    assert outcome.out == "Signed in to crm.\n"
    asked = browser.asked_for()
    assert asked["client_id"] == "configured"
    assert asked["scope"] == "read write"
    assert asked["redirect_uri"] == redirect_uri
    assert cli("call", "crm", "add", *ADD).out == "3\n"
    assert cli("call", authority.url, "add", *ADD).out == "3\n"


def test_where_an_application_comes_back_to_is_not_where_we_do(cli, authority, browser, tmp_path):
    oauth = "{redirect_uri: 'https://app.example.com/callback'}"
    configured(tmp_path, f"servers: {{crm: {{url: '{authority.url}', oauth: {oauth}}}}}")
    assert cli("login", "crm").code == 0
    assert browser.asked_for()["redirect_uri"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (("login", "stdio"), "only servers with an http:// or https:// URL"),
        (("logout", "stdio"), "only servers with an http:// or https:// URL"),
        (("whoami", "ws://127.0.0.1/"), "only servers with an http:// or https:// URL"),
        (("login", "--", "x"), "only servers with an http:// or https:// URL"),
        (("login",), "give a TARGET"),
        (("login", "open"), "its configuration says 'requires_oauth: false'"),
        (("login", "header"), "its configuration has an Authorization header"),
        (("login", "machine"), "'grant: client_credentials', which needs no user"),
        (("login", "crm", "--client-secret-env", "X"), "that of a --client-id"),
        (("login", "crm", "--client-id", "c", "--client-secret-env", "X"), "--issuer says"),
        (
            (
                "login",
                "crm",
                "--client-id",
                "c",
                "--issuer",
                "https://x",
                "--client-secret-env=NIX",
            ),
            "NIX is not set",
        ),
        (("login", "crm", "--port", "0"), "'--port'"),
        (("login", "crm", "--timeout", "0"), "'--timeout'"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_makes_no_store(cli, tmp_path, words, fragment):
    url = "url: 'https://example.com/mcp'"
    configured(
        tmp_path,
        f"""
        servers:
          stdio: {{command: x}}
          open: {{{url}, requires_oauth: false}}
          header: {{{url}, headers: {{authorization: Bearer x}}}}
          machine: {{{url}, oauth: {{grant: client_credentials, client_id: a, client_secret: b,
                     issuer: 'https://as.example.com'}}}}
          crm: {{{url}}}
        """,
    )
    cli(*words).assert_failed(2, fragment)
    assert not store_path().exists()


def test_a_port_that_is_taken_is_named(cli, authority, browser):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = cli("login", authority.url, "--port", port)
    assert outcome.code == 2
    assert f"port {port}" in outcome.err
    assert browser.opened == []


def test_a_browser_that_cannot_be_opened_is_no_error(cli, authority, monkeypatch):
    def fails(url):
        requests.get(authority.approve(url), timeout=10)
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "open", fails)
    assert cli("login", authority.url).code == 0


def test_a_token_that_the_server_does_not_take_is_an_error(cli, authority, browser):
    authority.say("/mcp", Page(401), 20)
    outcome = cli("login", authority.url)
    assert outcome.code == 5
    assert "the server does not take it" in outcome.err


def test_with_json_the_outcome_is_an_object(cli, authority, browser):
    said = cli("login", authority.url, "--json").json
    assert said["signed_in"] is True
    assert said["issuer"] == authority.issuer


# -- the other commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("tools",), ("info",), ("call", "add", *ADD)])
def test_who_is_not_signed_in_is_told_how_to_and_no_store_is_made(cli, authority, words):
    command, *rest = words
    outcome = cli(command, authority.url, *rest)
    outcome.assert_failed(5, "(401)", f"Sign in with `mcpsync login {authority.url}`.")
    assert not store_path().parent.exists()


def test_the_command_that_signs_in_names_the_configuration(cli, authority, tmp_path, monkeypatch):
    (tmp_path / "other one.yaml").write_text(f"servers: {{crm: {{url: '{authority.url}'}}}}")
    outcome = cli("tools", "crm", "--config", "other one.yaml")
    outcome.assert_failed(5, "`mcpsync login crm --config 'other one.yaml'`")
    monkeypatch.setenv("MCPSYNC_CONFIG", "other one.yaml")
    cli("tools", "crm").assert_failed(5, "`mcpsync login crm`")


def test_tokens_are_refreshed_by_themselves(cli, authority, browser):
    cli("login", authority.url)
    for _ in range(3):
        authority.end_access_tokens()
        assert cli("call", authority.url, "add", *ADD).out == "3\n"
    assert authority.count("token", grant_type="refresh_token") == 3
    assert len(browser.opened) == 1


def test_a_sign_in_that_is_over_is_said_and_none_is_begun(cli, authority, browser):
    cli("login", authority.url)
    authority.end_grants()
    outcome = cli("call", authority.url, "add", *ADD)
    outcome.assert_failed(5, "the sign-in is over.", f"`mcpsync login {authority.url}`")
    assert len(browser.opened) == authority.count("register") == 1
    cli("tools", authority.url).assert_failed(5, "(401)")


@pytest.mark.parametrize("more", ["requires_oauth: false", "headers: {authorization: Bearer x}"])
def test_a_configuration_that_has_no_users_sign_in_wins(cli, authority, browser, tmp_path, more):
    cli("login", authority.url)
    configured(tmp_path, f"servers: {{crm: {{url: '{authority.url}', {more}}}}}")
    outcome = cli("tools", "crm")
    outcome.assert_failed(5, "(401)")
    assert "login" not in outcome.err


@pytest.mark.parametrize("words", [("--bearer-env", "TOKEN"), ("-H", "authorization: Bearer x")])
def test_credentials_that_were_given_win(cli, authority, browser, monkeypatch, words):
    monkeypatch.setenv("TOKEN", "x")
    cli("login", authority.url)
    outcome = cli("tools", authority.url, *words)
    outcome.assert_failed(5, "(401)")
    assert "login" not in outcome.err


def test_tokens_go_to_the_server_that_they_are_for_and_to_no_other(cli, authority, browser, server):
    cli("login", authority.url)
    answer = cli("call", server.url, "whoami", "--json").json
    assert answer["structuredContent"]["authorization"] is None


def test_a_server_that_wants_a_password_is_not_signed_in_to(cli):
    with LocalServer() as server:
        server.close()
    basic = Page(401, headers=(("WWW-Authenticate", 'Basic realm="x"'),))
    with LocalServer(front=lambda request: basic) as server:
        outcome = cli("tools", server.url)
    outcome.assert_failed(5, "(401)")
    assert "login" not in outcome.err


def test_a_store_that_cannot_be_read_troubles_nobody_who_needs_none(cli, authority, server):
    store_path().parent.mkdir(parents=True)
    store_path().write_bytes(b"this is no database, " * 100)
    assert cli("call", server.url, "add", *ADD).out == "3\n"
    cli("tools", authority.url).assert_failed(5, "the store tokens.db cannot be used", "login")
    cli("whoami", authority.url).assert_failed(7, "the store tokens.db cannot be used")
    cli("login", authority.url).assert_failed(7, "the store tokens.db cannot be used")


def test_who_has_no_home_calls_servers_all_the_same(cli, authority, server, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert cli("call", server.url, "add", *ADD).out == "3\n"
    cli("tools", authority.url).assert_failed(5, "you have no home folder: MCPSYNC_STORE names")
    cli("login", authority.url).assert_failed(2, "you have no home folder")


def test_a_key_that_is_none_is_said(cli, authority, browser, server, monkeypatch):
    cli("login", authority.url)
    monkeypatch.setenv("MCPSYNC_STORE_KEY", "s3cret")
    assert cli("call", server.url, "add", *ADD).out == "3\n"
    outcome = cli("whoami", authority.url)
    outcome.assert_failed(2, "key")
    assert "s3cret" not in outcome.err


def test_a_key_that_is_not_there_is_said(cli, authority, browser, monkeypatch):
    monkeypatch.setenv("MCPSYNC_STORE_KEY", new_key())
    cli("login", authority.url)
    monkeypatch.delenv("MCPSYNC_STORE_KEY")
    cli("call", authority.url, "add", *ADD).assert_failed(5, "encrypted with a key")
    cli("whoami", authority.url).assert_failed(7, "encrypted with a key")


def test_a_folder_that_cannot_be_made_is_one_line(cli, authority, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    cli("login", authority.url).assert_failed(7, "cannot be made")


def test_an_application_that_signs_in_by_itself_does_so(cli, authority, tmp_path):
    authority.add_client("machine", client_secret="s3cret")
    configured(
        tmp_path,
        f"""
        servers:
          crm:
            url: {authority.url}
            oauth: {{grant: client_credentials, client_id: machine, client_secret: s3cret,
                     issuer: '{authority.issuer}'}}
        """,
    )
    assert cli("call", "crm", "add", *ADD).out == "3\n"
    assert not store_path().exists()


# -- logout and whoami ----------------------------------------------------------------------------


def test_signing_out_revokes_the_tokens_and_forgets_them(cli, authority, browser):
    cli("login", authority.url)
    outcome = cli("logout", authority.url)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"Signed out of {authority.url}. {authority.issuer} has revoked the tokens.\n"
    )
    assert authority.count("revoke", token_type_hint="refresh_token") == 1
    assert authority.count("revoke", token_type_hint="access_token") == 1
    assert kept(authority.url) is None
    cli("tools", authority.url).assert_failed(5, "(401)")


def test_where_tokens_cannot_be_revoked_that_is_said(cli, authority, browser):
    authority.server_metadata["revocation_endpoint"] = None
    cli("login", authority.url)
    assert "cannot revoke tokens" in cli("logout", authority.url).out
    assert kept(authority.url) is None


def test_where_tokens_are_not_revoked_they_are_forgotten_all_the_same(cli, authority, browser):
    cli("login", authority.url)
    authority.say("/revoke", Page(503), 2)
    outcome = cli("logout", authority.url)
    assert (outcome.code, outcome.err) == (0, "")
    assert "has not revoked every token" in outcome.out
    assert kept(authority.url) is None


def test_what_cannot_be_read_is_forgotten_too(cli, authority, browser, monkeypatch):
    monkeypatch.setenv("MCPSYNC_STORE_KEY", new_key())
    cli("login", authority.url)
    monkeypatch.setenv("MCPSYNC_STORE_KEY", new_key())
    assert "could not be read" in cli("logout", authority.url).out
    assert kept(authority.url) is None


def test_to_sign_out_where_nobody_is_signed_in_is_no_error(cli, authority):
    outcome = cli("logout", authority.url)
    assert (outcome.code, outcome.out) == (0, f"Nobody is signed in to {authority.url}.\n")
    assert not store_path().exists()
    said = cli("logout", authority.url, "--json").json
    assert said == {"server": authority.url, "signed_out": False, "revoked": False}


def test_who_one_is_is_said_without_asking_anybody(cli, authority, browser):
    cli("login", authority.url, "--scope", "read write")
    before = len(authority.asked), len(authority.mcp.requests)
    outcome = cli("whoami", authority.url)
    assert (outcome.code, outcome.err) == (0, "")
    facts = dict(line.split("\t") for line in outcome.out.splitlines())
    assert facts["server"] == authority.url
    assert facts["issuer"] == authority.issuer
    assert facts["client"] in authority.clients
    assert facts["scopes"] == "read write"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, refreshed by itself after that", facts["until"]
    )
    assert (len(authority.asked), len(authority.mcp.requests)) == before


def test_what_an_id_token_says_is_shown_as_unverified(cli, authority, browser):
    cli("login", authority.url)
    claims = {"sub": "ada", "name": "Ada\x1b[31m", "nonce": "n0nce"}
    id_token = jwt.encode(claims, "a key that nobody knows of, 32 bytes", "HS256")
    keep(
        authority.url,
        lambda grant: dataclasses.replace(
            grant, tokens=dataclasses.replace(grant.tokens, id_token=id_token)
        ),
    )
    outcome = cli("whoami", authority.url)
    assert "sub ada, name Ada\\u001b[31m (as the id token says; nobody verified it)" in outcome.out
    said = cli("whoami", authority.url, "--json")
    assert said.json["unverified_claims"] == {"sub": "ada", "name": "Ada\x1b[31m"}
    assert id_token not in said.out


def test_who_is_not_signed_in_is_nobody_with_exit_code_1(cli, authority):
    outcome = cli("whoami", authority.url)
    assert (outcome.code, outcome.out) == (1, f"Nobody is signed in to {authority.url}.\n")
    outcome = cli("whoami", authority.url, "--json")
    assert outcome.code == 1
    assert outcome.json == {"server": authority.url, "signed_in": False}
    assert not store_path().exists()
