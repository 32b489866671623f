"""Errors tell the truth: whose, where, whether it ran; and they copy, pickle and fit the tree."""

import copy
import pickle
import re

import pytest

import mcpsync
from mcpsync import errors
from mcpsync.errors import MCPSyncError

COMMON = {
    "server_name": "crm",
    "user_id": "42",
    "tool_name": "add",
    "method": "tools/call",
    "task_id": "t-1",
    "maybe_executed": True,
    "retryable": True,
}
OWN = {
    "AuthorizationRequired": {"authorization_url": "https://as.example", "challenge": "Bearer"},
    "OboTokenError": {
        "reason": "exchange_failed",
        "user_message": "Temporary OBO token exchange failure.",
        "error": "invalid_grant",
    },
    "InsufficientScope": {"required_scopes": ("read",), "challenge": "Bearer"},
    "HTTPStatusError": {"status": 502},
    "RateLimited": {"status": 429, "retry_after": 1.5},
    "ServerExited": {"returncode": -9, "stderr_tail": "killed"},
    "ResponseTooLarge": {"limit": 1000},
    "UnsupportedProtocolVersion": {"supported": ("2099-01-01",)},
    "CircuitOpen": {"retry_after": 30.0},
    "FeatureUnsupported": {"feature": "tasks.list"},
    "SkillInvalid": {"uri": "skill://a/SKILL.md"},
    "RequestTimeout": {"timeout": 0.5},
    "InputRequired": {
        "params": {"name": "add"},
        "input_requests": {"a": {"method": "roots/list"}},
        "request_state": " s ",
        "responses": {"b": {"action": "decline"}},
        "result": {"resultType": "input_required"},
    },
    "UrlElicitationRequired": {"code": -32042, "data": {"x": [1]}, "elicitations": ()},
    "MCPError": {"code": -32602, "data": {"x": [1]}, "status": 400},
}


def descendants(cls):
    """*cls* and all its subclasses that are ours."""
    found = [cls]
    for child in cls.__subclasses__():
        if child.__module__.startswith("mcpsync.errors"):
            found += descendants(child)
    return list(dict.fromkeys(found))


ALL = descendants(MCPSyncError)
each_class = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)


def full(cls):
    """An error of *cls* with a value in every attribute."""
    return cls("it failed.", **COMMON, **OWN.get(cls.__name__, {}))


def attributes(error):
    """All that an error has to say."""
    names = ["message", *COMMON, *OWN.get(type(error).__name__, {})]
    return {name: getattr(error, name) for name in names}


# -- copies ----------------------------------------------------------------------------------------

TRIPS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301 - ours
    "old pickle": lambda error: pickle.loads(pickle.dumps(error, protocol=0)),  # noqa: S301
    "twice": lambda error: copy.copy(copy.copy(error)),
}


@each_class
@pytest.mark.parametrize("trip", list(TRIPS))
def test_a_copy_says_all_that_the_original_does(cls, trip):
    error = full(cls)
    copied = TRIPS[trip](error)
    assert copied is not error
    assert type(copied) is cls
    assert attributes(copied) == attributes(error)
    assert attributes(error) == {
        "message": "it failed.",
        **COMMON,
        **OWN.get(cls.__name__, {}),
    }
    assert (str(copied), copied.args) == (str(error), error.args)


@each_class
def test_what_is_written_onto_a_copy_does_not_reach_the_original(cls):
    error = cls("it failed.")
    copied = copy.copy(error).with_context(server_name="crm", tool_name="add")
    copied.maybe_executed = True
    assert (error.server_name, error.tool_name, error.maybe_executed) == (None, None, False)


@each_class
def test_a_bare_error_copies_too(cls):
    copied = TRIPS["pickle"](cls("it failed."))
    assert attributes(copied) == attributes(cls("it failed."))
    assert vars(copied) == {"message": "it failed."}


# -- attributes ------------------------------------------------------------------------------------


@each_class
def test_an_error_knows_nothing_until_it_is_told(cls):
    error = cls("it failed.")
    assert (error.server_name, error.user_id, error.tool_name, error.method) == (None,) * 4
    assert error.maybe_executed is False


RETRYABLE = {
    "CircuitOpen",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "RateLimited",
    "SessionExpired",
    "ServerExited",
    "StoreError",
    "SubscriptionLost",
    "RequestTimeout",
}


@each_class
def test_there_is_a_point_in_trying_again_after_these(cls):
    assert cls("it failed.").retryable is (cls.__name__ in RETRYABLE)


@each_class
@pytest.mark.parametrize("name", ["sever_name", "status_code", "foo", "_private"])
def test_an_attribute_that_does_not_exist_is_a_type_error(cls, name):
    with pytest.raises(TypeError, match=f"{cls.__name__} has no attribute '{name}'"):
        cls("it failed.", **{name: 1})


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (errors.TransportError, "status"),
        (errors.HTTPStatusError, "retry_after"),
        (errors.MCPSyncError, "code"),
        (errors.ConnectError, "timeout"),
    ],
)
def test_an_attribute_of_another_class_is_a_type_error(cls, name):
    with pytest.raises(TypeError, match=name):
        cls("it failed.", **{name: 1})


