"""Tokens on behalf of users: the exchange, what is kept, and why it failed. (Seed 4.2, 4.3)"""

import base64
import dataclasses
import errno
import logging
import math
import pickle
import socket
import time
import urllib.error
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpsync import Cancellation, OboTokenError
from mcpsync.auth import (
    ClientKey,
    GraphTokenService,
    OboToken,
    OboTokenService,
    OpenIDToken,
    resolve_obo_token,
)
from mcpsync.auth.obo import RETRY_DELAY
from mcpsync.config import OboConfig
from mcpsync.errors import (
    ConfigurationError,
    ConnectError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.testing import FakeClock, Page
from support.certificates import certificate
from support.entra import ACCESS_TOKEN, CRM, EXCHANGE, JWT_BEARER, SCOPES, SECRET, TENANT, Entra
from support.processes import forget_as_forked
from support.threads import Gate, outcome, start, wait_until

__all__ = ["certificate"]
STEP = 0.01
KEY = ec.generate_private_key(ec.SECP256R1())
REJECTED = "The identity provider rejected the OBO token exchange."
TEMPORARY = "Temporary OBO token exchange failure."
OBO = OboConfig(scopes=SCOPES)


@pytest.fixture
def idp():
    with Entra() as made:
        yield made


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def service(idp, clock):
    return service_of(idp, clock=clock)


def service_of(idp, **options):
    options.setdefault("retry_delay", STEP)
    return OboTokenService(options.pop("url", idp.token_endpoint), "app", SECRET, **options)


def ada_of(idp, **more):
    return OpenIDToken(idp.sign_in("ada"), "ada", **more)


def failed(call, *args, **options):
    """The error of an exchange, which has to be one of ours."""
    with pytest.raises(OboTokenError) as caught:
        call(*args, **options)
    return caught.value


# -- before anything is asked ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "scopes", "said"),
    [
        (
            OpenIDToken("t", None),
            SCOPES,
            "User must be authenticated via OpenID to perform OBO token exchange",
        ),
        (None, SCOPES, "User must be authenticated via OpenID to perform OBO token exchange"),
        (OpenIDToken("", "ada"), SCOPES, "Access token is required for OBO exchange"),
        (OpenIDToken(None, "ada"), SCOPES, "Access token is required for OBO exchange"),
        (OpenIDToken("not\r\na token", "ada"), SCOPES, "Access token is required for OBO exchange"),
        (OpenIDToken("t", "ada"), " ", "Scopes are required for OBO exchange"),
        (OpenIDToken("t", "ada"), (), "Scopes are required for OBO exchange"),
    ],
)
def test_what_is_missing_is_said_and_nobody_is_asked(idp, service, user, scopes, said):
    error = failed(service.exchange, user, scopes)
    assert (error.message, error.retryable) == (said, False)
    assert idp.asked == []


@pytest.mark.parametrize("tenant", [None, "../evil", "a/b", ""])
def test_without_an_endpoint_there_is_no_openid_configuration(idp, tenant):
    url = f"{idp.issuer}/{{tenant}}/oauth2/v2.0/token"
    for service in (service_of(idp, url=None), service_of(idp, url=url)):
        error = failed(service.exchange, OpenIDToken("t", "ada", tenant=tenant), SCOPES)
        assert error.message == "OpenID configuration not available"
    assert idp.asked == []


def test_what_is_configured_wrongly_is_found_when_it_is_made(idp):
    with pytest.raises(ConfigurationError, match="client_secret or a client_key"):
        service_of(idp, client_key=ClientKey("x"))
    with pytest.raises(ConfigurationError, match="no grant 'magic'"):
        service_of(idp, grant="magic")
    with pytest.raises(ConfigurationError, match="path of token_endpoint"):
        service_of(idp, url="https://{tenant}.login.example/token")
    with pytest.raises(ConfigurationError, match="client_secret_basic"):
        service_of(idp, token_endpoint_auth_method="by_hand")


def test_an_identity_provider_over_plain_http_is_refused_and_told_nothing():
    service = OboTokenService("http://login.example/token", "app", SECRET)
    with pytest.raises(RefusedError):
        service.exchange(OpenIDToken("t", "ada"), SCOPES)


