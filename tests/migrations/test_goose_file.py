"""goose files are read as goose reads them, and refused where the server would get half a statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.migrations import goose_file, sql
from dodai.migrations.goose_file import FileError, fixed_text, parse, read_files, split

PATH = "db/migrations/0001_first.sql"


def problem(text: str, path: str = PATH) -> tuple[str, int]:
    with pytest.raises(FileError) as caught:
        parse(path, text.encode())
    return caught.value.problem.code.id, caught.value.problem.line


def test_statements_carry_the_line_they_start_at():
    """Comments before a statement are dropped, the line counts from 1 in the file."""
    migration = parse(PATH, b"-- +goose Up\n\n-- why\nCREATE TABLE a (b int);\n-- +goose Down\nDROP TABLE a;\n")
    assert [(s.sql, s.line) for s in migration.up] == [("CREATE TABLE a (b int);", 4)]
    assert [(s.sql, s.line) for s in migration.down] == [("DROP TABLE a;", 6)]


def test_no_transaction_counts_wherever_it_stands():
    """The annotation is about the whole file, also below Down."""
    assert not parse(
        PATH, b"-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n-- +goose NO TRANSACTION\n"
    ).transactional


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT 1;\n", 1),
        ("", 0),
        ("-- +goose Up\n-- +goose Up\n", 2),
        ("-- +goose Down\n", 1),
        ("-- +goose Up\nSELECT 1\n-- +goose Down\n", 2),
        ("-- +goose Up\nSELECT 1\n", 2),
        ("-- +goose Up\nSELECT 1;\n-- +goose Down\nDROP TABLE a\n", 4),
        ("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n", 2),
        ("-- +goose Up\n-- +goose StatementEnd\n", 2),
        ("-- +goose StatementBegin\n", 1),
        (" -- +goose Up\nSELECT 1;\n", 1),
        ("-- +goose Up +goose Down\n", 1),
        ("-- +goose\n", 1),
        ("-- +goose Upwards\n", 1),
        ("-- +goose Up\n-- +goose ENVSUB ON\nSELECT '${A';\n", 3),
    ],
)
def test_a_file_goose_refuses_is_refused_at_its_line(text: str, line: int):
    """Every parse error is DOD200 and names the line."""
    assert problem(text) == ("DOD200", line)


@pytest.mark.parametrize(
    "name", ["first.sql", "0_first.sql", "-1_first.sql", "x1_first.sql", "99999999999999999999_a.sql"]
)
def test_a_name_without_a_version_is_refused(name: str):
    """goose would ignore or refuse it, so the change would never arrive."""
    assert problem("-- +goose Up\nSELECT 1;\n", name)[0] == "DOD201"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("DO $$\nBEGIN\n  NULL;\nEND $$;\n", 2),
        ("SELECT 1;\nSELECT 'a;\nb';\n", 3),
        ("SELECT 1 /* not yet;\n */;\n", 2),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\n SELECT 1;\n SELECT 2;\nEND;\n", 2),
        ("CREATE RULE r AS ON INSERT TO a DO (SELECT 1;\n SELECT 2);\n", 2),
    ],
)
def test_a_statement_goose_would_cut_in_the_middle_is_refused(body: str, line: int):
    """The agreement check names the statement's line."""
    assert problem("-- +goose Up\n" + body) == ("DOD221", line)


def test_statement_begin_and_end_make_the_same_body_fine():
    """What stands between the annotations is one statement, whatever is in it."""
    body = "DO $$\nBEGIN\n  NULL;\nEND $$;\n"
    migration = parse(PATH, f"-- +goose Up\n-- +goose StatementBegin\n{body}-- +goose StatementEnd\n".encode())
    assert [s.sql for s in migration.up] == [body.strip()]


def test_copy_data_is_refused_in_a_goose_file():
    """goose would send the data lines as SQL."""
    assert problem("-- +goose Up\nCOPY a (b) FROM stdin;\n") == ("DOD220", 2)


def test_a_remark_without_a_reason_is_refused():
    """An exception needs a reason; with one it is kept, together with its line."""
    assert problem("-- dodai: accept DOD213\n-- +goose Up\nSELECT 1;\n") == ("DOD225", 1)
    kept = parse(PATH, b"-- +goose Up\n-- dodai: accept DOD213 tiny table until 2027-01-31\nSELECT 1;\n").accepted
    assert [(a.code, a.line, str(a.expires)) for a in kept] == [("DOD213", 2, "2027-01-31")]


def test_the_token_checksum_ignores_comments_and_white_space_only():
    """An edit that cannot change the meaning keeps the checksum, any other does not."""
    first = parse(PATH, b"-- +goose Up\nSELECT  'a  b', 1;\n")
    commented = parse(PATH, b"-- hello\n-- +goose Up\nSELECT 'a  b',\n  1; -- there\n")
    changed = parse(PATH, b"-- +goose Up\nSELECT 'a b', 1;\n")
    assert first.token_sha256 == commented.token_sha256 != changed.token_sha256
    assert first.raw_sha256 != commented.raw_sha256


