"""Servers whose tokens nobody signs in for, as a manager is told of them by configuration."""

import logging
import threading
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpsync import MCPManager
from mcpsync.auth import ClientCredentialsGrant
from mcpsync.config import parse_server
from mcpsync.connections import Key
from mcpsync.connections.machines import Machines
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    MCPSyncError,
    OAuthError,
    RefusedError,
)
from mcpsync.testing import FakeClock
from support.machines import MachineAuthority
from support.threads import Gate, outcome, start

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
SUM = {"sum": 3}
URL = "https://mcp.example/mcp"


@pytest.fixture
def authority():
    with MachineAuthority(registration=False, era="modern") as made:
        made.add_client("robot", client_secret="robot-s3cret")
        made.add_client(
            "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
        )
        yield made


def robot(authority, **more):
    return {
        "grant": "client_credentials",
        "client_id": "robot",
        "client_secret": "robot-s3cret",
        "issuer": authority.issuer,
        **more,
    }


def employee(authority, **more):
    return {
        "grant": "enterprise_managed",
        "issuer": authority.issuer,
        "client_id": "robot",
        "client_secret": "robot-s3cret",
        "idp_token_url": authority.idp,
        "idp_client_id": "idp-app",
        "idp_client_secret": "idp-s3cret",
        **more,
    }


def manager_of(authority, said, **options):
    return MCPManager({"crm": {"url": authority.url, "oauth": said}}, **options)


def add(manager, **options):
    return manager.call_tool("crm", "add", {"a": 1, "b": 2}, **options).structured_content


def subjects(authority):
    """Whose ID tokens were exchanged, in order."""
    exchanged = [fields for name, fields in authority.asked if name == "idp"]
    return [authority.id_tokens.get(fields["subject_token"]) for fields in exchanged]


# -- for itself -----------------------------------------------------------------------------------


def test_all_users_and_the_application_share_one_token(authority):
    with manager_of(authority, robot(authority)) as manager:
        assert [add(manager), add(manager, user="ada"), add(manager, user="bob")] == [SUM] * 3
    assert authority.tokens() == 1


def test_users_who_are_the_first_at_the_same_time_share_one_as_well(authority):
    gate = Gate()
    authority.say("/token", gate)
    with manager_of(authority, robot(authority)) as manager:
        calls = [start(lambda n=n: add(manager, user=f"u{n}")) for n in range(8)]
        gate.wait_reached()
        gate.open()
        assert [outcome(call) for call in calls] == [SUM] * 8
    assert authority.tokens() == 1


def test_what_gets_tokens_is_made_once_however_many_threads_come_first(monkeypatch):
    """Each of them sees that there is none, and has made one, before any of them can keep it."""
    said = {"grant": "client_credentials", "client_id": "a", "client_secret": "b"}
    config = parse_server("crm", {"url": URL, "oauth": {**said, "issuer": "https://as.example"}})
    together = threading.Barrier(4)
    true = ClientCredentialsGrant.authorizer_for

    def all_at_once(*args, **options):
        together.wait(10)
        return true(*args, **options)

    monkeypatch.setattr(ClientCredentialsGrant, "authorizer_for", all_at_once)
    machines = Machines(FakeClock())
    key = Key("ada", "crm")
    made = [start(machines.authorizer_for, key, config, config.oauth) for _ in range(4)]
    assert len({id(outcome(each)) for each in made}) == 1


def test_what_the_configuration_says_is_what_is_asked(authority):
    said = robot(
        authority, scope="read write", token_endpoint_auth_method="client_secret_basic", dpop=True
    )
    authority.nonces = {"as": "a1", "mcp": "m1"}
    with manager_of(authority, said) as manager:
        assert add(manager) == SUM
    assert authority.count("token", scope="read write", resource=authority.url) == 1
    assert [server for server, _ in authority.proofs][:3] == ["as", "as", "mcp"]


def test_a_token_url_instead_of_an_issuer_leaves_nothing_to_discover(authority):
    said = robot(authority, issuer=None, token_url=f"{authority.issuer}/token")
    with manager_of(authority, said) as manager:
        assert add(manager) == SUM
    assert {path for path in authority.paths if path != "mcp /mcp"} == {"as /token"}