# -- the exchange ---------------------------------------------------------------------------------


def test_the_grant_is_the_one_entra_wants(idp, service):
    ada = ada_of(idp)
    token = service.exchange(ada, SCOPES)
    assert token.token_type == "Bearer"
    assert idp.asked == [
        (
            "token",
            {
                "grant_type": JWT_BEARER,
                "assertion": ada.access_token,
                "requested_token_use": "on_behalf_of",
                "scope": SCOPES,
                "client_id": "app",
                "client_secret": SECRET,
                "tenant": TENANT,
            },
        )
    ]


def test_rfc_8693_is_the_other_grant(idp, clock):
    service = service_of(idp, grant="token_exchange", fields={"resource": CRM}, clock=clock)
    ada = ada_of(idp)
    service.exchange(ada, SCOPES)
    (_, said) = idp.asked[0]
    assert said["grant_type"] == EXCHANGE
    assert said["subject_token"] == ada.access_token
    assert said["subject_token_type"] == said["requested_token_type"] == ACCESS_TOKEN
    assert said["resource"] == CRM
    assert "requested_token_use" not in said


def test_another_kind_of_token_is_none(idp, service):
    kind = "urn:ietf:params:oauth:token-type:refresh_token"
    said = {"access_token": "x" * 20, "token_type": "Bearer", "issued_token_type": kind}
    idp.say(idp.path, Page.json(said))
    assert failed(service.exchange, ada_of(idp), SCOPES).reason == "exchange_failed"


def test_a_token_that_is_bound_to_a_key_is_of_no_use(idp, service):
    idp.say(idp.path, Page.json({"access_token": "x" * 20, "token_type": "DPoP"}))
    error = failed(service.exchange, ada_of(idp), SCOPES)
    assert (error.reason, error.retryable) == ("exchange_failed", False)


def test_the_tenant_of_the_user_is_asked_or_else_that_of_the_application(idp):
    service = service_of(idp, url=f"{idp.issuer}/{{tenant}}/oauth2/v2.0/token", tenant=TENANT)
    service.exchange(ada_of(idp), SCOPES)
    service.exchange(ada_of(idp, tenant="fabrikam"), SCOPES)
    assert [said["tenant"] for _, said in idp.asked] == [TENANT, "fabrikam"]


def test_a_client_may_show_its_secret_in_a_header(idp):
    idp.clients["app"]["token_endpoint_auth_method"] = "client_secret_basic"
    service_of(idp, token_endpoint_auth_method="client_secret_basic").exchange(ada_of(idp), SCOPES)
    assert "client_secret" not in idp.asked[0][1]


def signer(idp, client_key):
    return OboTokenService(idp.token_endpoint, "signer", client_key=client_key)


def test_a_client_with_a_key_signs_who_it_is(idp):
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    idp.add_client(
        "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
    )
    assert signer(idp, ClientKey(pem, "ES256")).exchange(ada_of(idp), SCOPES).access_token


def test_whom_it_is_for_can_be_said(idp):
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    idp.add_client(
        "signer", public_key=KEY.public_key(), token_endpoint_auth_method="private_key_jwt"
    )
    key = ClientKey(pem, "ES256")
    here = OboTokenService(f"{idp.issuer}/else/oauth2/v2.0/token", "signer", client_key=key)
    assert failed(here.exchange, ada_of(idp), SCOPES).error == "invalid_client"
    said = OboTokenService(
        f"{idp.issuer}/else/oauth2/v2.0/token",
        "signer",
        client_key=key,
        audience=idp.token_endpoint,
    )
    assert said.exchange(ada_of(idp), SCOPES).access_token


