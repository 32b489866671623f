"""Tokens that no user signs in for: machine clients, workloads, employees; A12, A15, A22, A23."""

import json
import logging
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpsync import Cancellation, Client
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import ClientCredentialsGrant, ClientKey, EnterpriseManaged, WorkloadIdentity
from mcpsync.auth.machines import DOUBTFUL
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectionLost,
    InsufficientScope,
    MCPSyncError,
    OAuthError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.testing import FakeClock, LocalServer, Page
from support.authority import RESOURCE, SERVER
from support.machines import EXCHANGE, ID_JAG, ID_TOKEN, JWT_BEARER, MachineAuthority
from support.processes import forget_as_forked
from support.threads import Gate, outcome, start
from transports import peer

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
SUM = {"sum": 3}


@pytest.fixture
def authority():
    with MachineAuthority(registration=False, era="modern") as made:
        made.add_client("robot", client_secret="robot-s3cret")
        yield made


@pytest.fixture
def clock():
    return FakeClock()


def robot(**options):
    return ClientCredentialsGrant("robot", "robot-s3cret", **options)


def add(client, **options):
    return client.call_tool("add", {"a": 1, "b": 2}, **options).structured_content


def used(authority, auth, times=1):
    """Call a tool a few times; return what came of the last one."""
    with Client(authority.url, auth=auth) as client:
        for _ in range(times):
            found = add(client)
    return found


def refused(authority, auth):
    """Return the error that a call comes to."""
    with Client(authority.url, auth=auth) as client, pytest.raises(MCPSyncError) as caught:
        add(client)
    return caught.value


def asked(authority, endpoint="token"):
    """Return the fields of each request to an endpoint."""
    return [fields for name, fields in authority.asked if name == endpoint]


def calls(authority):
    """Return what came to the MCP server itself, not to its metadata."""
    return [each for each in authority.mcp.requests if each.path == "/mcp"]


# -- client credentials ---------------------------------------------------------------------------


def test_a_program_gets_a_token_for_the_server_and_sends_it_with_every_request(authority):
    assert used(authority, robot(), times=3) == SUM
    assert asked(authority) == [{"grant_type": "client_credentials", "resource": authority.url}]
    assert authority.headers[0]["authorization"].startswith("Basic ")
    first, *sent = [each.headers.get("authorization") for each in calls(authority)]
    assert first is None
    assert len(sent) >= 3
    assert len(set(sent)) == 1
    assert all("access" not in path for path in authority.paths)


def test_where_basic_is_not_taken_the_secret_is_posted(authority):
    authority.server_metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    authority.clients["robot"]["token_endpoint_auth_method"] = "client_secret_post"
    assert used(authority, robot()) == SUM
    [fields] = asked(authority)
    assert (fields["client_id"], fields["client_secret"]) == ("robot", "robot-s3cret")
    assert "authorization" not in authority.headers[0]


def test_where_nothing_is_said_the_secret_is_shown_by_basic(authority):
    authority.server_metadata["token_endpoint_auth_methods_supported"] = None
    assert used(authority, robot()) == SUM


def test_what_the_operator_says_wins_over_what_the_server_prefers(authority):
    authority.clients["robot"]["token_endpoint_auth_method"] = "client_secret_post"
    assert used(authority, robot(token_endpoint_auth_method="client_secret_post")) == SUM


def test_a_program_with_a_key_signs_who_it_is(authority):
    authority.add_client(
        "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
    )
    auth = ClientCredentialsGrant("signer", client_key=ClientKey(PEM, "ES256"))
    # the authority compares issuer, subject and audience with the clock of this machine
    assert used(authority, auth) == SUM
    [fields] = asked(authority)
    assert fields["grant_type"] == "client_credentials"
    assert "client_secret" not in fields


def test_a_server_that_takes_no_way_we_know_is_shown_no_secret(authority):
    authority.server_metadata["token_endpoint_auth_methods_supported"] = ["tls_client_auth"]
    error = refused(authority, robot())
    assert isinstance(error, OAuthError)
    assert error.error == "auth_method_unsupported"
    assert authority.tokens() == 0


