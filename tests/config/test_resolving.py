"""``{{NAME}}`` in a configuration, replaced by what belongs to a user or a request."""

import base64
import re
import traceback
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpsync.config import (
    User,
    fingerprint,
    is_allowed_at_app_level,
    parse_server,
    requires_user_scoped_connection,
    resolve,
    resolve_headers,
    scope_of_server,
)
from mcpsync.errors import ConfigurationError, PlaceholderError

URL = "https://crm.example.com/mcp"
ADA = User(
    "42",
    name="Ada",
    email="ada@example.com",
    username="ada",
    provider="google",
    role="admin",
    openid_id="oid-1",
    attributes={"googleId": "g-1", "department": "R&D", "emailVerified": "true"},
)
BODY = {"messageId": "m1", "parentMessageId": "p1", "conversationId": "c1", "orderId": 7}


def http(**fields):
    """Make a server over HTTP."""
    return parse_server("crm", {"url": URL, **fields})


def resolved(config, user=ADA, custom=None, body=BODY):
    """Resolve a configuration, or what was written for one."""
    if isinstance(config, dict):
        config = parse_server("crm", config)
    return resolve(config, user=user, custom_user_vars=custom, body=body, server_name="crm")


def header(template, user=ADA, custom=None, body=BODY, **fields):
    """Return what a header's text is resolved to."""
    return resolved(http(headers={"X": template}, **fields), user, custom, body).headers["X"]


# -- what stands for what --------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "LIBRECHAT_"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER_ID", "42"),
        ("USER_NAME", "Ada"),
        ("USER_USERNAME", "ada"),
        ("USER_EMAIL", "ada@example.com"),
        ("USER_PROVIDER", "google"),
        ("USER_ROLE", "admin"),
        ("USER_OPENIDID", "oid-1"),
        ("USER_OPENID_ID", "oid-1"),
        ("USER_GOOGLEID", "g-1"),
        ("USER_DEPARTMENT", "R&D"),
        ("USER_EMAILVERIFIED", "true"),
        ("BODY_MESSAGEID", "m1"),
        ("BODY_PARENTMESSAGEID", "p1"),
        ("BODY_PARENT_MESSAGE_ID", "p1"),
        ("BODY_CONVERSATIONID", "c1"),
        ("BODY_ORDER_ID", "7"),
    ],
)
def test_a_placeholder_stands_for_a_field_of_the_user_or_of_the_body(prefix, name, value):
    assert header(f"{{{{{prefix}{name}}}}}") == value


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Bearer {{KEY}}", "Bearer k"),
        ("{{KEY}}{{KEY}}", "kk"),
        ("{{ KEY }}", "k"),
        ("{{api-key}}", "a"),
        ("{{{KEY}}}", "{k}"),
        ("{{USER_ID}}/{{KEY}}/{{BODY_MESSAGEID}}", "42/k/m1"),
        ("plain", "plain"),
        (
            "{{not_ours}} {{ x.y }} {{}} {{a b}} {KEY} {{KEY}",
            "{{not_ours}} {{ x.y }} {{}} {{a b}} {KEY} {{KEY}",
        ),
    ],
)
def test_every_placeholder_in_a_text_is_replaced(template, text):
    custom_user_vars = {"KEY": {}, "api-key": {}}
    custom = {"KEY": "k", "api-key": "a"}
    assert header(template, custom=custom, custom_user_vars=custom_user_vars) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    ],
)
def test_what_a_body_has_is_written_as_text(value, text):
    assert header("{{BODY_X}}", body={"x": value}) == text


def test_arguments_and_variables_of_a_command_are_resolved():
    written = {
        "command": "npx",
        "args": ["--user", "{{USER_ID}}", "--key={{KEY}}", "--format={{json}}"],
        "env": {"WHO": "{{USER_NAME}}", "PLAIN": "x"},
        "custom_user_vars": {"KEY": {}},
    }
    config = resolved(written, custom={"KEY": "k"})
    assert config.args == ("--user", "42", "--key=k", "--format={{json}}")
    assert config.env == {"WHO": "Ada", "PLAIN": "x"}


