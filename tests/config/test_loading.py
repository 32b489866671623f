"""Servers from a mapping or a YAML file, and what each mistake in them is called."""

import os
import sys
import traceback

import pytest

from mcpsync.config import (
    HttpServerConfig,
    StdioServerConfig,
    load_servers,
    load_yaml,
)
from mcpsync.config.documents import read_document
from mcpsync.errors import ConfigurationError, PlaceholderError

URL = "https://crm.example.com/mcp"


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(content):
        path = tmp_path / "mcpsync.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# -- mappings --------------------------------------------------------------------------------------


def test_servers_are_loaded_by_name_in_their_order():
    config = HttpServerConfig(url=URL)
    servers = {"b": {"command": "npx"}, "a": {"url": URL}, "c": config}
    loaded = load_servers(servers, environment={})
    assert list(loaded) == ["b", "a", "c"]
    assert loaded["a"] == config
    assert loaded["b"] == StdioServerConfig(command="npx")
    assert loaded["c"] is config


def test_no_servers_are_a_mapping_like_any_other():
    assert load_servers({}) == {}


def test_placeholders_are_looked_up_where_we_are_told():
    servers = {"crm": {"url": URL, "headers": {"X-Key": "${MCPSYNC_TEST_KEY}"}}}
    loaded = load_servers(servers, environment={"MCPSYNC_TEST_KEY": "1"})
    assert loaded["crm"].headers == {"X-Key": "1"}


def test_placeholders_are_looked_up_in_the_processs_own_environment_by_default(monkeypatch):
    servers = {"crm": {"url": URL, "headers": {"X-Key": "${MCPSYNC_TEST_KEY}"}}}
    monkeypatch.setenv("MCPSYNC_TEST_KEY", "2")
    assert load_servers(servers)["crm"].headers == {"X-Key": "2"}
    assert load_servers(servers, environment=os.environ)["crm"].headers == {"X-Key": "2"}


def test_an_empty_environment_is_not_the_processs_own(monkeypatch):
    monkeypatch.setenv("MCPSYNC_TEST_KEY", "2")
    with pytest.raises(PlaceholderError):
        load_servers({"crm": {"url": "${MCPSYNC_TEST_KEY}"}}, environment={})


def test_a_placeholder_without_value_names_server_and_field():
    servers = {"crm": {"url": URL, "headers": {"X-Key": "${MISSING}"}}}
    with pytest.raises(PlaceholderError, match=r"crm\.headers\.X-Key needs .* MISSING"):
        load_servers(servers, environment={})


def test_a_configuration_made_in_code_is_not_expanded():
    config = HttpServerConfig(url=URL, headers={"X": "${MISSING}"})
    assert load_servers({"crm": config}, environment={})["crm"].headers == {"X": "${MISSING}"}


@pytest.mark.parametrize("maker", [{"source": "user"}, {"db_id": "7"}])
def test_what_a_user_made_does_not_read_our_environment(maker):
    servers = {"crm": {"url": URL, "headers": {"X": "${TOKEN}"}, **maker}}
    loaded = load_servers(servers, environment={"TOKEN": "s3cret"})
    assert loaded["crm"].headers == {"X": "${TOKEN}"}


@pytest.mark.parametrize("source", ["yaml", "config"])
def test_what_the_operator_keeps_in_a_database_reads_it(source):
    servers = {"crm": {"url": "${URL}", "source": source, "db_id": "7"}}
    assert load_servers(servers, environment={"URL": URL})["crm"].url == URL


@pytest.mark.parametrize("name", ["", 7, None, ("a",), True])
def test_a_servers_name_is_a_non_empty_string(name):
    with pytest.raises(ConfigurationError, match="name must be a non-empty string") as caught:
        load_servers({name: {"url": URL}})
    assert repr(name) in str(caught.value)


def test_the_wrong_one_of_several_servers_is_named():
    with pytest.raises(ConfigurationError, match=r"server 'b': .* 'url'"):
        load_servers({"a": {"url": URL}, "b": {"url": "nonsense"}, "c": {"url": URL}})