@pytest.mark.parametrize(
    "who",
    [
        {"client_id": "robot"},
        {"client_id": "robot", "client_secret": ""},
        {"client_id": "", "client_secret": "s"},
        {"client_id": "robot", "client_secret": "s", "client_key": ClientKey(PEM)},
    ],
)
def test_credentials_are_a_secret_or_a_key(who):
    with pytest.raises(ConfigurationError, match="client credentials are"):
        ClientCredentialsGrant(**who)


def test_a_method_that_nobody_knows_is_refused_at_once():
    with pytest.raises(OAuthError, match="a way we do not know"):
        robot(token_endpoint_auth_method="magic")


def test_what_is_asked_for_is_what_the_server_lists_but_for_staying_signed_in(authority):
    authority.resource_metadata["scopes_supported"] = ["read", "write"]
    authority.server_metadata["scopes_supported"] = ["read", "write", "offline_access"]
    used(authority, robot())
    assert asked(authority)[0]["scope"] == "read write"


def test_what_the_operator_asks_for_wins_over_what_the_server_lists(authority):
    authority.resource_metadata["scopes_supported"] = ["read", "write"]
    used(authority, robot(scopes=["read"]))
    assert asked(authority)[0]["scope"] == "read"


def test_what_a_token_does_not_reach_is_not_asked_for_again(authority):
    authority.scope_of["add"] = "write"
    error = refused(authority, robot(scopes=["read"]))
    assert isinstance(error, InsufficientScope)
    assert error.required_scopes == ("write",)
    assert authority.tokens() == 1


def test_a_secret_is_not_shown_to_another_authorization_server_than_was_named(authority):
    error = refused(authority, robot(issuer="https://as.example"))
    assert isinstance(error, OAuthError)
    assert error.error == "issuer_not_named"
    assert authority.tokens() == 0


def test_with_the_token_endpoint_nothing_is_discovered(authority):
    assert used(authority, robot(token_url=f"{authority.issuer}/token")) == SUM
    assert [path for path in authority.paths if path != "mcp /mcp"] == ["as /token"]
    assert asked(authority)[0]["resource"] == authority.url


def test_servers_that_choke_on_it_are_not_told_whom_the_token_is_for(authority):
    used(authority, robot(send_resource=False))
    assert "resource" not in asked(authority)[0]


def test_headers_for_getting_tokens_go_with_no_request_of_a_tool(authority):
    used(authority, robot(headers={"X-Tenant": "acme"}))
    assert authority.headers[0]["x-tenant"] == "acme"
    assert [each for each in calls(authority) if "x-tenant" in each.headers] == []


def test_where_nobody_says_who_issues_tokens_no_secret_is_sent(authority):
    authority.say("/mcp", Page(401))
    for path in (f"{RESOURCE}/mcp", RESOURCE):
        authority.say(path, Page(404))
    error = refused(authority, robot())
    assert isinstance(error, OAuthError)
    assert "nobody says who issues tokens for this server." in str(error)
    assert authority.tokens() == 0


def test_a_server_of_2025_03_26_is_its_own_authorization_server(authority):
    """Requirement A24; what it is called there is the URL that it was asked at."""
    here = authority.url.removesuffix("/mcp")
    authority.say("/mcp", Page(401))
    for path in (f"{RESOURCE}/mcp", RESOURCE):
        authority.say(path, Page(404))
    authority.say(
        SERVER, Page.json({"issuer": here, "token_endpoint": f"{authority.issuer}/token"})
    )
    assert used(authority, robot()) == SUM
    assert asked(authority) == [{"grant_type": "client_credentials", "resource": authority.url}]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "https://10.0.0.7/token"},
        {"token_endpoint": None},
    ],
)
def test_a_secret_is_shown_to_nobody_whom_hostile_metadata_names(authority, metadata):
    authority.server_metadata |= metadata
    error = refused(authority, robot())
    assert isinstance(error, OAuthError | RefusedError)
    assert authority.tokens() == 0


# -- for how long ---------------------------------------------------------------------------------


def test_a_token_that_is_nearly_over_is_replaced_before_it_is_sent(authority, clock):
    authority.lifetime = 3600
    with Client(authority.url, auth=robot(clock=clock)) as client:
        add(client)
        clock.advance(3569)
        add(client)
        assert authority.tokens() == 1
        clock.advance(2)
        turned_down = authority.paths.count("mcp /mcp")
        add(client)
        assert authority.tokens() == 2
        assert authority.paths.count("mcp /mcp") == turned_down + 1  # not one was turned down