def test_a_client_with_a_certificate_names_it_by_both_thumbprints(idp, certificate):
    cert, key = Path(certificate.path).read_text(), Path(certificate.key).read_text()
    public = serialization.load_pem_private_key(key.encode(), None).public_key()
    der = base64.b64decode("".join(cert.splitlines()[1:-1]))
    idp.add_client(
        "signer",
        public_key=public,
        certificate=der,
        token_endpoint_auth_method="private_key_jwt",
    )
    assert signer(idp, ClientKey(key, "ES256", certificate=cert)).exchange(ada_of(idp), SCOPES)
    error = failed(signer(idp, ClientKey(key, "ES256")).exchange, ada_of(idp), SCOPES)
    assert error.error == "invalid_client"


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n§\n"])
def test_a_certificate_that_is_none_is_refused_before_anything_is_sent(idp, certificate, text):
    key = Path(certificate.key).read_text()
    with pytest.raises(ConfigurationError, match="certificate"):
        signer(idp, ClientKey(key, "ES256", certificate=text)).exchange(ada_of(idp), SCOPES)
    assert idp.asked == []


def test_graph_is_asked_for_in_the_same_way(idp, service):
    graph = GraphTokenService(service)
    ada = ada_of(idp)
    assert graph.get_graph_api_token(ada) is graph.get_graph_api_token(ada)
    graph.get_graph_api_token(ada, ["https://graph.microsoft.com/User.Read"])
    assert [said["scope"] for _, said in idp.asked] == [
        "https://graph.microsoft.com/.default",
        "https://graph.microsoft.com/User.Read",
    ]


# -- what is kept ---------------------------------------------------------------------------------


def test_a_token_is_kept_until_half_a_minute_before_it_is_over(idp, service, clock):
    ada = ada_of(idp)
    first = service.exchange(ada, SCOPES)
    assert (first.obtained_at, first.expires_at) == (clock.time(), clock.time() + 3600)
    clock.advance(3569)
    assert service.exchange(ada, SCOPES) is first
    clock.advance(1)
    assert service.exchange(ada, SCOPES) != first
    assert idp.asked_times == 2


def test_an_hour_is_taken_for_granted_if_nobody_says_how_long(idp, service, clock):
    idp.lifetime = None
    assert service.exchange(ada_of(idp), SCOPES).expires_at == clock.time() + 3600


def test_its_time_begins_when_it_is_asked_for(idp, service, clock):
    ada, gate, asked_at = ada_of(idp), held_back(idp), clock.time()
    call = start(service.exchange, ada, SCOPES)
    gate.wait_reached()
    clock.advance(60)
    gate.open()
    token = outcome(call)
    assert (token.obtained_at, token.expires_at) == (asked_at, asked_at + 3600)


@pytest.mark.parametrize("lifetime", [20, "20"])
def test_a_short_life_is_kept_for_a_second_at_least(idp, service, clock, lifetime):
    idp.lifetime = lifetime
    ada = ada_of(idp)
    first = service.exchange(ada, SCOPES)
    clock.advance(0.9)
    assert service.exchange(ada, SCOPES) is first
    clock.advance(0.2)
    assert service.exchange(ada, SCOPES) is not first


def test_and_never_longer_than_it_lives(idp, service, clock):
    idp.lifetime = 0.5
    ada = ada_of(idp)
    first = service.exchange(ada, SCOPES)
    clock.advance(0.6)
    assert service.exchange(ada, SCOPES) is not first


@pytest.mark.parametrize("lifetime", [0, -1, "0", "-5"])
def test_what_is_over_when_it_comes_may_work_later_and_is_not_kept(idp, service, lifetime):
    idp.lifetime = lifetime
    ada = ada_of(idp)
    error = failed(service.exchange, ada, SCOPES)
    assert (error.reason, error.retryable, error.message) == ("exchange_failed", True, TEMPORARY)
    idp.lifetime = 3600
    assert service.exchange(ada, SCOPES)


@pytest.mark.parametrize(
    ("said", "is_good"),
    [
        ({"expires_in": 10**400}, True),
        ({"expires_at": 10**400}, True),
        ({"expires_at": math.inf}, True),
        ({"expires_in": -(10**400)}, False),
        ({"expires_at": -(10**400)}, False),
        ({"expires_in": math.nan}, False),
        ({"expires_at": math.nan}, False),
    ],
)
def test_a_time_no_clock_can_show_is_an_endless_one_or_none(idp, service, said, is_good):
    idp.say(idp.path, Page.json({"access_token": "t", **said}))
    if is_good:
        assert service.exchange(ada_of(idp), SCOPES).access_token == "t"
    else:
        assert failed(service.exchange, ada_of(idp), SCOPES).retryable