def test_variables_are_expanded_only_while_envsub_is_on_and_never_in_the_checksum():
    """The checksum is that of the file, so it is the same in every environment."""
    text = b"-- +goose Up\nSELECT '$A';\n-- +goose ENVSUB ON\nSELECT '${A}', '${B:-b}', '$$';\n"
    one, two = (parse(PATH, text, {"A": value}) for value in ("x", "y"))
    assert [s.sql for s in one.up] == ["SELECT '$A';", "SELECT 'x', 'b', '$';"]
    assert one.token_sha256 == two.token_sha256


def test_two_files_of_one_version_are_a_problem_of_the_later_one():
    """Leading zeros do not make another version."""
    up = b"-- +goose Up\nSELECT 1;\n"
    folder = read_files({"m/2_a.sql": up, "m/002_b.sql": up, "m/3_c.sql": up})
    assert [(p.code.id, p.path) for p in folder.problems] == [("DOD202", "m/2_a.sql")]


@given(st.text(alphabet="ab;'\"$-/*\n ()eE\\", max_size=60))
def test_tokens_are_the_whole_text(text: str):
    """The lexer loses nothing, whatever it is given."""
    assert "".join(token.text for token in sql.tokens(text)) == text


@given(st.lists(st.sampled_from(["-- +goose Up", "-- +goose Down", "-- +goose StatementBegin", "-- +goose StatementEnd",
                                 "-- +goose NO TRANSACTION", "-- +goose ENVSUB ON", "SELECT 1;", "SELECT $$", ";", "$$;",
                                 "-- note", "", "  ", "'", "/*", "*/", "COPY a FROM stdin;", "${A"]), max_size=12))  # fmt: skip
def test_any_file_is_either_read_or_refused_with_a_place(lines: list[str]):
    """No input makes the parser fail in any other way."""
    try:
        migration = parse(PATH, "\n".join(lines).encode())
    except FileError as error:
        assert error.problem.code.id in ("DOD200", "DOD220", "DOD221")
        assert 0 <= error.problem.line <= len(lines)
    else:
        assert all(sql.statements(s.sql)[-1].complete for s in migration.up if s.sql and s.sql != ";")


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused(data: bytes):
    """Files need not be text at all."""
    try:
        parse(PATH, data)
    except FileError as error:
        assert error.problem.path == PATH


@given(st.one_of(st.text(max_size=40), st.integers(), st.booleans(), st.none()))
def test_literals_survive_any_value(value: object):
    """Quotes and backslashes cannot end a literal early."""
    if isinstance(value, str) and "\0" in value:
        with pytest.raises(ValueError, match="NUL"):
            sql.literal(value)
        return
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return
    found = [t for t in sql.tokens(sql.literal(value)) if t.kind not in ("word", "number", "other")]  # type: ignore[arg-type]
    assert [t.kind for t in found] == (["string"] if isinstance(value, str) else [])


def test_split_tells_marked_statements():
    """Marked ones stood between StatementBegin and StatementEnd."""
    part = split(
        "-- +goose Up\nSELECT 1;\n-- +goose StatementBegin\nSELECT 2; SELECT 3;\n-- +goose StatementEnd\n", "up"
    )
    assert part.marked == (False, True)
    assert goose_file.ends_statement("SELECT 1; -- done") is True
    assert goose_file.ends_statement("SELECT 1 -- done;") is False


@pytest.mark.parametrize(
    "body",
    [
        "DO $$\nBEGIN\n  NULL;\nEND $$;\n",
        "SELECT 1;\nSELECT 'a;\nb';\nSELECT 2;\n",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\n SELECT 1;\n SELECT 2;\nEND;\n",
        "SELECT 1 /* not yet;\n */;\n",
    ],
)
def test_a_file_that_would_be_cut_is_mended_by_annotations(body: str):
    """The statements are then those of the lexer, and fixing again changes nothing."""
    text = "-- +goose Up\n" + body + "-- +goose Down\nSELECT 1;\n"
    fixed = fixed_text(text)
    found = parse(PATH, fixed.encode())
    assert [s.sql for s in found.up] == [span.text for span in sql.statements(body)]
    assert fixed_text(fixed) == fixed


@given(st.lists(st.sampled_from(["-- +goose Up", "-- +goose Down", "-- +goose StatementBegin", "-- +goose StatementEnd",
                                 "SELECT 1;", "DO $$", "BEGIN NULL;", "END $$;", "'a;", "b';", "-- note"]), max_size=14))  # fmt: skip
def test_mending_keeps_every_line_and_breaks_no_sound_file(lines: list[str]):
    """Only annotation lines are added, and a file that can be read is left as it is."""
    text = "\n".join(lines)
    fixed = fixed_text(text)
    added = {"-- +goose StatementBegin", "-- +goose StatementEnd"}
    assert [x for x in fixed.split("\n") if x not in added] == [x for x in text.split("\n") if x not in added]
    try:
        before = parse(PATH, text.encode())
    except FileError:
        return
    after = parse(PATH, fixed.encode())
    assert [s.sql for s in before.up] == [s.sql for s in after.up]


def test_a_block_of_comments_only_is_no_statement():
    """goose would send it and the server would do nothing."""
    text = "-- +goose Up\n-- +goose StatementBegin\n/* later */\n-- +goose StatementEnd\nSELECT 1;\n"
    assert [s.sql for s in parse(PATH, text.encode()).up] == ["SELECT 1;"]