def test_a_token_that_lasts_seconds_only_is_not_replaced_at_each_request(authority, clock):
    authority.lifetime = 20
    with Client(authority.url, auth=robot(clock=clock)) as client:
        for _ in range(3):
            add(client)
        assert authority.tokens() == 1
        clock.advance(16)
        add(client)
        assert authority.tokens() == 2


def test_a_token_that_is_over_at_once_serves_the_request_that_it_was_had_for(authority, clock):
    authority.say("/token", lambda: clock.advance(3600), times=9)
    with Client(authority.url, auth=robot(clock=clock)) as client:
        add(client)
        add(client)
    assert authority.tokens() == len(calls(authority)) - 1  # of which the first was turned down


def test_a_token_of_which_nothing_is_said_is_used_until_it_is_turned_down(authority, clock):
    authority.lifetime = None
    with Client(authority.url, auth=robot(clock=clock)) as client:
        add(client)
        clock.advance(10 * 365 * 24 * 3600)
        add(client)
        assert authority.tokens() == 1


def test_a_token_that_is_turned_down_is_replaced_once(authority, clock):
    with Client(authority.url, auth=robot(clock=clock)) as client:
        add(client)
        clock.advance(DOUBTFUL + 1)
        authority.end_access_tokens()
        assert add(client) == SUM
        assert authority.tokens() == 2


def test_a_server_that_turns_every_token_down_does_not_make_us_ask_for_ever(authority, clock):
    authority.turns_down = True
    with Client(authority.url, auth=robot(clock=clock)) as client:
        for _ in range(3):
            with pytest.raises(AuthorizationRequired, match="401"):
                add(client)
        # one for the first request, and one that took its place when it was turned down
        assert authority.tokens() == 2
        clock.advance(DOUBTFUL)
        with pytest.raises(AuthorizationRequired):
            add(client)
        assert authority.tokens() == 3
        authority.turns_down = False
        assert add(client) == SUM
        assert authority.tokens() == 3


def test_a_token_that_was_taken_and_then_ended_is_replaced_however_new_it_is(authority, clock):
    with Client(authority.url, auth=robot(clock=clock)) as client:
        for number in range(1, 4):
            add(client)
            assert authority.tokens() == number
            authority.end_access_tokens()


def test_the_same_token_once_more_is_not_tried_once_more(authority, clock):
    authority.same_token = "access-for-all"
    with Client(authority.url, auth=robot(clock=clock)) as client:
        add(client)
        clock.advance(DOUBTFUL)
        authority.turns_down = True
        before = authority.paths.count("mcp /mcp")
        with pytest.raises(AuthorizationRequired):
            add(client)
        assert authority.paths.count("mcp /mcp") == before + 1


def test_who_is_refused_a_token_asks_once_for_each_request(authority):
    auth = ClientCredentialsGrant("robot", "wrong")
    error = refused(authority, auth)
    assert isinstance(error, OAuthError)
    assert error.error == "invalid_client"
    assert not error.maybe_executed
    assert authority.tokens() == 1


@pytest.mark.parametrize("page", [Page(200, b"<h1>"), Page(302), Page.json([]), Page.json({})])
@pytest.mark.parametrize("path", [SERVER, "/token"])
def test_what_an_authorization_server_answers_is_not_taken_for_the_servers_answer(
    authority, page, path
):
    authority.say(path, page)
    with Client(authority.url, auth=robot()) as client:
        with pytest.raises(OAuthError) as caught:
            add(client)
        assert not caught.value.maybe_executed
        assert add(client) == SUM
    methods = {each.rpc_method for each in calls(authority)}
    assert "tools/call" in methods
    assert "initialize" not in methods  # nobody took it for an older server