@pytest.mark.parametrize("said", [{}, {"access_token": ""}, {"access_token": None}])
def test_an_empty_answer_is_never_kept(idp, service, said):
    idp.say(idp.path, Page.json({"token_type": "Bearer", "expires_in": 60, **said}))
    ada = ada_of(idp)
    error = failed(service.exchange, ada, SCOPES)
    assert (error.reason, error.retryable) == ("empty_exchange_response", False)
    assert service.exchange(ada, SCOPES).access_token


def test_what_is_kept_is_of_one_tenant_issuer_user_scope_and_sign_in(idp, service):
    signed_in = idp.sign_in("ada")
    ada = OpenIDToken(signed_in, "ada", "https://i", "t")
    others = [
        (dataclasses.replace(ada, tenant="u"), SCOPES),
        (dataclasses.replace(ada, issuer="https://j"), SCOPES),
        (dataclasses.replace(ada, subject="eve"), SCOPES),
        (dataclasses.replace(ada, access_token=idp.sign_in("ada")), SCOPES),
        (ada, "api://mail/.default"),
    ]
    tokens = {
        service.exchange(user, scopes).access_token for user, scopes in [(ada, SCOPES), *others]
    }
    assert len(tokens) == 6
    assert idp.asked_times == 6
    assert service.exchange(ada, f"  {SCOPES} ").access_token in tokens
    assert idp.asked_times == 6


def test_what_is_kept_has_a_limit(idp):
    service = service_of(idp, max_tokens=2)
    users = [OpenIDToken(idp.sign_in(name), name) for name in ("ada", "bob", "cyd")]
    for user in (*users, users[2], users[0]):
        service.exchange(user, SCOPES)
    assert idp.asked_times == 4


def test_no_token_of_a_user_is_held_by_what_is_kept(idp, service):
    ada = ada_of(idp)
    service.exchange(ada, SCOPES)
    assert ada.access_token not in str(list(service._kept))


def test_forgetting_means_asking_again(idp, service):
    ada = ada_of(idp)
    first = service.exchange(ada, SCOPES)
    service.forget()
    assert service.exchange(ada, SCOPES) != first


def test_a_token_that_was_turned_down_is_replaced_once_for_all(idp, service):
    ada = ada_of(idp)
    old = service.exchange(ada, SCOPES).access_token
    new = {service.replace(ada, SCOPES, old).access_token for _ in range(3)}
    assert len(new) == 1
    assert old not in new
    assert idp.asked_times == 2


# -- one at a time --------------------------------------------------------------------------------


def held_back(idp):
    """Have the next exchange wait at a gate, its answer being what it is."""
    gate = Gate()
    idp.say(idp.path, gate)
    return gate


