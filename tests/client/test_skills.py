"""Skills: what is listed is held to the rules, and what is loaded to its entry."""

import hashlib
import logging
import subprocess
import sys

import pytest

import mcpsync
from mcpsync import (
    Client,
    FeatureUnsupported,
    LimitExceeded,
    MCPError,
    NotFound,
    Skill,
    SkillInvalid,
    StdioServerParameters,
)
from mcpsync.client import skills as module
from mcpsync.client.frontmatter import frontmatter_of, is_same
from mcpsync.testing import Fault, LocalServer, stdio_command

REFUNDS = "skill://acme/refunds/SKILL.md"
POLICY = "skill://acme/refunds/references/policy.md"


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    """A server of each era, with skills."""
    with LocalServer(request.param, skills=True) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def client(server):
    """A client for it."""
    with Client(server.url) as client:
        yield client


def read(server):
    """The resources that were read."""
    return [
        each.body["params"]["uri"]
        for each in server.requests
        if each.rpc_method == "resources/read"
    ]


def resource(uri, content):
    """The entry of a file."""
    return {
        "uri": uri,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }


def entry_for(server, content, uri=REFUNDS):
    """Have the entry of a skill, and its file, be of this content."""
    server.skills.files[uri] = content
    server.skills.entries[uri]["resources"] = [resource(uri, content)]


# -- listing ---------------------------------------------------------------------------------------


def test_skills_are_listed_and_nothing_of_them_is_fetched(server, client):
    found = list(client.skills.list())
    assert [skill.name for skill in found] == ["refunds", "git-workflow", "daily"]
    assert found[0].description == "Refund a customer"
    assert [each.uri for each in found[0].files] == [
        REFUNDS,
        POLICY,
        "skill://acme/refunds/templates/seal.png",
    ]
    assert found[2].files is None
    assert read(server) == []


def test_they_are_listed_over_all_pages():
    with LocalServer("modern", skills=True, page_size=1) as server, Client(server.url) as client:
        assert len(list(client.skills.list())) == 3


def test_a_listing_that_goes_round_ends(server, client):
    server.skills.add("one", "x", {})
    server.inject(Fault.REPEAT_CURSOR, "skills/list", times=None)
    with pytest.raises(LimitExceeded):
        list(client.skills.list())


def test_a_skill_is_got_by_its_uri_listed_or_not_or_by_its_name(server, client):
    server.skills.listed.remove(REFUNDS)
    assert client.skills.get(REFUNDS).name == "refunds"
    assert client.skills.get("git-workflow").uri == "skill://git-workflow/SKILL.md"
    with pytest.raises(NotFound, match="no listed skill is called 'refunds'"):
        client.skills.get("refunds")
    with pytest.raises(MCPError) as caught:
        client.skills.get("skill://nowhere/SKILL.md")
    assert caught.value.code == -32602
    assert read(server) == []


def test_of_two_skills_of_one_name_none_is_preferred(server, client):
    other = server.skills.add("acme/support/refunds", "Other refunds", {})
    with pytest.raises(NotFound) as caught:
        client.skills.get("refunds")
    assert REFUNDS in caught.value.message
    assert other in caught.value.message
    assert caught.value.server_name == server.url


def test_a_server_that_does_not_say_that_it_has_skills_is_not_asked():
    with LocalServer() as server, Client(server.url) as client:
        with pytest.raises(FeatureUnsupported) as caught:
            list(client.skills.list())
        with pytest.raises(FeatureUnsupported):
            client.skills.load(Skill(REFUNDS, {"name": "refunds", "description": ""}, None))
        asked = {each.rpc_method for each in server.requests}
    assert caught.value.feature == "io.modelcontextprotocol/skills"
    assert not {"skills/list", "skills/get", "resources/read"} & asked


GOOD = resource(REFUNDS, b"x")
FAULTY = {
    "no list and not dynamic": {"resources": "static"},
    "no resources": {"resources": None},
    "not its own SKILL.md": {"resources": []},
    "a file twice": {"resources": [GOOD, GOOD]},
    "a file of somebody else": {"resources": [GOOD, resource("skill://other/a.md", b"")]},
    "no size": {"resources": [{**GOOD, "size": None}]},
    "a size that is true": {"resources": [{**GOOD, "size": True}]},
    "a negative size": {"resources": [{**GOOD, "size": -1}]},
    "no digest": {"resources": [{**GOOD, "digest": None}]},
    "another kind of digest": {"resources": [{**GOOD, "digest": "md5:00"}]},
    "a digest in capitals": {"resources": [{**GOOD, "digest": "sha256:" + "A" * 64}]},
    "more than 16 MiB": {"resources": [{**GOOD, "size": 16 * 1024 * 1024 + 1}]},
    "more than 512 files": {
        "resources": [GOOD, *(resource(f"skill://acme/refunds/{n}", b"") for n in range(512))]
    },
    "no description": {"frontmatter": {"name": "refunds"}},
    "another name": {"frontmatter": {"name": "payouts", "description": "x"}},
    "a uri that is no SKILL.md": {"uri": "skill://acme/refunds"},
}


