"""How credentials come onto a request, and what is done when a server turns them down."""

import json
import logging
import threading

import pytest

from mcpsync import BearerAuth, Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectionClosed,
    ConnectionLost,
    HTTPStatusError,
    MessageInvalid,
    OAuthError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpsync.http import Authorizer, Fetcher
from mcpsync.http.authorizing import MOST_ANSWERS
from mcpsync.security.guard import AddressPolicy
from transports.door import BUDGET, SOON, ask, door, within
from transports.peer import PATIENCE, RawServer, chunk, response, silent

SECRET = "s3cr3t-t0ken"
NO = response(b'{"error": "no"}', "401 Unauthorized", WWW_Authenticate="Bearer")
FORBIDDEN = response(b"", "403 Forbidden")
REDIRECT = response(b"", "307 Elsewhere", Location="/other")
YES = response(b'{"ok": true}')


class Counting(Authorizer):
    """Adds a token with a number to each request, and remembers what it was told.

    Args:
        recovers: What :meth:`recover` does, called with the number of times it was.
    """

    def __init__(self, recovers=lambda number: True):
        self.recovers = recovers
        self.asked, self.refusals, self.noted = [], [], []

    def authorize(self, request, occasion):
        self.asked.append(occasion)
        request.headers["Authorization"] = f"Bearer t{len(self.asked)}"

    def recover(self, status, headers, request, occasion):
        self.refusals.append((status, headers, request, occasion))
        return self.recovers(len(self.refusals))

    def note(self, url, headers):
        self.noted.append((url, headers.get("x-hint")))


