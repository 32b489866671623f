"""HTTP+SSE over TLS: a stream without a deadline, and POSTs that are answered late."""

from concurrent.futures import ThreadPoolExecutor

import requests

from mcpsync import Client
from transports.door import LONG, SOON, within
from transports.peer import DONE
from transports.sse_peer import ScriptedSSE, reply_to


def test_answers_come_over_tls_before_their_posts_are_answered(certificate):
    def call(server, request):
        server.say(reply_to(request, DONE))  # and the POST never is

    session = requests.Session()
    session.verify = certificate.path
    with (
        ScriptedSSE(context=certificate.context(), tools__call=call) as server,
        Client(server.url, session=session, timeout=LONG) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        client.send_ping()
        with within(0, SOON):
            found = list(pool.map(lambda _: client.call_tool("add"), range(8)))
    assert len(found) == 8
