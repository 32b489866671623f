"""examples/flask_signin under gunicorn: four workers, one SQLite file, browsers that walk through.

A worker that is not to answer is stopped meanwhile (SIGSTOP), so that another one has to.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

import mcpsync
from mcpsync import stores
from programs.running import Program
from support import counterparts
from support.authority import Authority
from support.processes import free_port, wait_until
from support.source import ROOT

EXAMPLE = ROOT / "examples" / "flask_signin"
WORKERS = 4
OPTIONS = ["", "--preload"]


class Site:
    """The application, and whoever visits it."""

    def __init__(
        self, program: Program, authority: Authority, port: int, folder: Path, *options: str
    ) -> None:
        self.program = program
        self.authority = authority
        self.url = f"http://127.0.0.1:{port}"
        self.visits = ""
        self.secrets = [stores.new_key(), "the secret of the sessions"]
        program.start(
            "gunicorn", f"--workers={WORKERS}", f"--bind=127.0.0.1:{port}", "--log-level=debug",
            *options, "walk:app",
            PYTHONPATH=f"{program.env['PYTHONPATH']}:{EXAMPLE}",
            MCP_URL=authority.url,
            OAUTH_REDIRECT_URI=f"{self.url}/mcp/callback",
            STORE_PATH=str(folder / "signin.db"),
            STORE_KEY=self.secrets[0],
            APP_SECRET=self.secrets[1],
        )  # fmt: skip
        wait_until(
            lambda: program.output.count("Booting worker") == WORKERS, "all workers are there", 30
        )

    def visitor(self, name: str) -> requests.Session:
        """Return the browser of a user who is logged in."""
        browser = requests.Session()
        browser.headers["Connection"] = "close"  # each request may be anybody's
        user = f"{name} of {self.visits}"
        answer = browser.post(f"{self.url}/login", {"user": user}, timeout=20)
        assert answer.status_code == 204
        return browser

    def get(self, browser: requests.Session, path: str) -> requests.Response:
        """Ask for a page, and follow no redirect."""
        url = path if path.startswith("http") else self.url + path
        return browser.get(url, allow_redirects=False, timeout=20)

    def begin(self, browser: requests.Session, path: str = "/?q=ada") -> requests.Response:
        """Ask for a page that needs a sign-in; the answer leads there."""
        answer = self.get(browser, path)
        assert answer.status_code == 302, answer.text
        assert answer.headers["Location"].startswith(f"{self.authority.issuer}/authorize?")
        return answer

    def sign_in(self, browser: requests.Session, path: str = "/?q=ada") -> requests.Response:
        """Walk through, to where the walk began."""
        came_back = self.authority.approve(self.begin(browser, path).headers["Location"])
        answer = self.get(browser, came_back)
        assert (answer.status_code, answer.headers["Location"]) == (302, path), answer.text
        return self.get(browser, answer.headers["Location"])


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Have workers of ours stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def worker(answer: requests.Response) -> int:
    """Return who has answered."""
    return int(answer.headers["X-Worker"])


def other_workers(site: Site, browser: requests.Session, path: str, first: int) -> dict[int, Any]:
    """Return what each worker but the *first* answers, by process id."""
    found: dict[int, Any] = {}
    while len(found) < WORKERS - 1:
        with stopped(first, *found):
            answer = site.get(browser, path)
        assert worker(answer) not in {first, *found}
        found[worker(answer)] = answer
    return found


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """The application, started with each of gunicorn's options; nothing secret is in its output."""
    library = tmp_path_factory.mktemp("library")
    (library / "mcpsync").symlink_to(Path(mcpsync.__file__).parent)
    python = Path(counterparts.obtain("programs")[0])
    made: dict[str, Site] = {}
    with contextlib.ExitStack() as stack:
        for option in OPTIONS:
            authority = stack.enter_context(Authority())
            folder = tmp_path_factory.mktemp("site")
            program = Program(python, folder, library, authority.mcp)
            stack.callback(program.kill)
            made[option] = Site(program, authority, free_port(), folder, *option.split())
        yield made
        for site in made.values():
            site.program.stop()
            hidden = [*site.secrets, *site.authority.secrets]
            assert [secret for secret in hidden if secret in site.program.output] == []


