"""What may be shown of a URL."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync.security.redaction import safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/mcp", "https://example.com/mcp"),
        ("https://example.com", "https://example.com"),
        ("https://example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("http://[::1]:8000/mcp", "http://[::1]:8000/mcp"),
        ("https://user@example.com/mcp", "https://example.com/mcp"),
        ("https://user:s3cret@example.com/mcp", "https://example.com/mcp"),
        ("https://user:s3@cret@example.com/mcp", "https://example.com/mcp"),
        ("https://example.com/mcp?key=s3cret", "https://example.com/mcp"),
        ("https://example.com/mcp#s3cret", "https://example.com/mcp"),
        ("https://example.com?key=s3cret", "https://example.com"),
        ("//user:s3cret@example.com/mcp", "/mcp"),
        ("/relative/path?key=s3cret", "/relative/path"),
        ("relative", "relative"),
        ("", ""),
    ],
)
def test_a_url_is_shown_as_scheme_host_and_path(url, shown):
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "https://[s3cret]/",
        "user:s3cret@example.com/mcp",
        "http:/user:s3cret@example.com/mcp",
        "s3cret@example.com/mcp",
        "mailto:s3cret@example.com",
        "data:text/plain,s3cret",
    ],
)
def test_what_cannot_be_taken_apart_for_sure_is_not_shown(url):
    assert safe_url(url) == "<unreadable URL>"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://as.example/<script>", "https://as.example/%3Cscript%3E"),
        ("https://as.example/\x1b[31m", "https://as.example/%1B[31m"),
        ("https://as.example/a b", "https://as.example/a%20b"),
        ("https://as.example/\u202egpj", "https://as.example/%E2%80%AEgpj"),
        ("https://as.example/\udc80", "https://as.example/%3F"),
        ("https://as.example/a\nERROR all is lost", "https://as.example/aERROR%20all%20is%20lost"),
        ('"><img/onerror=x>', "%22%3E%3Cimg/onerror=x%3E"),
        ("https://grüße.example/ü", "https://grüße.example/ü"),
    ],
)
def test_what_would_be_markup_or_obeyed_by_a_terminal_is_encoded(url, shown):
    assert safe_url(url) == shown


def test_a_long_url_is_cut():
    assert len(safe_url(f"https://as.example/{'x' * 1_000_000}")) < 400


text = st.text("abc-._~", min_size=1, max_size=50)


@settings(deadline=None)
@given(text, text, text, text, text)
def test_no_secret_of_any_url_is_shown(user, password, host, path, query):
    url = f"https://{user}:{password}@{host}/{path}?{query}"
    assert safe_url(url) == f"https://{host}/{path}"