def test_a_program_with_a_key_signs_who_it_is(authority):
    said = {
        "grant": "client_credentials",
        "client_id": "signer",
        "private_key": PEM,
        "signing_algorithm": "ES256",
        "issuer": authority.issuer,
    }
    with manager_of(authority, said) as manager:
        assert add(manager, user="ada") == SUM
    assert authority.count("token", grant_type="client_credentials") == 1


def test_a_secret_is_not_sent_to_whom_the_server_names_instead(authority):
    said = robot(authority, issuer="https://as.example")
    with manager_of(authority, said) as manager, pytest.raises(OAuthError) as caught:
        add(manager)
    assert caught.value.error == "issuer_not_named"
    assert authority.tokens() == 0


@pytest.mark.parametrize("by_file", [True, False])
def test_a_workload_shows_the_assertion_of_its_platform(authority, tmp_path, by_file):
    file, clock = tmp_path / "token", FakeClock()
    file.write_text("jwt-1\n")
    authority.workloads |= {"jwt-1", "jwt-2"}
    given = {"assertion_file": str(file)} if by_file else {"assertion": "jwt-1"}
    said = {"grant": "workload_identity", "issuer": authority.issuer, **given}
    with manager_of(authority, said, clock=clock) as manager:
        assert add(manager) == SUM
        file.write_text("jwt-2\n")
        clock.advance(3600)
        assert add(manager) == SUM
    shown = [fields["assertion"] for name, fields in authority.asked if name == "token"]
    assert shown == ["jwt-1", "jwt-2" if by_file else "jwt-1"]


def test_a_server_that_is_configured_anew_gets_a_token_anew(authority):
    with manager_of(authority, robot(authority)) as manager:
        add(manager)
        config = {"url": authority.url, "oauth": robot(authority, scope="write")}
        manager.registry.update_server("crm", config)
        assert add(manager) == SUM
    assert authority.count("token", scope="write") == 1
    assert authority.tokens() == 2


def test_a_users_own_server_may_name_nobody_on_this_machine(authority):
    config = {"url": authority.url, "oauth": robot(authority), "source": "user"}
    with MCPManager({"crm": config}) as manager, pytest.raises(RefusedError):
        add(manager, user="ada")
    assert authority.tokens() == 0


# -- for employees --------------------------------------------------------------------------------


def test_each_employee_has_a_token_of_his_own(authority):
    tokens = {name: authority.add_user(name) for name in ("ada", "bob")}
    with manager_of(authority, employee(authority), id_token_of=tokens.get) as manager:
        for name in ("ada", "bob", "ada"):
            assert add(manager, user=name) == SUM
    assert subjects(authority) == ["ada", "bob"]
    sent = [
        each.headers["authorization"]
        for each in authority.mcp.requests
        if each.rpc_method == "tools/call" and "authorization" in each.headers
    ]
    assert sent[0] == sent[2] != sent[1]


def test_many_employees_at_once_do_not_get_each_others_tokens(authority):
    tokens = {f"u{n}": authority.add_user(f"u{n}") for n in range(8)}
    with manager_of(authority, employee(authority), id_token_of=tokens.get) as manager:
        calls = [start(lambda n=n: add(manager, user=f"u{n}")) for n in range(8) for _ in range(3)]
        assert [outcome(call) for call in calls] == [SUM] * 24
    assert sorted(subjects(authority)) == sorted(tokens)


def test_the_id_token_of_the_moment_is_what_is_exchanged(authority):
    clock = FakeClock()
    tokens = {"ada": authority.add_user("ada")}
    old = tokens["ada"]
    options = {"id_token_of": tokens.get, "clock": clock, "idle_timeout": 10_000}
    with manager_of(authority, employee(authority), **options) as manager:
        add(manager, user="ada")
        tokens["ada"] = authority.add_user("ada")
        del authority.id_tokens[old]
        clock.advance(3600)
        assert add(manager, user="ada") == SUM
    assert subjects(authority) == [None, "ada"]


def test_who_has_no_id_token_is_told_so_and_nothing_is_sent(authority):
    with manager_of(authority, employee(authority), id_token_of=lambda _: None) as manager:
        with pytest.raises(OAuthError, match="there is no ID token of this user") as caught:
            add(manager, user="ada")
        assert (caught.value.error, caught.value.user_id) == ("id_token_missing", "ada")
        assert not caught.value.maybe_executed
        assert authority.paths == []