def test_a_command_without_variables_has_none_afterwards():
    assert resolved({"command": "x", "args": ["{{USER_ID}}"]}).env is None


def test_a_custom_variable_comes_before_a_users_field():
    fields = {"custom_user_vars": {"USER_ID": {}}}
    assert header("{{USER_ID}}", custom={"USER_ID": "mine"}, **fields) == "mine"


def test_a_value_that_nobody_declared_does_not_take_a_users_place():
    assert header("{{USER_ID}}", custom={"USER_ID": "somebody else"}) == "42"


def test_a_custom_variable_need_not_be_declared():
    assert header("{{KEY}}", custom={"KEY": "k"}) == "k"


def test_a_users_id_is_no_attribute():
    odd = User("42", attributes={"id": "43", "email": "ada@example.com"})
    assert header("{{USER_ID}} {{USER_EMAIL}}", odd) == "42 ada@example.com"


# -- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        http(),
        http(headers={"X": "{{not_ours}}"}),
        parse_server("files", {"command": "x", "args": ["{{ json }}"], "env": {"A": "1"}}),
    ],
    ids=repr,
)
def test_a_configuration_with_nothing_to_replace_is_returned_itself(config):
    assert resolve(config, user=None, custom_user_vars=None, body=None) is config


def test_the_configuration_itself_is_never_changed():
    config = http(url=f"{URL}/{{{{USER_ID}}}}", headers={"X": "{{USER_ID}}"}, timeout=5)
    before = config.model_dump()
    copy = resolved(config)
    assert config.model_dump() == before
    assert copy.model_dump() == before | {"url": f"{URL}/42", "headers": {"X": "42"}}


@pytest.mark.parametrize("value", ["{{USER_EMAIL}}", "${HOME}", "{{KEY}}", r"\1\g<0>", "{{"])
def test_what_was_put_in_is_not_looked_at_again(value):
    config = resolved(
        http(headers={"X": "{{KEY}}"}, custom_user_vars={"KEY": {}}), custom={"KEY": value}
    )
    assert config.headers["X"] == value
    assert resolved(config, custom={"KEY": "other"}) is config
    assert resolve_headers(config, user=ADA, custom_user_vars={}, body={}) is None


def test_whose_connection_it_is_still_follows_from_the_template():
    template = http(headers={"X": "{{BODY_MESSAGEID}}"})
    config = resolved(template)
    assert scope_of_server(config) == "request"
    assert requires_user_scoped_connection(config)
    assert not is_allowed_at_app_level(config)
    assert fingerprint(config) != fingerprint(template)


def test_what_people_are_shown_is_the_template():
    shown = resolved({"command": "npx", "args": ["{{USER_ID}}"]})
    assert shown.target == "npx"
    assert resolved({"url": f"{URL}/{{{{USER_ID}}}}"}).target == f"{URL}/{{{{USER_ID}}}}"


# -- what has no value -----------------------------------------------------------------------------

ROBERT = User("43", name=" ", attributes={"department": ""})


