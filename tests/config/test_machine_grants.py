"""What ``oauth:`` may say of grants that nobody signs in for, and what it must."""

import pytest
from pydantic import ValidationError

from mcpsync.config import HttpServerConfig
from mcpsync.config.oauth import OAuthConfig
from mcpsync.config.predicates import (
    is_allowed_at_app_level,
    requires_user_scoped_connection,
    scope_of_server,
)

URL = "https://mcp.example/mcp"
ISSUER = {"issuer": "https://as.example"}
ROBOT = {**ISSUER, "grant": "client_credentials", "client_id": "robot", "client_secret": "s3cret"}
WORKLOAD = {**ISSUER, "grant": "workload_identity", "assertion": "s3cret"}
EMPLOYEE = {
    **ISSUER,
    "grant": "enterprise_managed",
    "client_id": "app",
    "idp_token_url": "https://idp.example/token",
    "idp_client_id": "idp-app",
}


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize(
    "fields",
    [
        ROBOT,
        without(ROBOT, "issuer") | {"token_url": "https://as.example/token"},
        without(ROBOT, "client_secret") | {"private_key": "pem"},
        ROBOT | {"dpop": True, "scope": "read write", "token_endpoint_auth_method": "default_post"},
        WORKLOAD,
        WORKLOAD | {"client_id": "batch"},
        without(WORKLOAD, "assertion") | {"assertion_file": "/var/run/secrets/token"},
        EMPLOYEE,
        EMPLOYEE | {"client_secret": "s", "idp_client_secret": "t"},
        EMPLOYEE | {"private_key": "pem", "signing_algorithm": "ES256"},
    ],
)
def test_what_is_whole_is_taken(fields):
    assert OAuthConfig.model_validate(fields).grant == fields["grant"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (without(ROBOT, "issuer"), "sent to nobody who was merely found"),
        (without(ROBOT, "client_id"), "needs 'client_id'"),
        (without(ROBOT, "client_secret"), "'client_secret' or 'private_key'"),
        (without(ROBOT, "issuer", "client_secret") | {"private_key": "pem"}, "merely found"),
        (ROBOT | {"private_key": "pem"}, "no 'client_secret' beside it"),
        (ROBOT | {"assertion": "s3cret"}, "'assertion' is not for 'client_credentials'"),
        (ROBOT | {"idp_client_id": "x"}, "'idp_client_id' is not for 'client_credentials'"),
        (without(WORKLOAD, "issuer"), "needs 'issuer' or 'token_url'"),
        (without(WORKLOAD, "assertion"), "needs 'assertion' or 'assertion_file'"),
        (WORKLOAD | {"assertion_file": "/x"}, "needs 'assertion' or 'assertion_file'"),
        (WORKLOAD | {"client_secret": "s3cret"}, "'client_secret' is not for"),
        (WORKLOAD | {"client_id": "me", "private_key": "s3cret"}, "'private_key' is not for"),
        (without(EMPLOYEE, "issuer"), "needs 'issuer'"),
        (
            without(EMPLOYEE, "issuer") | {"token_url": "https://as.example/token"},
            "needs 'issuer':",
        ),
        (without(EMPLOYEE, "client_id"), "'enterprise_managed' needs"),
        (without(EMPLOYEE, "idp_token_url"), "'enterprise_managed' needs"),
        (without(EMPLOYEE, "idp_client_id"), "'enterprise_managed' needs"),
        (EMPLOYEE | {"assertion": "s3cret"}, "'assertion' is not for 'enterprise_managed'"),
        (EMPLOYEE | {"client_secret": "s3cret", "private_key": "s3cret"}, "no 'client_secret'"),
        (EMPLOYEE | {"idp_token_url": "ftp://idp.example"}, "not an https:// URL"),
        ({"assertion": "s3cret"}, "'assertion' is not for 'authorization_code'"),
        ({"assertion_file": "/x"}, "'assertion_file' is not for 'authorization_code'"),
        ({"idp_token_url": "https://idp.example"}, "'idp_token_url' is not for"),
        ({"grant": "password"}, "'authorization_code'"),
    ],
)
def test_what_is_not_is_refused_in_a_sentence_that_shows_no_value(fields, told):
    with pytest.raises(ValidationError) as caught:
        OAuthConfig.model_validate(fields)
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_no_secret_is_in_a_repr():
    secrets = {
        "client_secret": "s3cret",
        "idp_client_secret": "s3cret",
    }
    shown = [
        repr(OAuthConfig.model_validate(fields))
        for fields in (ROBOT, WORKLOAD, EMPLOYEE | secrets, EMPLOYEE | {"private_key": "s3cret"})
    ]
    assert [text for text in shown if "s3cret" in text] == []


def http(**fields):
    return HttpServerConfig.model_validate({"url": URL, **fields})


def test_where_the_application_acts_for_itself_users_may_share_connections():
    for said in (ROBOT, WORKLOAD):
        config = http(oauth=said)
        assert is_allowed_at_app_level(config)
        assert not requires_user_scoped_connection(config)
        assert http(oauth=said, scope="app").scope == "app"


def test_where_it_acts_for_a_user_each_has_a_connection_of_his_own():
    config = http(oauth=EMPLOYEE)
    assert not is_allowed_at_app_level(config)
    assert requires_user_scoped_connection(config)
    assert scope_of_server(config) == "user"
    with pytest.raises(ValidationError, match="'scope' is 'app', but"):
        http(oauth=EMPLOYEE, scope="app")


@pytest.mark.parametrize("whose", [{"source": "user"}, {"db_id": "7"}])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (EMPLOYEE, "cannot have the ID tokens of users"),
        (
            without(WORKLOAD, "assertion") | {"assertion_file": "/etc/passwd"},
            "cannot have files of this machine read",
        ),
    ],
)
def test_a_users_own_server_gets_neither_files_nor_id_tokens(whose, said, told):
    with pytest.raises(ValidationError, match=told):
        http(oauth=said, **whose)


def test_a_users_own_server_may_know_a_program_of_his():
    assert http(oauth=ROBOT, source="user").oauth.grant == "client_credentials"