def test_who_gets_an_id_token_later_is_not_kept_waiting(authority):
    tokens = {}
    with manager_of(authority, employee(authority), id_token_of=tokens.get) as manager:
        for _ in range(5):  # more often than a breaker would have it
            with pytest.raises(OAuthError):
                add(manager, user="ada")
        tokens["ada"] = authority.add_user("ada")
        assert add(manager, user="ada") == SUM


def test_without_anybody_who_knows_id_tokens_nothing_is_sent(authority):
    with manager_of(authority, employee(authority)) as manager:
        with pytest.raises(ConfigurationError, match="id_token_of="):
            add(manager, user="ada")
        assert authority.paths == []


def test_the_application_itself_is_nobodys_employee(authority):
    with manager_of(authority, employee(authority), id_token_of=lambda _: "x") as manager:
        with pytest.raises(MCPSyncError):
            add(manager)
        assert authority.paths == []


def test_whom_the_identity_provider_refuses_is_told_so(authority):
    with manager_of(authority, employee(authority), id_token_of=lambda _: "forged") as manager:
        with pytest.raises(OAuthError) as caught:
            add(manager, user="ada")
        assert caught.value.error == "invalid_grant"
        assert "forged" not in str(caught.value)
        assert authority.tokens() == 0


def test_where_somebody_stands_is_known_without_asking(authority):
    servers = {
        "robots": {"url": authority.url, "oauth": robot(authority)},
        "crm": {"url": authority.url, "oauth": employee(authority)},
    }
    with MCPManager(servers, id_token_of={"ada": "x"}.get) as manager:
        assert manager.authorization_status("robots", user="bob").is_authorized
        assert manager.authorization_status("crm", user="ada").is_authorized
        assert not manager.authorization_status("crm", user="bob").is_authorized
    assert authority.paths == []


def test_an_employee_who_is_signed_out_gets_a_new_token_when_he_comes_back(authority):
    tokens = {"ada": authority.add_user("ada")}
    with manager_of(authority, employee(authority), id_token_of=tokens.get) as manager:
        add(manager, user="ada")
        assert not manager.revoke("crm", user="ada")
        assert add(manager, user="ada") == SUM
    assert subjects(authority) == ["ada", "ada"]


def test_a_server_that_turns_every_token_down_is_told_as_that(authority):
    authority.turns_down = True
    with manager_of(authority, robot(authority)) as manager:
        with pytest.raises(AuthorizationRequired) as caught:
            add(manager, user="ada")
        assert caught.value.authorization_url is None


def test_no_secret_is_in_a_log_or_an_error(authority, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = {"ada": authority.add_user("ada"), "bob": "id-forged"}
    seen = []
    for said in (robot(authority), robot(authority, client_secret="wrong-1"), employee(authority)):
        with manager_of(authority, said, id_token_of=tokens.get) as manager:
            for user in ("ada", "bob"):
                try:
                    add(manager, user=user)
                except MCPSyncError as error:
                    seen += [repr(error), "".join(traceback.format_exception(error))]
            seen += [repr(manager), repr(manager.registry.get_server_config("crm"))]
    text = "\n".join([*seen, caplog.text])
    hidden = {*authority.secrets, "wrong-1", "id-forged", "idp-s3cret"}
    assert [secret for secret in hidden if secret in text] == []
    assert len(hidden) >= 10


class ListeningAuthority(MachineAuthority):
    """One that notes a header of every request to it."""

    def _answer(self, request):
        self.seen = [*getattr(self, "seen", []), request.headers.get("x-tenant")]
        return super()._answer(request)


def test_headers_for_authorization_servers_go_to_them_and_to_nobody_else():
    with ListeningAuthority(registration=False, era="modern") as authority:
        authority.add_client("robot", client_secret="robot-s3cret")
        config = {
            "url": authority.url,
            "oauth": robot(authority),
            "oauth_headers": {"X-Tenant": "ours"},
        }
        with MCPManager({"crm": config}) as manager:
            assert add(manager) == SUM
        assert set(authority.seen) == {"ours"}
        calls = [request for request in authority.mcp.requests if request.rpc_method]
        assert all("x-tenant" not in request.headers for request in calls)