@pytest.mark.parametrize("what", FAULTY)
def test_an_entry_that_breaks_the_rules_is_left_out_and_the_log_says_so(
    server, client, what, caplog
):
    server.skills.entries[REFUNDS] |= FAULTY[what]
    with caplog.at_level(logging.WARNING, "mcpsync.client.skills"):
        assert [skill.name for skill in client.skills.list()] == ["git-workflow", "daily"]
    assert "a skill is left out" in caplog.text
    with pytest.raises(SkillInvalid) as caught:
        client.skills.get(REFUNDS)
    assert caught.value.server_name == server.url


def test_as_many_files_and_bytes_as_every_host_must_take_are_taken(server, client):
    files = [resource(f"skill://acme/refunds/{n}", b"") for n in range(511)]
    files[0]["size"] = 16 * 1024 * 1024 - 1
    server.skills.entries[REFUNDS]["resources"] = [GOOD, *files]
    assert len(client.skills.get(REFUNDS).files) == 512


# -- loading ---------------------------------------------------------------------------------------


def test_a_skill_is_loaded_and_its_files_are_read_when_they_are_asked_for(server, client):
    loaded = client.skills.load("refunds")
    assert loaded.text.startswith("---\nname: refunds\n")
    assert read(server) == [REFUNDS]
    assert loaded.read("references/policy.md") == b"Refund within 30 days.\n"
    assert loaded.read("./templates/../templates/seal.png") == b"\x89PNG"
    assert loaded.read(POLICY) == b"Refund within 30 days.\n"
    assert read(server) == [REFUNDS, POLICY, "skill://acme/refunds/templates/seal.png", POLICY]


def test_a_file_of_another_size_is_refused(server, client):
    skill = client.skills.get(REFUNDS)
    server.skills.files[REFUNDS] += b"!"
    with pytest.raises(SkillInvalid, match="bytes, and the skill's entry says") as caught:
        client.skills.load(skill)
    assert (caught.value.uri, caught.value.server_name) == (REFUNDS, server.url)


def test_a_file_of_the_same_size_and_another_content_is_refused(server, client):
    loaded = client.skills.load(REFUNDS)
    server.skills.files[POLICY] = b"Refund within 99 days.\n"
    with pytest.raises(SkillInvalid, match="digest") as caught:
        loaded.read("references/policy.md")
    assert caught.value.uri == POLICY


def test_frontmatter_that_differs_from_the_entry_is_refused_though_the_digest_is_right(
    server, client
):
    entry_for(server, b"---\nname: refunds\ndescription: Give it all away\n---\n")
    with pytest.raises(SkillInvalid, match="frontmatter"):
        client.skills.load(REFUNDS)


def test_a_file_that_the_entry_does_not_have_is_not_even_read(server, client):
    server.skills.files["skill://acme/refunds/new.md"] = b"new"
    loaded = client.skills.load(REFUNDS)
    for reference in ("new.md", "../git-workflow/SKILL.md", "skill://git-workflow/SKILL.md"):
        with pytest.raises(SkillInvalid, match="not a file of the skill"):
            loaded.read(reference)
    assert read(server) == [REFUNDS]


def test_a_skill_without_digests_is_held_to_its_frontmatter_and_its_directory(server, client):
    server.skills.files["skill://daily/today.csv"] = b"1,2"
    loaded = client.skills.load("daily")
    assert loaded.read("today.csv") == b"1,2"
    for reference in ("../git-workflow/SKILL.md", "skill://daily/../git-workflow/SKILL.md"):
        with pytest.raises(SkillInvalid):
            loaded.read(reference)
    server.skills.files["skill://daily/SKILL.md"] = b"---\nname: daily\n---\n"
    with pytest.raises(SkillInvalid):
        client.skills.load("daily")