def test_who_comes_meanwhile_gets_the_same_token(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    calls = [start(service.exchange, ada, SCOPES) for _ in range(8)]
    gate.wait_reached()
    wait_until(lambda: service._flights.joined == 7)
    gate.open()
    assert len({outcome(call).access_token for call in calls}) == 1
    assert idp.asked_times == 1
    assert len(service._flights) == 0


def test_who_comes_meanwhile_gets_the_same_error_and_his_own_copy(idp, service):
    idp.must_interact.add("ada")
    ada, gate = ada_of(idp), held_back(idp)
    calls = [start(service.exchange, ada, SCOPES) for _ in range(4)]
    gate.wait_reached()
    wait_until(lambda: service._flights.joined == 3)
    gate.open()
    errors = [outcome(call) for call in calls]
    assert [(error.reason, error.error) for error in errors] == [
        ("exchange_failed", "interaction_required")
    ] * 4
    assert len({id(error) for error in errors}) == 4
    assert idp.asked_times == 1
    assert len(service._flights) == 0
    idp.must_interact.clear()
    assert service.exchange(ada, SCOPES), "nothing is left of the failure"


def test_other_keys_do_not_wait_for_it(idp, service):
    gate = held_back(idp)
    first = start(service.exchange, ada_of(idp), SCOPES)
    gate.wait_reached()
    assert service.exchange(OpenIDToken(idp.sign_in("bob"), "bob"), SCOPES)
    gate.open()
    assert outcome(first).access_token


def test_an_exchange_past_the_cache_joins_nobody(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    shared = start(service.exchange, ada, SCOPES)
    gate.wait_reached()
    alone = start(service.exchange, ada, SCOPES, False)
    wait_until(lambda: service._flights.waited == 1)
    gate.open()
    assert outcome(shared) != outcome(alone)
    assert (idp.asked_times, service._flights.joined) == (2, 0)
    assert service.exchange(ada, SCOPES) == outcome(alone), "the newest is kept"


def test_and_nobody_joins_it(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    alone = start(service.exchange, ada, SCOPES, False)
    gate.wait_reached()
    other = start(service.exchange, ada, SCOPES, False)
    wait_until(lambda: service._flights.waited == 1)
    gate.open()
    assert outcome(alone) != outcome(other)
    assert (idp.asked_times, service._flights.joined) == (2, 0)


def test_who_waited_for_such_an_exchange_takes_what_it_brought(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    alone = start(service.exchange, ada, SCOPES, False)
    gate.wait_reached()
    other = start(service.exchange, ada, SCOPES)
    wait_until(lambda: service._flights.waited == 1)
    gate.open()
    assert outcome(other) is outcome(alone)
    assert idp.asked_times == 1


def test_who_calls_off_a_shared_exchange_calls_off_his_own_wait_only(idp, service):
    ada, gate, cancel = ada_of(idp), held_back(idp), Cancellation()
    leader = start(service.exchange, ada, SCOPES)
    gate.wait_reached()
    joiner = start(lambda: service.exchange(ada, SCOPES, cancel=cancel))
    wait_until(lambda: service._flights.joined == 1)
    cancel.cancel("enough")
    assert isinstance(outcome(joiner), RequestCancelled)
    gate.open()
    assert outcome(leader).access_token
    assert idp.asked_times == 1


def test_a_leader_who_is_called_off_leaves_the_exchange_to_another(idp, service):
    ada, gate, cancel = ada_of(idp), held_back(idp), Cancellation()
    leader = start(lambda: service.exchange(ada, SCOPES, cancel=cancel))
    gate.wait_reached()
    joiner = start(service.exchange, ada, SCOPES)
    wait_until(lambda: service._flights.joined == 1)
    cancel.cancel("enough")
    assert isinstance(outcome(leader), RequestCancelled)
    assert outcome(joiner).access_token
    gate.open()


def test_a_leader_who_runs_out_of_time_leaves_the_exchange_to_another(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    hasty = start(lambda: service.exchange(ada, SCOPES, timeout=0.2))
    gate.wait_reached()
    patient = start(service.exchange, ada, SCOPES)
    assert isinstance(outcome(hasty), RequestTimeout)
    gate.open()
    assert outcome(patient).access_token


def test_so_does_one_who_has_no_time_to_try_once_more(idp):
    service, ada, gate = service_of(idp, retry_delay=5), ada_of(idp), Gate()

    def busy():
        gate()
        return Page(503)

    idp.say(idp.path, busy)
    hasty = start(lambda: service.exchange(ada, SCOPES, timeout=4))
    gate.wait_reached()
    patient = start(lambda: service.exchange(ada, SCOPES, timeout=60))
    wait_until(lambda: service._flights.joined == 1)
    gate.open()
    assert outcome(hasty).message == TEMPORARY
    assert outcome(patient).access_token


def test_but_what_failed_twice_is_shared(idp, service):
    ada, gate = ada_of(idp), Gate()

    def busy():
        gate()
        return Page(503)

    idp.say(idp.path, busy, 2)
    calls = [start(lambda: service.exchange(ada, SCOPES, timeout=60)) for _ in range(3)]
    gate.wait_reached()
    wait_until(lambda: service._flights.joined == 2)
    gate.open()
    assert [outcome(call).message for call in calls] == [TEMPORARY] * 3
    assert idp.asked_times == 2


def test_a_forked_child_waits_for_no_thread_of_its_parent(idp, service):
    ada, gate = ada_of(idp), held_back(idp)
    parent = start(service.exchange, ada, SCOPES)
    gate.wait_reached()
    forget_as_forked(service)
    assert service.exchange(ada, SCOPES, timeout=5)
    gate.open()
    outcome(parent)


# -- once more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_fails_in_passing_is_tried_once_more(idp, service, status):
    idp.fails(status)
    assert service.exchange(ada_of(idp), SCOPES)
    assert idp.asked_times == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_and_no_more_than_once(idp, service, status):
    idp.fails(status, times=2)
    error = failed(service.exchange, ada_of(idp), SCOPES)
    assert (error.reason, error.retryable, error.message) == ("exchange_failed", True, TEMPORARY)
    assert error.user_message == TEMPORARY
    assert idp.asked_times == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_what_is_refused_is_not_tried_again(idp, service, status):
    idp.fails(status)
    error = failed(service.exchange, ada_of(idp), SCOPES)
    assert (error.retryable, error.message) == (False, REJECTED)
    assert idp.asked_times == 1


def test_that_it_is_temporary_may_also_be_said_in_words(idp, service):
    idp.say(idp.path, Page.json({"error": "temporarily_unavailable"}, 400))
    assert service.exchange(ada_of(idp), SCOPES)
    assert idp.asked_times == 2


@pytest.mark.parametrize("name", ["invalid_grant", "interaction_required"])
def test_the_identity_providers_word_is_told_and_nothing_else_of_its_answer(
    idp, service, caplog, name
):
    if name == "interaction_required":
        idp.must_interact.add("ada")
        ada = ada_of(idp)
    else:
        ada = OpenIDToken(idp.sign_in("ada", audience="api://other"), "ada")
    with caplog.at_level(logging.DEBUG):
        error = failed(service.exchange, ada, SCOPES)
    assert (error.error, error.retryable, error.message) == (name, False, REJECTED)
    assert name in str(error)
    assert "AADSTS" not in f"{error} {error.__cause__} {caplog.text}"
    assert ada.access_token not in f"{error!r} {error.__cause__!r} {caplog.text}"
    assert idp.asked_times == 1


@pytest.mark.parametrize("status", [302, 307])
def test_what_an_identity_provider_puts_into_a_redirect_is_not_told(idp, service, status):
    ada = ada_of(idp)
    to = ("Location", f"https://else.example/{ada.access_token}?said={ada.access_token}")
    idp.say(idp.path, Page(status, headers=(to,)))
    error = failed(service.exchange, ada, SCOPES)
    assert (error.reason, error.retryable) == ("exchange_failed", False)
    assert "https://else.example/ " in str(error.__cause__)
    assert ada.access_token not in f"{error!r} {error.__cause__!r}"


def test_the_wait_is_what_the_identity_provider_asks_for(idp, service):
    idp.fails(429, Retry_After="1")
    began = time.monotonic()
    assert service.exchange(ada_of(idp), SCOPES)
    assert 1.0 <= time.monotonic() - began < 5


def test_what_it_asks_for_that_is_no_date_is_not_heeded(idp, service):
    idp.fails(503, Retry_After="Mon, 01 Jan 20266666666666666 00:00:00 GMT")
    assert service.exchange(ada_of(idp), SCOPES)
    assert idp.asked_times == 2


def test_the_usual_wait_is_three_tenths_of_a_second(idp):
    idp.fails(503)
    began = time.monotonic()
    assert service_of(idp, retry_delay=RETRY_DELAY).exchange(ada_of(idp), SCOPES)
    assert 0.3 <= time.monotonic() - began < 3


def test_a_wait_that_does_not_fit_is_not_begun(idp, service):
    idp.fails(429, Retry_After="30")
    began = time.monotonic()
    error = failed(service.exchange, ada_of(idp), SCOPES, timeout=5)
    assert error.retryable
    assert time.monotonic() - began < 3
    assert idp.asked_times == 1


def test_a_wait_is_ended_by_a_cancellation(idp, service):
    idp.fails(429, Retry_After="20")
    cancel = Cancellation()
    ada = ada_of(idp)
    call = start(lambda: service.exchange(ada, SCOPES, cancel=cancel))
    wait_until(lambda: idp.asked_times == 1)
    cancel.cancel("enough")
    assert isinstance(outcome(call), RequestCancelled)
    assert idp.asked_times == 1


def test_nobody_listening_is_a_failure_in_passing(clock):
    with Entra() as gone:
        ada, url = ada_of(gone), gone.token_endpoint
    service = service_of(gone, url=url, clock=clock)
    error = failed(service.exchange, ada, SCOPES)
    assert (error.retryable, error.error, error.message) == (True, "no_answer", TEMPORARY)
    assert isinstance(error.__cause__, ConnectError)


def test_an_answer_that_is_none_is_a_rejection(idp, service):
    idp.say(idp.path, Page(200, b"<html>", "text/html"))
    error = failed(service.exchange, ada_of(idp), SCOPES)
    assert (error.retryable, error.error) == (False, "bad_answer")


def test_nothing_of_a_token_is_in_a_repr(idp, service):
    ada = ada_of(idp)
    token = service.exchange(ada, SCOPES)
    shown = repr([ada, token, service])
    assert ada.access_token not in shown
    assert token.access_token not in shown
    assert SECRET not in shown


# -- resolve_obo_token ----------------------------------------------------------------------------


def resolved(resolver, user=None, **options):
    return resolve_obo_token(user or OpenIDToken("t", "ada"), OBO, resolver, **options)


def raising(error):
    def resolver(user, scopes, from_cache):
        raise error

    return resolver


@pytest.mark.parametrize(
    ("user", "reason", "message"),
    [
        (
            None,
            "missing_upstream_token",
            "No valid OpenID access token is available for OBO exchange.",
        ),
        (
            OpenIDToken("t", "ada", expires_at=1000.0),
            "missing_upstream_token",
            "No valid OpenID access token is available for OBO exchange.",
        ),
        (
            OpenIDToken(None, "ada"),
            "missing_upstream_access_token",
            "The upstream OpenID access token is missing for OBO exchange.",
        ),
        (
            OpenIDToken(" ", "ada"),
            "missing_upstream_access_token",
            "The upstream OpenID access token is missing for OBO exchange.",
        ),
    ],
)
def test_without_a_token_of_the_users_nobody_is_asked(user, reason, message):
    asked = []
    error = failed(resolve_obo_token, user, OBO, lambda *args: asked.append(args))
    assert (error.reason, error.retryable) == (reason, False)
    assert error.message == error.user_message == message
    assert asked == []


@pytest.mark.parametrize("found", [None, "", {}, {"access_token": ""}, {"token_type": "Bearer"}, 7])
def test_a_resolver_that_returns_nothing_is_an_empty_answer(found):
    error = failed(resolved, lambda *_: found)
    assert (error.reason, error.retryable) == ("empty_exchange_response", False)
    assert error.message == "The identity provider returned no access token for the OBO exchange."


class Told(Exception):
    """An error with whatever it is given."""

    def __init__(self, text="no", **said):
        super().__init__(text)
        self.__dict__.update(said)


class Response:
    """What a library's error has its status in."""

    def __init__(self, status_code):
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Told(retryable=True, status=400), True),
        (Told("timed out", retryable=False, status=503), False),
        (Told(status=503), True),
        (Told("timed out", status=400), False),
        (Told(status_code=429), True),
        (Told(statusCode=501), False),
        (Told(response=Response(502)), True),
        (Told(response=Response(401)), False),
        (Told(retryable="yes", code="econnreset"), True),
        (Told(code="EAI_AGAIN"), True),
        (Told(code="invalid_grant"), False),
        (Told("socket hang up"), True),
        (Told("Temporarily Unavailable"), True),
        (Told("Too many requests"), True),
        (Told("service unavailable"), True),
        (Told("the request timed out"), True),
        (Told("the user said no"), False),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (OSError(errno.ETIMEDOUT, "x"), True),
        (OSError(errno.ENOENT, "x"), False),
        (requests.ConnectTimeout("x timed out"), True),
        (requests.ConnectionError("Connection aborted."), True),
        (requests.exceptions.SSLError("not whom we know"), False),
        (urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "no")), True),
        (urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "who?")), True),
        (urllib.error.URLError(FileNotFoundError(errno.ENOENT, "no")), False),
        (ConnectError("no way."), True),
        (KeyError("x"), False),
    ],
)
def test_whether_it_may_work_later_is_told_by_tag_status_code_and_text_in_this_order(
    error, retryable
):
    found = failed(resolved, raising(error))
    assert (found.reason, found.retryable) == ("exchange_failed", retryable)
    assert found.message == found.user_message == (TEMPORARY if retryable else REJECTED)
    assert found.__cause__ is error


