"""What the client of the conformance suite does in the scenarios about authorization."""

import contextlib
import urllib.error
import urllib.request
from typing import Any

import mcpsync
from mcpsync.auth import (
    CimdDocument,
    ClientCredentialsGrant,
    ClientKey,
    EnterpriseManaged,
    OAuth,
    WorkloadIdentity,
)

CALLBACK = "http://localhost:3000/callback"
CIMD = "https://conformance-test.local/client-metadata.json"
PREFIX = "auth/"

# Nothing is to come of these: the client has to turn back before it gets a token.
REFUSED = {
    "auth/resource-mismatch",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
    "auth/scope-retry-limit",
}


class Browser:
    """A user who agrees at once."""

    def __init__(self) -> None:
        self._came_to = ""

    def go(self, url: str) -> None:
        """Ask for the page, and remember where it leads."""
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(url, timeout=20) as answer:
                raise AssertionError(f"the page does not redirect: {answer.status}")
        except urllib.error.HTTPError as error:
            self._came_to = error.headers["Location"]
            error.close()

    def came_to(self) -> str:
        """Where the user came back to."""
        return self._came_to


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def auth_for(scenario: str, context: dict[str, Any]) -> Any:
    """The ``auth=`` of a scenario."""
    if scenario == "auth/client-credentials-basic":
        return ClientCredentialsGrant(context["client_id"], context["client_secret"])
    if scenario == "auth/client-credentials-jwt":
        key = ClientKey(context["private_key_pem"], context.get("signing_algorithm", "ES256"))
        return ClientCredentialsGrant(context["client_id"], client_key=key)
    if scenario == "auth/wif-jwt-bearer":
        return WorkloadIdentity(context["valid_jwt"], context["client_id"])
    if scenario == "auth/enterprise-managed-authorization":
        return EnterpriseManaged(
            context["idp_id_token"],
            idp_token_endpoint=context["idp_token_endpoint"],
            idp_client_id=context["idp_client_id"],
            client_id=context["client_id"],
            client_secret=context["client_secret"],
        )
    browser, options = Browser(), {}
    if "client_id" in context:
        options = {"client_id": context["client_id"], "client_secret": context["client_secret"]}
    return OAuth(
        CALLBACK,
        redirect_handler=browser.go,
        callback_handler=browser.came_to,
        document=CimdDocument(CIMD, [CALLBACK]),
        dpop=True if scenario.startswith("auth/dpop") else None,
        **options,
    )


def use(client: mcpsync.Client, scenario: str) -> None:
    """List the tools and call one, as far as the scenario lets that happen."""
    expected = (mcpsync.MCPSyncError,) if scenario in REFUSED else ()
    with contextlib.suppress(*expected):
        names = [tool.name for tool in client.tools()]
        for name in names:
            client.call_tool(name, {})
