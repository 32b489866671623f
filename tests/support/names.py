"""A name server on this machine, and a resolver that asks it.

The system's resolver cannot be pointed at a port, and port 53 takes root. So what stands in for
``getaddrinfo`` is a function that asks our server over UDP, and leaves literals, in all the
spellings that the C library takes, to ``getaddrinfo`` itself.
"""

import socket
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer


class NameServer:
    """Answers what it was told to, each time the next of several answers.

    Args:
        names: The addresses of each name, a list of lists; the last one is for good.

    Attributes:
        asked: Which names it was asked for, oldest first, once a look-up.
    """

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self._names = {name: list(answers) for name, answers in names.items()}
        self.asked: list[str] = []
        quiet = DNSLogger(log="-request,-reply,-truncated,-error")
        self._server = DNSServer(self, address="127.0.0.1", port=0, logger=quiet)
        self.port: int = self._server.server.server_address[1]
        self._server.start_thread()

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """Answer a question; called by the server, on its thread."""
        reply = request.reply()
        name = str(request.q.qname).rstrip(".").lower()
        answers = self._names.get(name)
        if answers is None:
            reply.header.rcode = RCODE.NXDOMAIN
            return reply
        if request.q.qtype == QTYPE.A:
            self.asked.append(name)
        for address in answers[0]:
            is_six = ":" in address
            if request.q.qtype == (QTYPE.AAAA if is_six else QTYPE.A):
                data = AAAA(address) if is_six else A(address)
                reply.add_answer(RR(name, QTYPE.AAAA if is_six else QTYPE.A, rdata=data, ttl=0))
        if request.q.qtype == QTYPE.AAAA and len(answers) > 1:  # asked for last
            answers.pop(0)
        return reply

    def getaddrinfo(self, host: str, port: int, family: int = 0, kind: int = 0) -> list[Any]:
        """Do what ``socket.getaddrinfo`` does, with this name server."""
        try:
            return socket.getaddrinfo(host, port, family, kind, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        found = [address for wanted in ("A", "AAAA") for address in self._ask(host, wanted)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [each for address in found for each in _infos(address, port, kind)]

    def _ask(self, host: str, wanted: str) -> list[str]:
        question = DNSRecord.question(host, wanted)
        answer = DNSRecord.parse(question.send("127.0.0.1", self.port, timeout=5))
        return [str(each.rdata) for each in answer.rr]

    def close(self) -> None:
        """Stop answering."""
        self._server.stop()
        self._server.server.server_close()
        self._server.thread.join(5)


def _infos(address: str, port: int, kind: int) -> list[Any]:
    return socket.getaddrinfo(address, port, 0, kind, flags=socket.AI_NUMERICHOST)