def test_an_error_that_is_one_already_is_raised_as_it_is():
    mine = OboTokenError("no.", reason="exchange_failed", retryable=True, user_message="later")
    assert failed(resolved, raising(mine)) is mine


@pytest.mark.parametrize(
    "error", [RequestCancelled("x"), ConfigurationError("x"), RefusedError("x")]
)
def test_what_is_not_the_identity_providers_affair_is_raised_as_it_is(error):
    with pytest.raises(type(error)):
        resolved(raising(error))


def test_a_timeout_is_the_callers_own_only_if_his_time_is_over():
    late = RequestTimeout("late.")
    assert failed(resolved, raising(late), timeout=60).retryable
    with pytest.raises(RequestTimeout):
        resolved(raising(late), timeout=0)


@pytest.mark.parametrize(
    ("found", "lasts"),
    [
        ("x" * 20, 3600),
        ({"access_token": "x" * 20}, 3600),
        ({"access_token": "x" * 20, "expires_in": 60}, 60),
        ({"access_token": "x" * 20, "expires_at": 1_800_000_090}, 90),
        (OboToken("x" * 20, 1_800_000_000.0, 1_800_000_010.0), 10),
    ],
)
def test_what_a_resolver_gives_becomes_a_token(clock, found, lasts):
    token = resolved(lambda *_: found, clock=clock)
    assert (token.access_token, token.token_type) == ("x" * 20, "Bearer")
    assert (token.obtained_at, token.expires_at) == (clock.time(), clock.time() + lasts)