@pytest.fixture
def site(request, sites) -> Iterator[Site]:
    found = sites[getattr(request, "param", "")]
    found.authority.asked.clear()
    found.visits = request.node.name  # each test has users of its own
    yield found
    for server in (found.authority.mcp, found.authority.server):
        server.drop_idle_connections()  # those of the workers
        assert server.wait_for(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("site", OPTIONS, indirect=True)
def test_another_worker_completes_what_one_began_and_all_of_them_call(site):
    ada = site.visitor("ada")
    begun = site.begin(ada, "/?q=ada")
    came_back = site.authority.approve(begun.headers["Location"])
    with stopped(worker(begun)):
        completed = site.get(ada, came_back)
    assert (completed.status_code, completed.headers["Location"]) == (302, "/?q=ada")
    assert worker(completed) != worker(begun)
    first = site.get(ada, "/?q=ada")
    others = other_workers(site, ada, "/?q=ada", worker(first))
    assert [answer.json() for answer in (first, *others.values())] == [{"answer": ["ada"]}] * 4
    assert site.authority.count("authorize") == 1
    assert site.authority.count("token") == 1


def test_what_is_over_is_refreshed_once_for_all_workers(site):
    ada = site.visitor("ada")
    first = site.sign_in(ada)
    other_workers(site, ada, "/?q=ada", worker(first))  # so that all of them have the token
    site.authority.end_access_tokens()
    with ThreadPoolExecutor(WORKERS) as at_once:
        answers = list(at_once.map(lambda _: site.get(ada, "/?q=ada").json(), range(3 * WORKERS)))
    assert answers == [{"answer": ["ada"]}] * 3 * WORKERS
    assert site.authority.count("token", grant_type="refresh_token") == 1


def test_who_comes_back_twice_has_signed_in_once(site):
    def clicks() -> int:
        return site.program.output.count("GET /mcp/callback")

    def both_are_there() -> None:
        wait_until(lambda: clicks() == before + 2, "both clicks")

    before = clicks()
    ada = site.visitor("ada")
    came_back = site.authority.approve(site.begin(ada).headers["Location"])
    site.authority.say("/token", both_are_there)
    with ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda _: site.get(ada, came_back), range(2)):
            assert answer.status_code == 302, answer.text
    assert site.get(ada, came_back).status_code == 302
    assert site.get(ada, "/?q=ada").json() == {"answer": ["ada"]}
    assert site.authority.count("token") == 1


def test_two_users_at_once_have_each_their_own(site):
    def walk(name: str) -> set[str]:
        browser = site.visitor(name)
        site.sign_in(browser, f"/?q={name}")
        seen = set()
        for _ in range(12):
            assert site.get(browser, f"/?q={name}").json() == {"answer": [name]}
            seen.add(site.get(browser, "/whoami").json()["authorization"])
        return seen

    with ThreadPoolExecutor(2) as users:
        ada, bob = users.map(walk, ["ada", "bob"])
    assert (len(ada), len(bob)) == (1, 1)
    assert ada != bob


def test_what_another_browser_or_another_user_brings_is_refused(site):
    ada, elsewhere, eve = site.visitor("ada"), site.visitor("ada"), site.visitor("eve")
    begun = site.begin(ada)
    came_back = site.authority.approve(begun.headers["Location"])
    cookie = next(cookie for cookie in ada.cookies if cookie.name.startswith("mcp-"))
    for browser, told in (
        (elsewhere, "another browser"),  # without the cookie
        (eve, "another user"),
        (requests.Session(), "another user"),  # who is not logged in
    ):
        answer = site.get(browser, came_back)
        assert (answer.status_code, told in answer.text) == (403, True), answer.text
    elsewhere.cookies.set(cookie.name, "0" * 32, domain=cookie.domain, path=cookie.path)
    assert site.get(elsewhere, came_back).status_code == 403
    assert site.authority.count("token") == 0
    assert site.get(ada, came_back).status_code == 302
    assert site.get(ada, "/?q=ada").json() == {"answer": ["ada"]}


def test_the_cookie_of_a_sign_in_is_for_its_callback_and_no_script(site):
    begun = site.begin(site.visitor("ada"))
    cookies = begun.raw.headers.getlist("Set-Cookie")
    (kept,) = [cookie.split("; ") for cookie in cookies if cookie.startswith("mcp-")]
    assert {"HttpOnly", "SameSite=Lax", "Path=/mcp/callback", "Max-Age=900"} <= set(kept)
    assert "Secure" not in kept  # the callback is http:// on this machine


def test_a_forged_state_another_issuer_and_a_refusal_are_sentences(site):
    ada = site.visitor("ada")
    url = site.begin(ada).headers["Location"]
    came_back = urlsplit(site.authority.approve(url))
    query = dict(parse_qsl(came_back.query))
    for told, changed in {
        "nobody began a sign-in with this state": {"state": "<b>forged</b>"},
        "another authorization server": {"iss": "https://evil.example"},
        "": {"code": ""},
    }.items():
        answer = site.get(ada, f"/mcp/callback?{urlencode({**query, **changed})}")
        assert (answer.status_code, told in answer.text) == (403, True), answer.text
        assert "<b>" not in answer.text
    assert site.authority.count("token") == 0
    url = site.begin(ada).headers["Location"]
    refused = site.get(ada, site.authority.refuse(url, "access_denied"))
    assert refused.status_code == 403
    assert "Not signed in: the user did not agree" in refused.text
    assert site.sign_in(ada).json() == {"answer": ["ada"]}


def test_signing_out_gives_the_tokens_back_for_every_worker(site):
    ada, bob = site.visitor("ada"), site.visitor("bob")
    first = site.sign_in(ada)
    site.sign_in(bob)
    other_workers(site, ada, "/?q=ada", worker(first))
    assert ada.post(f"{site.url}/sign-out", timeout=20).status_code == 204
    assert site.authority.count("revoke") == 2
    again = site.begin(ada)
    for answer in other_workers(site, ada, "/?q=ada", worker(again)).values():
        assert answer.headers["Location"] == again.headers["Location"]
    assert site.get(bob, "/?q=bob").json() == {"answer": ["bob"]}