@pytest.mark.parametrize("servers", [None, [], ["crm"], "crm", 7])
def test_servers_that_are_no_mapping_are_turned_down(servers):
    with pytest.raises(ConfigurationError, match="the servers must be a mapping"):
        load_servers(servers)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "timeout"), [("servers", 30), ("mcpServers", 30_000)])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_file_has_its_servers_under_either_key(write, key, timeout, as_path):
    path = write(f"""
        {key}:
          crm:
            url: {URL}
            headers: {{X-Key: "${{KEY}}"}}
            timeout: {timeout}
          files:
            command: npx
            args: [-y, server]
            env: {{HOME: "${{KEY}}"}}
    """)
    loaded = load_yaml(as_path(path), environment={"KEY": "1"})
    assert loaded == {
        "crm": HttpServerConfig(url=URL, headers={"X-Key": "1"}, timeout=30),
        "files": StdioServerConfig(command="npx", args=("-y", "server"), env={"HOME": "1"}),
    }


def test_what_a_file_says_can_be_read_as_it_was_written(write):
    path = write("servers: {crm: {url: '${MISSING}', tmieout: 5}}")
    assert read_document(path).servers == {"crm": {"url": "${MISSING}", "tmieout": 5}}


def test_our_own_key_wins_over_that_of_the_desktops(write):
    path = write(f"{{mcpServers: {{a: {{url: '{URL}'}}}}, servers: {{b: {{url: '{URL}'}}}}}}")
    assert list(load_yaml(path)) == ["b"]


def test_json_is_yaml_enough(write):
    path = write(b'{"mcpServers": {"files": {"command": "npx", "args": ["-y", "server"]}}}')
    assert load_yaml(path)["files"].args == ("-y", "server")


def test_what_else_is_in_the_file_is_not_ours(write):
    assert list(load_yaml(write(f"version: 1\nservers: {{crm: {{url: '{URL}'}}}}"))) == ["crm"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "crm", "7", "- crm\n- files\n", "null"])
def test_a_file_that_is_no_mapping_says_what_it_must_hold(write, content):
    with pytest.raises(ConfigurationError, match="must hold a mapping with 'servers:' in it") as e:
        load_yaml(write(content))
    assert "mcpsync.yaml" in str(e.value)


@pytest.mark.parametrize("content", ["{}", "servers:", "servers: []", "servers: x", "server: {}"])
def test_a_file_without_servers_says_so(write, content):
    with pytest.raises(ConfigurationError, match=r"mcpsync\.yaml has no 'servers:' mapping"):
        load_yaml(write(content))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("servers: {", "in line 1, column 11"),
        ("servers:\n  a: b: c", "in line 2, column 7"),
        ("servers: *nobody", "in line 1, column 10"),
        ("a: !!python/object:os.system x", "in line 1, column 4"),
        ("\t- x", "in line 1, column 1"),
        ("a: \0", "it makes no sense"),
        (b"a: \xff", "it cannot be read as text"),
        ("[" * 100_000, "it makes no sense"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_file_that_is_no_yaml_says_where(write, content, where):
    with pytest.raises(ConfigurationError, match=r"mcpsync\.yaml is not YAML: ") as caught:
        load_yaml(write(content))
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)


SECRETIVE = "servers:\n  crm:\n    token: s3cret: s3cret\n"  # not in a line a traceback shows


def test_a_file_that_is_no_yaml_does_not_show_the_line_with_the_secret(write):
    try:
        load_yaml(write(SECRETIVE))
    except ConfigurationError as error:
        shown = "".join(traceback.format_exception(error))
    assert "in line 3" in shown
    assert "s3cret" not in shown


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read .*missing\.yaml: No such file"):
        load_yaml(tmp_path / "missing.yaml")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read .*: Is a directory\."):
        load_yaml(tmp_path)


def test_a_mistake_in_a_file_names_server_and_field(write):
    with pytest.raises(ConfigurationError, match=r"server 'crm': .* 'timeout'"):
        load_yaml(write(f"servers: {{crm: {{url: '{URL}', timeout: soon}}}}"))


def test_without_pyyaml_we_say_how_to_get_it(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mcpsync\[yaml\]'"):
        load_yaml(write("servers: {}"))