def test_a_resolver_is_told_the_user_the_scopes_and_whether_a_kept_token_will_do():
    asked = []

    def resolver(*args):
        asked.append(args)
        return "x"

    ada = OpenIDToken("t", "ada")
    resolved(resolver, ada)
    resolved(resolver, ada, from_cache=False)
    assert asked == [(ada, SCOPES, True), (ada, SCOPES, False)]


@pytest.mark.parametrize(
    ("found", "retryable"),
    [
        ("a b", False),
        ("a\r\nX-Evil: 1", False),
        ({"access_token": "ok", "token_type": "DPoP"}, False),
        ({"error": "invalid_grant", "error_description": "s3cret"}, False),
        ({"error": "temporarily_unavailable", "error_description": "s3cret"}, True),
        (OboToken("a\nb", 0.0, 1e12), False),
        (OboToken("ok", 0.0, 1.0), True),
        ({"access_token": "ok", "expires_at": 1.0}, True),
        ({"access_token": "ok", "expires_in": 0}, True),
    ],
)
def test_what_no_header_can_hold_or_is_over_is_no_token(found, retryable):
    error = failed(resolved, lambda *_: found)
    assert (error.reason, error.retryable) == ("exchange_failed", retryable)
    assert "s3cret" not in f"{error} {error.__cause__}"


def test_the_service_is_a_resolver_as_well(idp, service):
    ada = ada_of(idp)
    assert resolved(service, ada) is resolved(service, ada)
    assert resolved(service, ada, from_cache=False) != service
    assert idp.asked_times == 2


def test_its_error_survives_a_pickle():
    error = failed(resolved, raising(Told(retryable=True)))
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - ours
    assert (copied.reason, copied.retryable, copied.user_message) == (
        "exchange_failed",
        True,
        TEMPORARY,
    )