@pytest.mark.parametrize("rest", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", b""])
def test_a_tool_was_not_run_if_asking_for_a_token_was_cut_off(authority, clock, rest):
    authority.accept("access-1")
    good = {"access_token": "access-1", "token_type": "Bearer", "expires_in": 3600}

    def first_well_then_cut(server):
        server.read()
        server.send(peer.response(json.dumps(good).encode()) if server.number == 1 else rest)

    with peer.RawServer(first_well_then_cut) as server:
        auth = robot(token_url=server.url, clock=clock)
        with Client(authority.url, auth=auth) as client:
            assert add(client) == SUM
            clock.advance(3600)
            with pytest.raises(ConnectionLost) as caught:
                add(client)
    assert not caught.value.maybe_executed


# -- many threads, little time --------------------------------------------------------------------


def at_once(count, call):
    """Run *call* in many threads; return what came of each."""
    return [outcome(each) for each in [start(call) for _ in range(count)]]


def test_twenty_threads_that_find_no_token_ask_for_one(authority, clock):
    gate = Gate()
    authority.say("/token", gate)
    auth = robot(clock=clock)
    with Client(authority.url, auth=auth) as client:
        calls = [start(add, client) for _ in range(20)]
        gate.wait_reached()
        gate.open()
        assert [outcome(call) for call in calls] == [SUM] * 20
        assert authority.tokens() == 1
        clock.advance(3600)
        assert at_once(20, lambda: add(client)) == [SUM] * 20
        assert authority.tokens() == 2
        clock.advance(DOUBTFUL)
        authority.end_access_tokens()
        assert at_once(20, lambda: add(client)) == [SUM] * 20
        assert authority.tokens() == 3


def test_who_has_no_more_time_goes_and_the_others_have_their_token(authority):
    gate = Gate()
    authority.say("/token", gate)
    cancel = Cancellation()
    with Client(authority.url, auth=robot()) as client:
        patient = start(add, client)
        gate.wait_reached()
        hasty = start(lambda: add(client, timeout=0.2))
        cancelled = start(lambda: add(client, cancel=cancel))
        assert isinstance(outcome(hasty), RequestTimeout)
        cancel.cancel()
        assert isinstance(outcome(cancelled), RequestCancelled)
        gate.open()
        assert outcome(patient) == SUM
    assert authority.tokens() == 1


def test_the_timeout_of_a_call_bounds_asking_for_a_token(authority):
    gate = Gate()
    authority.say("/token", gate)
    with Client(authority.url, auth=robot()) as client:
        with pytest.raises(RequestTimeout) as caught:
            add(client, timeout=0.3)
        assert not caught.value.maybe_executed
        gate.open()
        assert add(client) == SUM


def test_a_call_that_is_cancelled_does_not_wait_for_a_token(authority):
    gate, cancel = Gate(), Cancellation()
    authority.say("/token", gate)
    with Client(authority.url, auth=robot()) as client:
        call = start(lambda: add(client, cancel=cancel))
        gate.wait_reached()
        cancel.cancel()
        assert isinstance(outcome(call), RequestCancelled)
        gate.open()


def test_a_forked_child_waits_for_no_thread_of_its_parent(authority):
    gate = Gate()
    authority.say("/token", gate)
    authorizer = robot().authorizer_for(authority.url, None)
    with Client(authority.url, auth=Fixed(authorizer)) as client:
        lost = start(add, client)
        gate.wait_reached()
        forget_as_forked(authorizer)
        with Client(authority.url, auth=Fixed(authorizer)) as childs:
            assert outcome(start(add, childs)) == SUM
        gate.open()
        assert outcome(lost) == SUM


class Fixed:
    """Hands out an authorizer that was made before."""

    def __init__(self, authorizer):
        self._authorizer = authorizer

    def authorizer_for(self, url, session):
        return self._authorizer


# -- workloads ------------------------------------------------------------------------------------


def test_a_workload_shows_the_assertion_of_its_platform(authority):
    authority.workloads.add("jwt-1")
    assert used(authority, WorkloadIdentity("jwt-1")) == SUM
    assert asked(authority) == [
        {"grant_type": JWT_BEARER, "assertion": "jwt-1", "resource": authority.url}
    ]
    assert "authorization" not in authority.headers[0]


def test_a_workload_may_have_a_client_id(authority):
    authority.add_client("batch")
    authority.workloads.add("jwt-1")
    used(authority, WorkloadIdentity("jwt-1", "batch"))
    assert asked(authority)[0]["client_id"] == "batch"


def test_the_assertion_is_looked_up_each_time_a_token_is_asked_for(authority, clock, tmp_path):
    file = tmp_path / "token"
    authority.workloads |= {"jwt-1", "jwt-2"}
    for assertion in (file, lambda: file.read_text()):
        file.write_text("jwt-1\n")
        authority.asked.clear()
        with Client(authority.url, auth=WorkloadIdentity(assertion, clock=clock)) as client:
            add(client)
            file.write_text("jwt-2\n")
            clock.advance(3600)
            add(client)
        assert [fields["assertion"] for fields in asked(authority)] == ["jwt-1", "jwt-2"]


@pytest.mark.parametrize("kind", ["no file", "a folder", "not text", "nothing", "blank", "None"])
def test_without_an_assertion_nobody_is_asked_for_a_token(authority, tmp_path, kind):
    (tmp_path / "bytes").write_bytes(b"\xff\xfes3cret")
    assertion = {
        "no file": tmp_path / "none",
        "a folder": tmp_path,
        "not text": tmp_path / "bytes",
        "nothing": "",
        "blank": lambda: " \n",
        "None": lambda: None,
    }[kind]
    error = refused(authority, WorkloadIdentity(assertion))
    assert isinstance(error, ConfigurationError)
    assert "s3cret" not in "".join(traceback.format_exception(error))
    assert authority.tokens() == 0


@pytest.mark.parametrize("word", ["invalid_grant", "invalid_scope", "unauthorized_client"])
def test_why_a_workload_is_refused_is_told_and_no_other_grant_is_tried(authority, word):
    authority.say("/token", Page.json({"error": word}, 400))
    error = refused(authority, WorkloadIdentity("jwt-1"))
    assert isinstance(error, OAuthError)
    assert error.error == word
    assert authority.tokens() == 1


# -- employees ------------------------------------------------------------------------------------


def employee(authority, id_token, **options):
    return EnterpriseManaged(
        id_token,
        **{
            "idp_token_endpoint": authority.idp,
            "idp_client_id": "idp-app",
            "idp_client_secret": "idp-s3cret",
            "client_id": "robot",
            "client_secret": "robot-s3cret",
            **options,
        },
    )


def test_an_employees_id_token_becomes_an_assertion_and_that_a_token(authority):
    id_token = authority.add_user("ada")
    authority.resource_metadata["scopes_supported"] = ["read"]
    assert used(authority, employee(authority, id_token), times=2) == SUM
    assert asked(authority, "idp") == [
        {
            "grant_type": EXCHANGE,
            "requested_token_type": ID_JAG,
            "audience": authority.issuer,
            "resource": authority.url,
            "scope": "read",
            "subject_token": id_token,
            "subject_token_type": ID_TOKEN,
        }
    ]
    [fields] = asked(authority)
    assertion = fields.pop("assertion")
    assert assertion.startswith("jag-")
    assert fields == {"grant_type": JWT_BEARER, "resource": authority.url, "scope": "read"}
    assert authority.headers[0]["authorization"].startswith("Basic ")


def test_the_id_token_goes_to_the_identity_provider_and_to_nobody_else(authority):
    id_token = authority.add_user("ada")
    used(authority, employee(authority, id_token))
    headers = [each.headers for each in authority.mcp.requests] + authority.headers
    assert [each for each in map(str, [*headers, *asked(authority)]) if id_token in each] == []


def test_an_identity_provider_may_know_public_clients(authority):
    authority.idp_clients["public"] = None
    auth = employee(
        authority, authority.add_user("ada"), idp_client_id="public", idp_client_secret=None
    )
    assert used(authority, auth) == SUM
    assert asked(authority, "idp")[0]["client_id"] == "public"


def test_an_employee_may_come_by_a_client_with_a_key(authority):
    authority.add_client(
        "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
    )
    key = ClientKey(PEM, "ES256")
    more = {"client_id": "signer", "client_secret": None, "client_key": key}
    assert used(authority, employee(authority, authority.add_user("ada"), **more)) == SUM


def test_a_client_has_a_secret_or_a_key_and_not_both(authority):
    with pytest.raises(ConfigurationError, match="a client_secret or a client_key"):
        employee(authority, "x", client_key=ClientKey(PEM))


@pytest.mark.parametrize("id_token", ["", " ", lambda: None, lambda: ""])
def test_without_an_id_token_nothing_is_sent_to_anybody(authority, id_token):
    error = refused(authority, employee(authority, id_token))
    assert isinstance(error, OAuthError)
    assert error.error == "id_token_missing"
    assert "there is no ID token of this user" in str(error)
    assert authority.paths == []


def test_the_id_token_is_looked_up_each_time_a_token_is_asked_for(authority, clock):
    given = [authority.add_user("ada"), authority.add_user("ada")]
    now = {"token": given[0]}
    with Client(
        authority.url, auth=employee(authority, lambda: now["token"], clock=clock)
    ) as client:
        add(client)
        now["token"] = given[1]
        clock.advance(3600)
        add(client)
    assert [fields["subject_token"] for fields in asked(authority, "idp")] == given


def test_an_employee_whom_the_identity_provider_refuses_gets_no_further(authority):
    error = refused(authority, employee(authority, "id-forged"))
    assert isinstance(error, OAuthError)
    assert error.error == "invalid_grant"
    assert authority.count("idp") == 1
    assert authority.tokens() == 0


def test_an_identity_provider_that_gives_something_else_is_not_believed(authority):
    other = {"access_token": "x", "issued_token_type": ID_TOKEN, "token_type": "Bearer"}
    authority.say("/idp/token", Page.json(other))
    error = refused(authority, employee(authority, authority.add_user("ada")))
    assert isinstance(error, OAuthError)
    assert error.error == "bad_answer"
    assert "another kind of token" in str(error)
    assert authority.tokens() == 0


def test_an_identity_provider_is_asked_by_https_only(authority):
    bad = employee(authority, "x", idp_token_endpoint="http://idp.example/token")
    error = refused(authority, bad)
    assert isinstance(error, RefusedError)
    assert authority.tokens() == 0


# -- tokens bound to a key ------------------------------------------------------------------------


def test_a_bound_token_goes_with_a_proof_for_it_and_with_every_request(authority):
    assert used(authority, robot(dpop=True), times=2) == SUM
    at = [server for server, _ in authority.proofs]
    assert at.count("as") == 1
    assert at.count("mcp") == authority.paths.count("mcp /mcp") - 1  # the first had no token
    kinds = [each.headers.get("authorization", "") for each in calls(authority)]
    assert {kind.partition(" ")[0] for kind in kinds[1:]} == {"DPoP"}


def test_a_server_that_needs_bound_tokens_gets_them_unasked(authority):
    authority.resource_metadata["dpop_bound_access_tokens_required"] = True
    used(authority, robot())
    assert {server for server, _ in authority.proofs} == {"as", "mcp"}


def test_a_server_that_needs_none_gets_none(authority):
    used(authority, robot())
    assert authority.proofs == []


def test_both_servers_want_nonces_of_their_own_and_are_given_them(authority):
    authority.nonces = {"as": "a1", "mcp": "m1"}
    assert used(authority, robot(dpop=True), times=2) == SUM
    shown = [(server, claims.get("nonce")) for server, claims in authority.proofs]
    assert shown[:4] == [("as", None), ("as", "a1"), ("mcp", None), ("mcp", "m1")]
    assert set(shown[4:]) == {("mcp", "m1")}


def test_nonces_that_are_replaced_cost_one_request_each(authority, clock):
    authority.nonces = {"as": "a1", "mcp": "m1"}
    with Client(authority.url, auth=robot(dpop=True, clock=clock)) as client:
        add(client)
        authority.nonces = {"as": "a2", "mcp": "m2"}
        clock.advance(3600)
        authority.proofs.clear()
        assert add(client) == SUM
    shown = [(server, claims.get("nonce")) for server, claims in authority.proofs]
    assert shown == [("as", "a1"), ("as", "a2"), ("mcp", "m1"), ("mcp", "m2")]
    assert authority.tokens() == 2


def test_a_token_that_is_over_and_a_nonce_that_is_old_are_mended_in_one_call(authority, clock):
    authority.nonces["mcp"] = "m1"
    with Client(authority.url, auth=robot(dpop=True, clock=clock)) as client:
        add(client)
        clock.advance(DOUBTFUL)
        authority.nonces["mcp"] = "m2"
        authority.end_access_tokens()
        assert add(client) == SUM
    assert authority.tokens() == 2


def test_a_server_that_wants_a_new_nonce_each_time_is_given_up(authority):
    with Client(authority.url, auth=robot(dpop=True)) as client:
        add(client)
        numbers = iter(range(100))

        def another():
            more = (("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'),)
            return Page(401, headers=(*more, ("DPoP-Nonce", f"n{next(numbers)}")))

        authority.say("/mcp", another, times=50)
        with pytest.raises(AuthorizationRequired):
            add(client)
        assert next(numbers) <= 4
        assert authority.tokens() == 1


def test_a_server_that_wants_a_nonce_and_gives_none_is_given_up_at_once(authority):
    with Client(authority.url, auth=robot(dpop=True)) as client:
        add(client)
        before = authority.paths.count("mcp /mcp")
        wanted = (("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'),)
        authority.say("/mcp", Page(401, headers=wanted))
        with pytest.raises(AuthorizationRequired):
            add(client)
        assert authority.paths.count("mcp /mcp") == before + 1


def test_a_token_that_is_bound_to_no_key_is_refused_by_who_wants_it_bound(authority):
    plain = {"access_token": "plain", "token_type": "Bearer"}
    authority.say("/token", Page.json(plain))
    error = refused(authority, robot(dpop=True))
    assert isinstance(error, OAuthError)
    assert error.error == "token_not_bound"
    assert "authorization" not in {name for each in authority.mcp.requests for name in each.headers}


def test_a_proof_is_of_the_time_that_it_is(authority):
    clock = FakeClock(time=1_000_000_000.0)  # a clock that is years behind
    used(authority, robot(dpop=True, clock=clock))
    assert {claims["iat"] for _, claims in authority.proofs} == {1_000_000_000}


# -- who is trusted, and with what ----------------------------------------------------------------


def test_whom_a_server_names_may_not_be_on_this_machine_if_the_server_is_not_trusted(authority):
    auth = robot()
    authorizer = auth.authorizer_for(authority.url, None, fetcher=Fetcher())
    error = refused(authority, Fixed(authorizer))
    assert isinstance(error, RefusedError)
    assert authority.tokens() == 0


def test_whom_the_operator_named_may_be_anywhere():
    with LocalServer(front=lambda _: Page.json({})) as named, LocalServer() as other:
        fetcher = Fetcher(policy=AddressPolicy("public"), trusted=[named.url])
        assert fetcher.get(named.url, deadline=Deadline(10)).status == 200
        with pytest.raises(RefusedError):
            fetcher.get(other.url, deadline=Deadline(10))
        assert other.requests == []


def test_no_secret_is_in_a_log_an_error_or_a_repr(authority, caplog, clock):
    caplog.set_level(logging.DEBUG)
    id_token = authority.add_user("ada")
    authority.workloads.add("jwt-s3cret")
    authority.secrets.append("jwt-s3cret")
    authority.secrets.append("idp-s3cret")
    authority.add_client(
        "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
    )
    seen = []
    for auth in (
        robot(clock=clock),
        robot(dpop=True, clock=clock),
        ClientCredentialsGrant("signer", client_key=ClientKey(PEM, "ES256")),
        ClientCredentialsGrant("robot", "wrong-s3cret"),
        WorkloadIdentity("jwt-s3cret"),
        WorkloadIdentity("jwt-forged"),
        employee(authority, id_token, clock=clock),
        employee(authority, "id-forged"),
    ):
        authorizer = auth.authorizer_for(authority.url, None)
        with Client(authority.url, auth=Fixed(authorizer)) as client:
            for _ in range(2):
                try:
                    add(client)
                except MCPSyncError as error:
                    seen += [repr(error), "".join(traceback.format_exception(error))]
                authority.end_access_tokens()
                clock.advance(DOUBTFUL)
        seen += [repr(auth), str(auth), repr(authorizer), repr(vars(authorizer))]
    text = "\n".join([*seen, caplog.text])
    hidden = {*authority.secrets, "wrong-s3cret", "jwt-forged", "id-forged", PEM}
    assert [secret for secret in hidden if secret in text] == []
    assert len(hidden) > 20