@pytest.mark.parametrize(
    ("name", "user", "sentence"),
    [
        ("USER_NAME", ROBERT, "a value for {{USER_NAME}}, and there is none"),
        ("USER_EMAIL", ROBERT, "a value for {{USER_EMAIL}}, and there is none"),
        ("USER_DEPARTMENT", ROBERT, "a value for {{USER_DEPARTMENT}}, and there is none"),
        ("USER_PASSWORD", ADA, "a value for {{USER_PASSWORD}}, and there is none"),
        ("USER_ATTRIBUTES", ADA, "a value for {{USER_ATTRIBUTES}}, and there is none"),
        ("USER_ID", None, "a user for {{USER_ID}}, and there is none"),
        ("KEY", ADA, "the custom variable KEY, which has no value"),
        ("BLANK", ADA, "the custom variable BLANK, which has no value"),
        ("API-KEY", ADA, "the custom variable API-KEY, which has no value"),
        ("LIBRECHAT_X", ADA, "the custom variable LIBRECHAT_X, which has no value"),
        ("OPENID_ACCESS_TOKEN", ADA, "a value for {{OPENID_ACCESS_TOKEN}}, and there is none"),
        ("LIBRECHAT_GRAPH_ACCESS_TOKEN", ADA, "a value for {{LIBRECHAT_GRAPH_ACCESS_TOKEN}}, and"),
    ],
)
@pytest.mark.parametrize(
    ("where", "written"),
    [
        ("headers.X-Key", {"url": URL, "headers": {"X-Key": "a {}"}}),
        ("url", {"url": f"{URL}/{{}}"}),
        ("args.1", {"command": "x", "args": ["a", "--k={}"]}),
        ("env.K", {"command": "x", "env": {"K": "{}"}}),
    ],
)
def test_what_has_no_value_is_named_with_its_server_and_field(where, written, name, user, sentence):
    def put(value):
        if isinstance(value, dict):
            return {key: put(item) for key, item in value.items()}
        if isinstance(value, list):
            return [put(item) for item in value]
        return value.replace("{}", f"{{{{{name}}}}}")

    with pytest.raises(PlaceholderError) as caught:
        resolved(put(written), user, {"BLANK": " \t"})
    assert str(caught.value).startswith(f"server 'crm': {where} needs {sentence}")
    assert str(caught.value).endswith(".")
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize("ask", [resolve, resolve_headers])
def test_all_missing_fields_of_the_body_are_named_at_once_in_the_seeds_words(ask):
    headers = {"X": "{{BODY_ORDER_ID}} {{BODY_CONVERSATIONID}}", "Y": "{{BODY_MESSAGEID}}"}
    with pytest.raises(PlaceholderError) as caught:
        ask(http(headers=headers), user=None, custom_user_vars=None, body={"conversationId": " "})
    assert caught.value.message == (
        "Request body field(s) required to resolve runtime MCP placeholders: "
        "messageId, conversationId, order_id."
    )


@pytest.mark.parametrize("name", ["USER_ID", "LIBRECHAT_USER_EMAIL", "BODY_MESSAGEID", "OPENID_X"])
@pytest.mark.parametrize("maker", [{"source": "user"}, {"db_id": "7"}])
def test_what_a_user_made_is_told_nothing_about_users(name, maker):
    with pytest.raises(PlaceholderError, match="is not resolved in what a user configured"):
        header(f"{{{{{name}}}}}", **maker)


def test_what_a_user_made_has_its_custom_variables():
    assert header("{{KEY}}", custom={"KEY": "k"}, source="user") == "k"


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["USER_NAME", "USER_USERNAME", "USER_EMAIL"])
def test_names_beyond_latin_1_are_sent_as_base64(name):
    user = User("1", name="王芳", username="王芳", email="王芳")
    encoded = base64.b64encode("王芳".encode()).decode()
    assert header(f"<{{{{{name}}}}}>", user) == f"<b64:{encoded}>"


def test_names_within_latin_1_are_sent_as_they_are():
    assert header("{{USER_NAME}}", User("1", name="Zoë ÿ")) == "Zoë ÿ"


def test_names_in_arguments_are_never_base64():
    written = {"command": "x", "args": ["{{USER_NAME}}"], "env": {"A": "{{USER_NAME}}"}}
    config = resolved(written, User("1", name="王芳"))
    assert (config.args, config.env) == (("王芳",), {"A": "王芳"})


@pytest.mark.parametrize(
    "value", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\n", "a\0b", "a\x1fb", "a\x7f", "ключ"]
)
@pytest.mark.parametrize("ask", [resolve, resolve_headers])
def test_a_value_that_would_break_out_of_its_header_is_refused_unseen(ask, value):
    config = http(headers={"X": "{{KEY}}"})
    with pytest.raises(PlaceholderError, match=r"headers\.X cannot hold .* {{KEY}}") as caught:
        ask(config, user=ADA, custom_user_vars={"KEY": value}, body=None)
    assert value not in "".join(traceback.format_exception(caught.value))


def test_a_name_with_a_line_break_is_refused_too():
    with pytest.raises(PlaceholderError, match=r"headers\.X cannot hold"):
        header("{{USER_NAME}}", User("1", name="Ada\r\nX-Admin: 1"))