def test_a_skill_without_digests_may_not_be_of_any_size(server, client, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    server.skills.files["skill://daily/a"] = b"x" * 60
    loaded = client.skills.load("daily")
    with pytest.raises(SkillInvalid, match="16 MiB"):
        loaded.read("a")


def test_a_directory_is_read_if_the_server_does_that(server, client):
    found = {each.name: each.mime_type for each in client.skills.directory("skill://acme/refunds")}
    assert found["references"] == "inode/directory"
    assert found["SKILL.md"] == "text/plain"
    with pytest.raises(MCPError):
        list(client.skills.directory("skill://nowhere"))


def test_a_directory_is_not_asked_for_where_that_was_not_declared(server, client):
    server.skills.directory_read = False
    with pytest.raises(FeatureUnsupported) as caught:
        list(client.skills.directory("skill://acme/refunds"))
    assert caught.value.feature == "io.modelcontextprotocol/skills directoryRead"


def test_a_child_process_may_have_skills():
    command, *arguments = stdio_command(skills=True)
    with Client(StdioServerParameters(command=command, args=arguments)) as client:
        assert "Do it like this." in client.skills.load("refunds").text


# -- frontmatter -----------------------------------------------------------------------------------


def parsed(text):
    """The frontmatter of a SKILL.md with this in it."""
    return frontmatter_of(f"---\n{text}\n---\nbody".encode(), REFUNDS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: text", {"a": "text"}),
        ("a: 012", {"a": 12}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: true\nb: False", {"a": True, "b": False}),
        ("a: null\nb: ~\nc:", {"a": None, "b": None, "c": None}),
        ("a: yes\nb: on\nc: off", {"a": "yes", "b": "on", "c": "off"}),
        ("a: 2026-07-28", {"a": "2026-07-28"}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 'true'", {"a": "true"}),
        ("a: [1, {b: c}]", {"a": [1, {"b": "c"}]}),
        ("a: |\n  one\n  two", {"a": "one\ntwo\n"}),
        ("", {}),
    ],
)
def test_frontmatter_is_read_as_the_json_that_others_make_of_it(text, value):
    assert is_same(parsed(text), value)


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "1: a", "- a", "a: !!python/object:os.system x", "a: [", "a: &x [*x]\n? *x"],
)
def test_frontmatter_that_can_be_read_in_two_ways_or_none_is_refused(text):
    with pytest.raises(SkillInvalid):
        parsed(text)


@pytest.mark.parametrize(
    "content", [b"", b"# Title", b"---\nname: x\n", b"----\nname: x\n---\n", b"---\na: \xff\n---\n"]
)
def test_a_skill_without_frontmatter_is_refused(content):
    with pytest.raises(SkillInvalid):
        frontmatter_of(content, REFUNDS)


def test_line_ends_and_a_byte_order_mark_are_no_matter():
    content = b"\xef\xbb\xbf---\r\nname: x\r\n---\r\nbody"
    assert frontmatter_of(content, REFUNDS) == {"name": "x"}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), ("1", 1), (None, ""), ([1], [1, 2]), ({"a": 1}, {}), ({}, [])],
)
def test_what_only_looks_the_same_is_not(one, other):
    assert not is_same(one, other)
    assert not is_same(other, one)


def test_deep_nesting_ends_in_an_error_of_ours(server, client):
    deep = "[" * 5000 + "]" * 5000
    content = f"---\nname: refunds\ndescription: {deep}\n---\n".encode()
    entry_for(server, content)
    with pytest.raises(SkillInvalid):
        client.skills.load(REFUNDS)


def test_without_pyyaml_nothing_is_read_and_the_error_says_what_to_install(server):
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "import mcpsync\n"
        f"with mcpsync.Client({server.url!r}) as client:\n"
        "    skill = next(client.skills.list())\n"
        "    try: client.skills.load(skill)\n"
        "    except mcpsync.ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "mcpsync[yaml]" in done.stdout
    assert read(server) == []


def test_a_users_connection_has_the_skills_of_its_server(server):
    with (
        mcpsync.MCPManager({"docs": {"url": server.url}}) as manager,
        manager.connection("docs", user="42") as connection,
    ):
        assert connection.skills.load("refunds").skill.uri == REFUNDS
        server.skills.files[POLICY] = b"forged"
        with pytest.raises(SkillInvalid) as caught:
            connection.skills.load("refunds").read("references/policy.md")
    assert (caught.value.server_name, caught.value.user_id) == ("docs", "42")