def test_context_fills_in_only_what_is_missing_and_returns_the_error():
    error = errors.ConnectError("refused.", server_name="crm", user_id="")
    same = error.with_context(
        server_name="other", user_id="42", tool_name="add", method="tools/call"
    )
    assert same is error
    assert (error.server_name, error.user_id) == ("crm", "")
    assert (error.tool_name, error.method) == ("add", "tools/call")


@pytest.mark.parametrize("name", ["server_name", "user_id", "tool_name", "method"])
def test_context_that_is_known_to_be_empty_is_known(name):
    error = errors.ConnectError("refused.", **{name: ""}).with_context(**{name: "other"})
    assert getattr(error, name) == ""


def test_context_that_is_not_known_changes_nothing():
    error = full(errors.ConnectError)
    error.with_context()
    error.with_context(server_name=None, user_id=None, tool_name=None, method=None)
    assert attributes(error) == attributes(full(errors.ConnectError))


# -- words -----------------------------------------------------------------------------------------

HAS_NOT_RUN = "The server has not run it."
MAY_HAVE_RUN = "The server may have run it, and it was not repeated."


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ({}, "it failed."),
        ({"server_name": "crm"}, "server 'crm': it failed."),
        ({"user_id": "42"}, "user '42': it failed."),
        ({"server_name": "crm", "user_id": "42"}, "server 'crm', user '42': it failed."),
        ({"method": "tools/list", "maybe_executed": True}, "it failed."),
        ({"tool_name": "add"}, f"tool 'add': it failed. {HAS_NOT_RUN}"),
        ({"tool_name": "add", "maybe_executed": True}, f"tool 'add': it failed. {MAY_HAVE_RUN}"),
        (
            {"server_name": "crm", "user_id": "42", "tool_name": "add", "maybe_executed": True},
            f"server 'crm', user '42', tool 'add': it failed. {MAY_HAVE_RUN}",
        ),
        ({"server_name": "", "user_id": "0"}, "server '', user '0': it failed."),
    ],
)
def test_an_error_says_where_what_and_whether_the_tool_ran(context, text):
    error = errors.ConnectionLost("it failed.", **context)
    assert str(error) == text
    assert error.message == "it failed."


def test_what_is_learnt_later_is_said_too():
    error = errors.ConnectionLost("it failed.")
    assert str(error) == "it failed."
    error.with_context(tool_name="add").maybe_executed = True
    assert str(error) == f"tool 'add': it failed. {MAY_HAVE_RUN}"


@pytest.mark.parametrize("tool_name", [None, "add"])
def test_the_servers_own_error_says_its_code(tool_name):
    error = errors.MCPError("Unknown tool", code=-32602, tool_name=tool_name)
    where = "" if tool_name is None else "tool 'add': "
    assert str(error) == f"{where}Unknown tool (code -32602)"
    assert error.message == "Unknown tool"


# -- the tree --------------------------------------------------------------------------------------


def drawn():
    """The tree in the module's docstring: the parent, the built-in and the attributes of each."""
    tree, path = {}, []
    for line in errors.__doc__.partition("::\n")[2].splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)(?: \((\w+)\))?(.*)", line)
        if found:
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            parent = path[-2] if depth else None
            tree[found[2]] = (parent, found[3], set(re.findall(r"\.(\w+)", found[4])))
    return tree


TREE = drawn()


def test_the_docstring_draws_every_class_and_every_class_it_draws_exists():
    assert set(TREE) == {cls.__name__ for cls in ALL}
    assert len(ALL) == 41


@each_class
def test_every_class_hangs_where_it_is_drawn(cls):
    parent, builtin, _ = TREE[cls.__name__]
    ours = [base.__name__ for base in cls.__bases__ if issubclass(base, MCPSyncError)]
    others = [base.__name__ for base in cls.__bases__ if not issubclass(base, MCPSyncError)]
    assert ours == ([parent] if parent else [])
    assert others == ([builtin] if builtin else [] if parent else ["Exception"])


@each_class
def test_every_attribute_that_is_drawn_exists(cls):
    for name in TREE[cls.__name__][2]:
        assert hasattr(cls("it failed."), name), name


@each_class
def test_every_class_is_to_be_had_from_the_package_and_has_a_docstring_of_its_own(cls):
    assert getattr(mcpsync, cls.__name__) is cls
    assert cls.__name__ in mcpsync.__all__
    assert cls.__doc__
    assert "__doc__" in vars(cls)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.PlaceholderError, ValueError),
        (errors.ServerNotFound, LookupError),
        (errors.ConnectTimeout, TimeoutError),
        (errors.RequestTimeout, TimeoutError),
    ],
)
def test_who_knows_only_the_built_in_can_catch_it(cls, builtin):
    with pytest.raises(builtin):
        raise cls("it failed.")