@pytest.mark.parametrize(
    "written",
    [
        {"url": URL, "headers": {"X": "{{USER_NAME}}"}},
        {"url": URL + "/{{USER_NAME}}"},
        {"url": "{{USER_NAME}}/mcp"},
        {"command": "x", "args": ["{{USER_NAME}}"]},
    ],
)
def test_half_of_a_character_is_no_value(written):
    with pytest.raises(PlaceholderError, match=r"cannot hold the value of {{USER_NAME}}"):
        resolved(written, User("1", name="https://h/\ud800"))


def test_a_command_cannot_be_given_a_null():
    for written in ({"args": ["{{KEY}}"]}, {"env": {"A": "{{KEY}}"}}):
        with pytest.raises(PlaceholderError, match=r"cannot hold the value of {{KEY}}"):
            resolved({"command": "x", **written}, custom={"KEY": "a\0b"})


# -- the headers of one request --------------------------------------------------------------------


def test_only_headers_with_placeholders_go_with_each_request():
    config = http(headers={"A": "{{USER_ID}}", "B": "plain", "C": "{{KEY}} {{USER_ID}}"})
    found = resolve_headers(config, user=ADA, custom_user_vars={"KEY": "k"}, body=None)
    assert found == {"A": "42", "C": "k 42"}


@pytest.mark.parametrize(
    "config",
    [
        http(headers={"B": "plain", "C": "{{not_ours}}"}),
        http(url=f"{URL}/{{{{USER_ID}}}}"),
        parse_server("files", {"command": "x", "env": {"A": "{{USER_ID}}"}}),
    ],
    ids=["plain", "url", "stdio"],
)
def test_where_no_header_has_a_placeholder_there_is_nothing_to_send(config):
    assert resolve_headers(config, user=ADA, custom_user_vars=None, body=None) is None


def test_a_header_without_value_is_an_error_before_anything_is_sent():
    with pytest.raises(PlaceholderError, match=r"server 'crm': headers\.A needs a user"):
        resolve_headers(
            http(headers={"A": "{{USER_ID}}"}),
            user=None,
            custom_user_vars=None,
            body=None,
            server_name="crm",
        )


# -- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "value", "url"),
    [
        ("https://h.example.com/{{X}}/mcp", "a", "https://h.example.com/a/mcp"),
        ("https://h.example.com/{{X}}", "a/b?c#d", "https://h.example.com/a%2Fb%3Fc%23d"),
        (
            "https://h.example.com/{{X}}",
            "ada@example.com",
            "https://h.example.com/ada%40example.com",
        ),
        ("https://h.example.com/mcp?key={{X}}", "a&b=c", "https://h.example.com/mcp?key=a%26b%3Dc"),
        ("https://h.example.com?key={{X}}", "é {{", "https://h.example.com?key=%C3%A9%20%7B%7B"),
        ("https://{{X}}.example.com/mcp", "eu-1", "https://eu-1.example.com/mcp"),
        ("https://h.example.com:{{X}}/mcp", "8443", "https://h.example.com:8443/mcp"),
        ("https://u:{{X}}@h.example.com/", "p@/:", "https://u:p%40%2F%3A@h.example.com/"),
        ("https://u@{{X}}/", "h.example.com", "https://u@h.example.com/"),
        ("{{X}}/mcp", "http://h.example.com", "http://h.example.com/mcp"),
        ("{{X}}", "http://h.example.com/a?b=c", "http://h.example.com/a?b=c"),
        ("{{X}}://h.example.com/", "https", "https://h.example.com/"),
        ("https://h.example.com/a/../{{X}}", "b", "https://h.example.com/a/../b"),
    ],
)
def test_a_value_in_a_url_is_quoted_unless_the_url_begins_with_it(template, value, url):
    assert resolved({"url": template}, custom={"X": value}).url == url


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("https://{{X}}.example.com/", "evil.example/"),
        ("https://{{X}}.example.com/", "evil.example#"),
        ("https://{{X}}.example.com/", "evil.example\\"),
        ("https://{{X}}.example.com/", "u@evil"),
        ("https://{{X}}.example.com/", "a b"),
        ("https://h.example.com{{X}}/", ".evil.example"),
        ("https://h.example.com{{X}}/", "@evil.example"),
        ("https://u@{{X}}/", "evil.example/"),
        ("https://h.example.com:{{X}}/", "http"),
        ("https://h.example.com:{{X}}/", "99999"),
        ("https://h.example.com/mcp/{{X}}/x", ".."),
        ("https://h.example.com/mcp/{{X}}/x", "."),
        ("https://h.example.com/mcp/.{{X}}/x", "."),
        ("{{X}}/mcp", "ftp://h.example.com"),
        ("{{X}}/mcp", "file:///etc"),
        ("{{X}}/mcp", "h.example.com"),
        ("{{X}}/mcp", "https://"),
        ("{{X}}/mcp", "https://[s3cret"),
        ("{{X}}", "https://h.example.com/\r\nHost: evil"),
        ("{{X}}", " https://h.example.com/"),
    ],
)
def test_a_value_that_leads_elsewhere_is_refused_unseen(template, value):
    with pytest.raises(PlaceholderError, match="server 'crm': url ") as caught:
        resolved({"url": template}, custom={"X": value})
    shown = "".join(traceback.format_exception(caught.value))
    assert value in (".", "..", "http", "https://") or value not in shown