class Answers(RawServer):
    """Gives these answers in turn, then a good one; remembers the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        super().__init__(self._converse)

    def _converse(self, peer):
        while (request := peer.read()) is not None:
            self.requests.append((peer.number, request))
            peer.send(self.answers.pop(0) if self.answers else YES)

    @property
    def tokens(self):
        return [request.headers.get("authorization") for _, request in self.requests]


@pytest.fixture
def answering():
    servers = []

    def start(*answers):
        servers.append(Answers(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_credentials_are_asked_for_with_every_request(answering):
    server, auth = answering(), Counting()
    endpoint = door(server.url, auth=auth)
    assert [ask(endpoint)[0] for _ in range(2)] == [200, 200]
    assert server.tokens == ["Bearer t1", "Bearer t2"]
    assert auth.refusals == []
    assert [occasion.attempt for occasion in auth.asked] == [0, 0]


@pytest.mark.parametrize("refusal", [NO, FORBIDDEN], ids=["401", "403"])
def test_what_was_turned_down_is_sent_again_whole_with_new_credentials(refusal, answering):
    server, auth = answering(refusal), Counting()
    body = b'{"method": "tools/call"}'
    assert ask(door(server.url, auth=auth), body=body, headers={"Mcp-Method": "x"})[0] == 200
    assert server.tokens == ["Bearer t1", "Bearer t2"]
    first, second = (request for _, request in server.requests)
    assert first.body == second.body == body
    assert first.headers["mcp-method"] == second.headers["mcp-method"] == "x"
    assert [occasion.attempt for occasion in auth.asked] == [0, 1]


def test_whoever_recovers_is_told_what_was_said_and_what_was_sent(answering):
    server, auth = answering(NO), Counting()
    ask(door(server.url, auth=auth))
    ((status, headers, request, occasion),) = auth.refusals
    assert status == 401
    assert headers["WWW-Authenticate"] == headers["www-authenticate"] == "Bearer"
    assert request.headers["authorization"] == "Bearer t1"
    assert occasion.attempt == 0


def test_a_request_is_not_sent_more_than_four_times(answering):
    server, auth = answering(*[NO] * 9), Counting()
    assert ask(door(server.url, auth=auth)) == (401, b'{"error": "no"}')
    assert len(server.requests) == MOST_ANSWERS == 4
    assert [occasion.attempt for occasion in auth.asked] == [0, 1, 2, 3]
    assert len(auth.refusals) == 3, "there is no point in new credentials that nobody will see"


def test_redirects_and_refusals_do_not_multiply(answering):
    server, auth = answering(*[NO, REDIRECT] * 20), Counting()
    status, _ = ask(door(server.url, auth=auth))
    assert status == 401
    assert len(server.requests) <= MOST_ANSWERS + 5


def test_what_nobody_can_help_is_given_to_the_caller_as_it_came(answering):
    server, auth = answering(NO), Counting(lambda _: False)
    assert ask(door(server.url, auth=auth)) == (401, b'{"error": "no"}')
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [200, 202, 400, 404, 407, 409, 419, 429, 500, 503])
def test_only_who_says_that_nothing_was_run_is_asked_again(status, answering):
    server, auth = answering(response(b"{}", f"{status} X", WWW_Authenticate="Bearer")), Counting()
    assert ask(door(server.url, auth=auth))[0] == status
    assert len(server.requests) == 1
    assert auth.refusals == []


def test_a_connection_that_ends_is_no_refusal(serve):
    auth = Counting()
    server = serve(lambda peer: peer.read())
    with pytest.raises(Exception, match="closed the connection") as caught:
        ask(door(server.url, auth=auth))
    assert caught.value.maybe_executed
    assert len(auth.asked) == 1


def test_the_socket_of_a_refusal_is_used_again(answering):
    server, auth = answering(NO, NO), Counting()
    ask(door(server.url, auth=auth))
    assert [number for number, _ in server.requests] == [1, 1, 1]


def test_a_refusal_whose_body_does_not_end_is_not_waited_for(serve):
    endless = response(
        b"", "401 Unauthorized", Content_Length="", Transfer_Encoding="chunked"
    ) + chunk(b"wait")

    def script(peer):
        request = peer.read()
        if request is None:
            return
        peer.send(endless if peer.number == 1 else YES)
        peer.wait_gone()

    server, auth = serve(script), Counting()
    with within(0, SOON):
        assert ask(door(server.url, auth=auth))[0] == 200
    assert server.accepted == 2
    assert server.gone.wait(SOON), "its socket is not kept"


def test_a_refusal_whose_body_is_endless_is_cut(serve):
    head = response(b"", "401 Unauthorized", Content_Length="")

    def script(peer):
        peer.read()
        if peer.number > 1:
            peer.send(YES)
            peer.wait_gone()
            return
        try:
            peer.sock.sendall(head)
            while True:
                peer.sock.sendall(b" " * 65536)
        except OSError:
            return

    with within(0, SOON):
        assert ask(door(serve(script).url, auth=Counting()))[0] == 200


def test_what_recovering_raises_is_raised_and_the_refusal_is_over(answering):
    def raises(_):
        raise AuthorizationRequired("sign in.", authorization_url="https://as.example/")

    server, auth = answering(NO), Counting(raises)
    endpoint = door(server.url, auth=auth)
    with pytest.raises(AuthorizationRequired) as caught:
        ask(endpoint)
    assert not caught.value.maybe_executed
    auth.recovers = lambda _: True
    assert ask(endpoint)[0] == 200


@pytest.mark.parametrize("member", ["authorize", "note", "recover"])
def test_an_error_that_is_nobodys_leaves_no_socket_behind(member, answering):
    """The guard around every test looks for sockets."""

    class Failing(Counting):
        pass

    def fail(*_):
        raise ZeroDivisionError

    setattr(Failing, member, fail)
    with pytest.raises(ZeroDivisionError):
        ask(door(answering(NO).url, auth=Failing()))


def test_credentials_that_cannot_be_had_send_nothing(answering):
    server = answering()

    class Without(Counting):
        def authorize(self, request, occasion):
            raise AuthorizationRequired("sign in.")

    with pytest.raises(AuthorizationRequired):
        ask(door(server.url, auth=Without()))
    assert server.requests == []


def test_without_credentials_the_request_goes_without(answering):
    class Later(Counting):
        def authorize(self, request, occasion):
            if occasion.attempt:
                super().authorize(request, occasion)

    server = answering(NO)
    assert ask(door(server.url, auth=Later()))[0] == 200
    assert server.tokens == [None, "Bearer t1"]


def test_the_callers_own_credentials_are_neither_replaced_nor_helped(answering):
    server, auth = answering(NO), Counting()
    status, _ = ask(door(server.url, auth=auth), extra={"authorization": "Bearer own"})
    assert status == 401
    assert server.tokens == ["Bearer own"]
    assert auth.asked == auth.refusals == []
    assert len(auth.noted) == 1, "hints are good for others"


def test_configured_credentials_give_way_to_the_authorizers(answering):
    server = answering()
    ask(door(server.url, auth=Counting(), headers={"authorization": "Bearer configured"}))
    ((_, request),) = server.requests
    assert request.headers["authorization"] == "Bearer t1"
    assert request.names.count("authorization") == 1


@pytest.mark.parametrize("value", [f"Bearer {SECRET}\r\nX-Evil: 1", f"Bearer {SECRET}\n", 7])
def test_a_token_that_no_header_can_hold_is_not_sent_and_not_told(value, answering):
    class Odd(Counting):
        def authorize(self, request, occasion):
            request.headers["Authorization"] = value

    server = answering()
    with pytest.raises(ConfigurationError) as caught:
        ask(door(server.url, auth=Odd()))
    assert SECRET not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "DPoP"])
def test_no_token_goes_to_another_machine_in_the_clear(scheme):
    class Scheme(Counting):
        def authorize(self, request, occasion):
            request.headers["authorization"] = f"{scheme} {SECRET}"

    with pytest.raises(RefusedError, match="plain http") as caught:
        ask(door("http://mcp.example/mcp", auth=Scheme()))
    assert SECRET not in str(caught.value)


def test_hints_are_noted_with_every_answer_good_or_bad(answering):
    hint = response(b"{}", "401 No", X_Hint="1"), response(b"{}", X_Hint="2")
    server, auth = answering(*hint), Counting()
    ask(door(server.url, auth=auth))
    assert auth.noted == [(server.url, "1"), (server.url, "2")]


def test_a_plain_callable_is_asked_once_and_a_refusal_is_the_callers(answering):
    server = answering(NO)
    assert ask(door(server.url, auth=BearerAuth("t")))[0] == 401
    assert server.tokens == ["Bearer t"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (
            HTTPStatusError("as.example answered with status 500.", status=500, retryable=True),
            "http_500",
        ),
        (MessageInvalid("as.example did not answer with a JSON object."), "bad_answer"),
        (ResponseTooLarge("the answer is larger than 1 bytes.", limit=1), "bad_answer"),
    ],
)
@pytest.mark.parametrize("when", ["authorize", "recover"])
def test_what_an_authorization_server_answers_is_not_taken_for_the_servers_answer(
    when, error, word, answering
):
    class Failing(Counting):
        pass

    def fail(*_):
        raise error

    setattr(Failing, when, fail)
    with pytest.raises(OAuthError) as caught:
        ask(door(answering(NO).url, auth=Failing()))
    assert (caught.value.error, str(caught.value)) == (word, str(error))
    assert caught.value.retryable is error.retryable
    assert caught.value.__cause__ is error


def test_a_connection_lost_while_credentials_are_got_says_nothing_of_the_request(answering):
    def lose(_):
        raise ConnectionLost("cut.", maybe_executed=True, stale=True)

    with pytest.raises(ConnectionLost) as caught:
        ask(door(answering(NO).url, auth=Counting(lose)))
    assert not caught.value.maybe_executed
    assert not caught.value.stale


# -- redirects -------------------------------------------------------------------------------


def test_credentials_are_worked_out_anew_for_where_a_redirect_leads(answering):
    server, auth = answering(REDIRECT), Counting()
    assert ask(door(server.url, auth=auth))[0] == 200
    assert server.tokens == ["Bearer t1", "Bearer t2"]
    assert server.requests[1][1].target == "/other"


def test_a_refusal_behind_a_redirect_is_answered_there(answering):
    server, auth = answering(REDIRECT, NO), Counting()
    assert ask(door(server.url, auth=auth))[0] == 200
    assert [request.target for _, request in server.requests] == ["/mcp", "/other", "/other"]
    assert auth.noted[-1][0].endswith("/other")


def test_nobody_is_asked_for_credentials_for_another_origin(answering):
    other = answering()
    server = answering(response(b"", "307 X", Location=other.url))
    auth = Counting()
    with pytest.raises(HTTPStatusError, match="not followed"):
        ask(door(server.url, auth=auth))
    assert len(auth.asked) == 1
    assert other.accepted == 0


# -- time ------------------------------------------------------------------------------------


class Asking(Counting):
    """Recovers by asking somebody else, within the time of the call."""

    def __init__(self, url):
        super().__init__()
        self.url = url

    def recover(self, status, headers, request, occasion):
        Fetcher(policy=AddressPolicy("loopback")).get(
            self.url, deadline=occasion.deadline, cancel=occasion.cancel
        )
        return True


def test_the_deadline_of_the_call_ends_the_recovery(answering, serve):
    server, auth = answering(NO), Asking(serve(silent).url)
    budget = 3 * BUDGET  # the first answer comes within it, on a busy machine too
    with within(budget, budget + SOON), pytest.raises(RequestTimeout) as caught:
        ask(door(server.url, auth=auth), budget)
    assert len(server.requests) == 1
    assert not caught.value.maybe_executed, "the request was turned down"
    assert caught.value.timeout == budget


def test_the_cancel_of_the_call_ends_the_recovery(answering, serve):
    server, auth, cancel = answering(NO), Asking(serve(silent).url), Cancellation()
    threading.Timer(0.05, cancel.cancel, ["user left"]).start()
    with within(0, SOON), pytest.raises(RequestCancelled, match="user left"):
        ask(door(server.url, auth=auth), cancel=cancel)
    assert len(server.requests) == 1


def test_a_recovery_that_used_the_time_up_sends_nothing_more(answering):
    deadline = Deadline(3 * BUDGET)

    def slow(_):
        threading.Event().wait(deadline.remaining() + 0.01)
        return True

    server = answering(NO)
    endpoint = door(server.url, auth=Counting(slow))
    with pytest.raises(RequestTimeout):
        endpoint.send("POST", b"{}", {}, deadline=deadline).close()
    assert len(server.requests) == 1


def test_closing_ends_a_call_whose_recovery_is_under_way_before_it_is_sent_again(answering):
    server = answering(NO)
    entered, go_on = threading.Event(), threading.Event()

    def slow(_):
        entered.set()
        assert go_on.wait(PATIENCE)
        return True

    endpoint = door(server.url, auth=Counting(slow))
    failed = []

    def call():
        try:
            ask(endpoint)
        except ConnectionClosed as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert entered.wait(PATIENCE)
    endpoint.close(ConnectionClosed("closed."))
    go_on.set()
    thread.join(PATIENCE)
    assert len(failed) == 1
    assert len(server.requests) == 1


def test_two_threads_are_turned_down_and_helped_independently(answering):
    server = answering(*[NO] * 8)
    auth = Counting()
    endpoint = door(server.url, auth=auth)
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(endpoint)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(statuses) == 8
    assert len(server.requests) <= 8 * MOST_ANSWERS
    assert max(occasion.attempt for occasion in auth.asked) < MOST_ANSWERS


def test_no_credentials_are_logged(answering, caplog):
    caplog.set_level(logging.DEBUG)

    class Secret(Counting):
        def authorize(self, request, occasion):
            request.headers["Authorization"] = f"Bearer {SECRET}"

    server = answering(NO)
    assert json.loads(ask(door(server.url, auth=Secret()))[1]) == {"ok": True}
    assert server.tokens == [f"Bearer {SECRET}"] * 2
    assert SECRET not in caplog.text
    assert caplog.records, "urllib3 does log"
