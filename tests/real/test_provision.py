"""The set-up that makes and caches what the tests talk to."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import counterparts, provision


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPSYNC_TEST_CACHE", str(tmp_path))


class Installer:
    """Counts how often it was asked, and fails the first *failures* times."""

    def __init__(self, failures=0):
        self.calls = 0
        self._failures = failures

    def __call__(self, target):
        self.calls += 1
        target.mkdir()
        (target / "half").touch()
        if self.calls <= self._failures:
            raise provision.Unavailable("no network")


def install(installer, wanted="thing 1"):
    return provision._installed("thing", wanted, installer)


def test_what_is_installed_is_not_installed_again():
    installer = Installer()
    assert install(installer) == install(installer)
    assert installer.calls == 1


def test_another_requirement_is_another_installation():
    installer = Installer()
    assert install(installer) != install(installer, "thing 2")


def test_half_an_installation_is_made_anew():
    installer = Installer(failures=1)
    with pytest.raises(provision.Unavailable):
        install(installer)
    install(installer)
    assert installer.calls == 2


def test_two_that_want_the_same_at_once_install_it_once():
    entered, second = threading.Event(), threading.Event()

    class Slow(Installer):
        def __call__(self, target):
            entered.set()
            assert second.wait(10)
            super().__call__(target)

    installer = Slow()

    def late():
        entered.wait(10)
        second.set()
        return install(installer)

    with ThreadPoolExecutor(2) as pool:
        targets = {pool.submit(install, installer), pool.submit(late)}
        assert len({target.result(20) for target in targets}) == 1
    assert installer.calls == 1


def test_an_installer_that_fails_says_what_it_said():
    with pytest.raises(provision.Unavailable, match=r"(?s)the thing failed \(exit 3\).*no luck"):
        provision.run(["sh", "-c", "echo no luck; exit 3"], "the thing")


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip), ("1", pytest.fail)])
def test_a_missing_counterpart_is_skipped_unless_it_is_required(monkeypatch, required, outcome):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("MCPSYNC_REQUIRE_COUNTERPARTS", required)
    counterparts.attempt.cache_clear()
    with pytest.raises(outcome.Exception, match="needs node and npm"):
        counterparts.obtain("everything")
    assert counterparts.attempt("everything") is counterparts.attempt("everything")
    counterparts.attempt.cache_clear()


def test_a_node_that_is_old_enough_is_taken_and_a_newer_one_comes_as_a_wheel(monkeypatch):
    here = provision.node()
    assert provision.run([here, "--version"], "node").startswith("v")
    asked = []
    monkeypatch.setattr(provision, "python_environment", lambda *what: asked.append(what) or here)
    monkeypatch.setattr(provision, "run", lambda *_: "v18.20.4")
    assert provision.node(at_least=18) == here
    assert not asked
    provision.node(at_least=20)
    assert asked == [("node22", provision.NODE22)]