@pytest.mark.parametrize(
    ("template", "value"), [(f"{URL}/{{{{not_ours}}}}", "x"), ("{{X}}", f"{URL}/{{{{USER_ID}}}}")]
)
def test_a_url_that_still_has_placeholders_is_refused_in_the_seeds_words(template, value):
    with pytest.raises(PlaceholderError) as caught:
        resolved({"url": template}, custom={"X": value})
    assert caught.value.message == (
        "Runtime URL still contains unresolved MCP placeholders after resolution."
    )


# -- whatever is written ---------------------------------------------------------------------------

OURS = re.compile(r"\{\{\s*[A-Z_][A-Z0-9_.-]*\s*\}\}")
parts = st.sampled_from(
    ["{{USER_ID}}", "{{KEY}}", "{{BODY_MESSAGEID}}", "{{ KEY }}", "{{", "}}", "{", " ", "KEY", "x"]
)
templates = st.lists(parts, max_size=8).map("".join)
plain = st.text("ab{} $", min_size=1).filter(str.strip)


@given(templates, st.sampled_from(["a", "{", "}", "b b"]))
def test_no_placeholder_is_left(template, value):
    everything = {"KEY" * times: value for times in range(1, 9)}
    found = header(template, User(value), everything, {"messageId": value})
    put_in = OURS.sub(lambda match: "\0" * len(match[0]), template)
    assert not OURS.search(put_in)
    assert found == OURS.sub(lambda match: value, template)


@given(st.lists(st.tuples(st.text("ab ", max_size=3), plain), max_size=4))
def test_what_is_put_in_stands_there_as_it_was(pairs):
    names = {f"V{index}": value for index, (_, value) in enumerate(pairs)}
    written = ["".join(f"{text}{{{{V{index}}}}}" for index, (text, _) in enumerate(pairs))]
    config = resolved({"command": "x", "args": written}, custom=names)
    assert config.args == ("".join(text + value for text, value in pairs),)
    assert resolved(config, custom=dict.fromkeys(names, "again")).args == config.args


@given(st.text(min_size=1).filter(str.strip))
def test_no_value_breaks_out_of_a_header(value):
    config = http(headers={"X": "{{KEY}} {{USER_NAME}}"})
    try:
        found = resolve_headers(
            config, user=User("1", name=value), custom_user_vars={"KEY": value}, body=None
        )
    except PlaceholderError:
        return
    assert not re.search(r"[\r\n\0]", found["X"].encode("latin-1").decode("latin-1"))


@given(st.text(min_size=1).filter(str.strip))
def test_no_value_in_a_path_changes_the_host(value):
    try:
        found = resolved({"url": f"{URL}/{{{{KEY}}}}?x={{{{KEY}}}}"}, custom={"KEY": value}).url
    except PlaceholderError:
        assert value in (".", "..")
        return
    assert re.fullmatch(re.escape(URL) + r"/[\w.~%-]+\?x=[\w.~%-]+", found, re.ASCII)
