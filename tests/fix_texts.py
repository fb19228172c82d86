"""SQL texts made at random: functions of every quoting style, names that are keywords, rules, comments, and what hides in them."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = ["begin", "end", "case", "atomic", "commit", "language", "a", "größe", "e", "x1$", "_"]
QUOTED = st.sampled_from(['"begin"', '"end; ("', '"a""b;"', '"$$"', '"--"', '"/*"'])
NAMES = st.one_of(st.sampled_from(["begin", "atomic", "commit", "a", "größe", "e", "x1$", "_f"]), QUOTED)
COMMENTS = st.sampled_from(
    ["", " ", "\n", "-- it's; begin (\n", "/* ' ; begin /* ( */ case $$ */", "\t", "/**/", "--\n", "\r\n"]
)
STRINGS = st.sampled_from(
    [
        "'a'", "'it''s; commit;'", "'begin ('", "E'\\'; commit; \\\\'", "e'a\\nb'", "$$ ; commit; ' $$", "$q$ $$ ; begin $q$",
        "U&'\\0061;'", "N'x;'", "B'01'", "'a'\n'b;'", "'\\'", "'[(]+'", "$größe$ ( $größe$", "E'a'\n'\\';'",
    ]
)  # fmt: skip
VALUES = st.one_of(
    STRINGS,
    st.sampled_from(
        [
            "1",
            "1.5e3",
            "-1",
            "- -1",
            "(1)",
            "case when true then 1 end",
            "a[1:2]",
            "'1'::int",
            "2/3",
            "1*-1",
            "null",
            '"end"',
        ]
    ),
)
QUERIES = st.builds(
    "select {}{} as {}".format,
    COMMENTS.map(lambda c: c or " "),
    VALUES,
    st.sampled_from(["a", "end", "begin", '"x;"', "case"]),
)
ATOMIC = st.lists(QUERIES, min_size=0, max_size=3).map(
    lambda queries: "begin atomic " + "".join(f"{query}; " for query in queries) + "end"
)
SPACED_ATOMIC = st.builds(
    "BEGIN{}ATOMIC{}{}; END".format,
    COMMENTS.filter(str.strip).map(lambda c: f" {c} "),
    COMMENTS.map(lambda c: f" {c} "),
    QUERIES,
)
BODIES = st.sampled_from(
    [
        "as $f$\nbegin\n  case x when 1 then return 'one'; else return 'many'; end case;\nend\n$f$",
        "as $$ begin if a ~ '[(;]' then commit; end if; end $$",
        "as 'begin return ''(''; end'",
        "as E'select \\'begin\\'::text'",
        "as $$ select '$1' $$",
        "as $x$ begin -- it's (\n /* $$ */ end $x$",
        "as 'lib.so', 'begin'",
        "return case when true then 1 end",
        "as U&'begin'",
    ]
)
OPTIONS = st.lists(
    st.sampled_from(
        [" language sql", " immutable", " cost 1", " set search_path to begin", " set x.y = 'begin; ('", " strict"]
    ),
    max_size=2,
).map("".join)
PARAMETERS = st.lists(
    st.builds(
        "{} int{}".format,
        st.sampled_from(['"begin"', "a", "atomic", '"end"', "b"]),
        st.sampled_from(["", " default (1)", " = case when true then 1 end"]),
    ),
    max_size=2,
).map(", ".join)
FUNCTIONS = st.builds(
    "create{} function {}{}({}) returns {}{}{}{}".format,
    st.sampled_from(["", " or replace", " or/* begin */replace"]),
    NAMES,
    COMMENTS,
    PARAMETERS,
    st.sampled_from(["int", "begin", "table (a int)", '"end"', "setof begin", "numeric(1)"]),
    OPTIONS,
    COMMENTS.map(lambda c: f" {c}\n"),
    st.one_of(BODIES, ATOMIC, SPACED_ATOMIC),
)
PROCEDURES = st.builds(
    "create procedure {}() {}{}".format,
    NAMES,
    st.sampled_from(["", "language plpgsql "]),
    st.one_of(BODIES.filter(lambda b: b[:6] != "return"), ATOMIC),
)
RULES = st.builds(
    "create rule {} as on insert to t do also ({})".format,
    NAMES,
    st.lists(QUERIES.map("{};".format), min_size=1, max_size=3).map(" ".join),
)
OTHERS = st.one_of(
    QUERIES,
    st.builds("insert into t values ({}, {})".format, VALUES, VALUES),
    st.builds("comment on table {} is {}".format, NAMES, STRINGS),
    st.builds("do {}".format, st.sampled_from(["$$ begin commit; end $$", "$x$ begin perform '$$;'; end $x$", "'begin end'"])),
    st.sampled_from(
        [
            "begin", "commit", "end", "alter database cruddur set x.y = 'z;'", "create table t (a int check (a > 1))",
            "call p()", "commit and chain", "rollback to s", "drop function begin()", "create schema s create table t (a int)",
            "create trigger begin before insert on t execute function f()", "create aggregate begin (int) (sfunc = f, stype = int)",
        ]
    ),
)  # fmt: skip
STATEMENTS = st.one_of(FUNCTIONS, FUNCTIONS, PROCEDURES, RULES, OTHERS)
TEXTS = st.lists(st.tuples(COMMENTS, STATEMENTS, COMMENTS, st.just(";")), min_size=1, max_size=6).map(
    lambda parts: "".join("".join(part) for part in parts)
)
"""Texts that the server reads."""

MISTAKES = st.builds(
    "{}\n{}\n{}".format,
    TEXTS.filter(lambda text: "atomic" not in text.lower()),
    st.sampled_from(
        ["select 1 from;", "insert into;", "create create function;", "values values;", "create tabel t (a int);"]
    ),
    TEXTS.filter(lambda text: "atomic" not in text.lower()),
)
"""Texts that hold a mistake, and no body by the SQL standard."""

NOISE = st.one_of(
    COMMENTS,
    st.sampled_from(
        [
            "\\echo 'select ''a'';' begin ( $$\n", "\\set x 'select 1; begin ('\n", "\\echo :x \\echo 'b;'\n", "\\! true ; select 'no'\n",
            "\\if true\n", "\\endif\n", "\\warn ; \\\\ ", "\\qecho $$ \\\\\n", "\\pset format unaligned\n", "\\r\n", "\\unset x\n",
            "\\if false\n\\echo ;\n\\else\n", "select 'k' \\r\n", "\\p\n", "\\encoding UTF8\n", "\\x\\x\n", "\\echo `echo ';' \"`\n",
        ]
    ),
)  # fmt: skip
INSIDE = st.one_of(
    COMMENTS.filter(str.strip),
    st.sampled_from([" :x", " :'x'", " ::text", " || ':x'", " || $$ :x; $$", ", (select 'n;')", " || E'\\':;'", " :{?x}", " || 'a;\n'"]),
)  # fmt: skip
ENDS = st.sampled_from(
    [
        ";",
        "\\;",
        "\\g\n",
        " \\g (format=unaligned)\n",
        "; ",
        "\\gx\n",
        "\n\\gset p_\n",
        ";;",
        "\\gdesc\n",
        "\\bind \\g\n",
    ]
)
COPIED = st.builds(
    "copy t from stdin{}\n{}\\.\n".format,
    st.sampled_from([";", " with (format text);", "; -- 'rows", "\\g"]),
    st.lists(
        st.sampled_from(["select 1;", "it's", "$$", "/*", "begin;", "", "\\\\echo", "\\N"]).map("{}\n".format),
        max_size=3,
    ).map("".join),
)
MARKED = st.lists(
    st.one_of(st.tuples(NOISE, st.just("select 'k#'"), INSIDE.map(lambda i: f" {i} "), ENDS), st.tuples(NOISE, COPIED)),
    min_size=3,
    max_size=8,
)


def psql_text(parts: list[tuple[str, ...]]) -> str:
    """Return a text with psql's own syntax, in which each query answers with a number of its own."""
    return "".join("".join(part).replace("#", f"{number};") for number, part in enumerate(parts))
