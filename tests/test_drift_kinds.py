"""What is compared, held against what the server that runs has: each catalog, each of its columns, each kind of object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ops.db.drift import catalog, kinds
from tests import servers

NOT_COMPARED = {
    "pg_am.oid": "an address",
    "pg_amop.oid": "an address",
    "pg_amop.amopmethod": "that of its family",
    "pg_amproc.oid": "an address",
    "pg_attrdef": "read with its column, by pg_get_expr",
    "pg_attribute.attbyval": "follows from the type",
    "pg_attribute.attlen": "follows from the type",
    "pg_attribute.attalign": "follows from the type",
    "pg_attribute.attndims": "what was written as [][] is kept by no dump",
    "pg_attribute.atthasdef": "follows from the default",
    "pg_attribute.atthasmissing": "how rows are stored",
    "pg_attribute.attmissingval": "how rows are stored",
    "pg_attribute.attinhcount": "follows from the parents",
    "pg_class.relfilenode": "where rows are stored",
    "pg_class.relpages": "statistics",
    "pg_class.reltuples": "statistics",
    "pg_class.relallvisible": "statistics",
    "pg_class.relallfrozen": "statistics",
    "pg_class.relhasindex": "follows from the indexes",
    "pg_class.relisshared": "of the server's own",
    "pg_class.relnatts": "follows from the columns",
    "pg_class.relchecks": "follows from the constraints",
    "pg_class.relhasrules": "follows from the rules",
    "pg_class.relhastriggers": "follows from the triggers",
    "pg_class.relhassubclass": "follows from the children",
    "pg_class.relispopulated": "whether a materialized view was refreshed: its rows, not its definition",
    "pg_class.relrewrite": "of a rewrite on its way",
    "pg_class.relfrozenxid": "how rows are stored",
    "pg_class.relminmxid": "how rows are stored",
    "pg_collation.collversion": "of the machine's library",
    "pg_constraint.connamespace": "that of its table",
    "pg_constraint.confrelid": "printed by pg_get_constraintdef",
    "pg_constraint.confupdtype": "printed by pg_get_constraintdef",
    "pg_constraint.confdeltype": "printed by pg_get_constraintdef",
    "pg_constraint.confmatchtype": "printed by pg_get_constraintdef",
    "pg_constraint.condeferrable": "printed by pg_get_constraintdef",
    "pg_constraint.condeferred": "printed by pg_get_constraintdef",
    "pg_constraint.conenforced": "printed by pg_get_constraintdef",
    "pg_constraint.coninhcount": "follows from the parents",
    "pg_constraint.conperiod": "printed by pg_get_constraintdef",
    "pg_constraint.confkey": "printed by pg_get_constraintdef",
    "pg_constraint.conpfeqop": "printed by pg_get_constraintdef",
    "pg_constraint.conppeqop": "printed by pg_get_constraintdef",
    "pg_constraint.conffeqop": "printed by pg_get_constraintdef",
    "pg_constraint.confdelsetcols": "printed by pg_get_constraintdef",
    "pg_constraint.conexclop": "printed by pg_get_constraintdef",
    "pg_constraint.conbin": "printed by pg_get_constraintdef",
    "pg_enum.oid": "an address",
    "pg_extension.extowner": "on RDS always rdsadmin",
    "pg_extension.extrelocatable": "of the extension's own files",
    "pg_extension.extversion": "what the server brings; no dump and no file names it",
    "pg_extension.extconfig": "of the extension's own files",
    "pg_extension.extcondition": "of the extension's own files",
    "pg_foreign_table.ftrelid": "an address",
    "pg_index.indrelid": "printed by pg_get_indexdef",
    "pg_index.indnatts": "printed by pg_get_indexdef",
    "pg_index.indnkeyatts": "printed by pg_get_indexdef",
    "pg_index.indisunique": "printed by pg_get_indexdef",
    "pg_index.indnullsnotdistinct": "printed by pg_get_indexdef",
    "pg_index.indisprimary": "printed by pg_get_constraintdef",
    "pg_index.indisexclusion": "printed by pg_get_constraintdef",
    "pg_index.indimmediate": "printed by pg_get_constraintdef",
    "pg_index.indcheckxmin": "of a build on its way",
    "pg_index.indisready": "of a build on its way",
    "pg_index.indislive": "of a removal on its way",
    "pg_index.indkey": "printed by pg_get_indexdef",
    "pg_index.indcollation": "printed by pg_get_indexdef",
    "pg_index.indclass": "printed by pg_get_indexdef",
    "pg_index.indoption": "printed by pg_get_indexdef",
    "pg_index.indexprs": "printed by pg_get_indexdef",
    "pg_index.indpred": "printed by pg_get_indexdef",
    "pg_init_privs": "rights of an extension's own objects: it brings them",
    "pg_language.lanispl": "follows from the handler",
    "pg_largeobject": "data",
    "pg_largeobject_metadata": "data",
    "pg_opclass.oid": "an address",
    "pg_partitioned_table": "printed by pg_get_partkeydef",
    "pg_proc.pronargs": "in its identity",
    "pg_proc.proargtypes": "in its identity",
    "pg_proc.pronargdefaults": "printed by pg_get_function_arguments",
    "pg_proc.provariadic": "printed by pg_get_function_arguments",
    "pg_proc.proallargtypes": "printed by pg_get_function_arguments",
    "pg_proc.proargmodes": "printed by pg_get_function_arguments",
    "pg_proc.proargnames": "printed by pg_get_function_arguments",
    "pg_proc.proargdefaults": "printed by pg_get_function_arguments",
    "pg_proc.prorettype": "printed by pg_get_function_result",
    "pg_proc.proretset": "printed by pg_get_function_result",
    "pg_publication_namespace.oid": "an address",
    "pg_rewrite.ev_type": "printed by pg_get_ruledef",
    "pg_rewrite.is_instead": "printed by pg_get_ruledef",
    "pg_rewrite.ev_qual": "printed by pg_get_ruledef",
    "pg_rewrite.ev_action": "printed by pg_get_ruledef",
    "pg_statistic": "statistics",
    "pg_statistic_ext_data": "statistics",
    "pg_statistic_ext.stxkeys": "printed by pg_get_statisticsobjdef",
    "pg_statistic_ext.stxkind": "printed by pg_get_statisticsobjdef",
    "pg_statistic_ext.stxexprs": "printed by pg_get_statisticsobjdef",
    "pg_subscription_rel": "where a copy stands: it ties a server to another one, and belongs to the place",
    "pg_trigger.tgconstrrelid": "printed by pg_get_triggerdef",
    "pg_trigger.tgconstrindid": "of a foreign key's own triggers",
    "pg_trigger.tgconstraint": "printed by pg_get_triggerdef",
    "pg_trigger.tgfoid": "printed by pg_get_triggerdef",
    "pg_trigger.tgtype": "printed by pg_get_triggerdef",
    "pg_trigger.tgdeferrable": "printed by pg_get_triggerdef",
    "pg_trigger.tginitdeferred": "printed by pg_get_triggerdef",
    "pg_trigger.tgnargs": "printed by pg_get_triggerdef",
    "pg_trigger.tgattr": "printed by pg_get_triggerdef",
    "pg_trigger.tgargs": "printed by pg_get_triggerdef",
    "pg_trigger.tgqual": "printed by pg_get_triggerdef",
    "pg_trigger.tgoldtable": "printed by pg_get_triggerdef",
    "pg_trigger.tgnewtable": "printed by pg_get_triggerdef",
    "pg_user_mapping.umserver": "in its identity",
    "pg_type.typndims": "what was written as [][] is kept by no dump",
    "pg_type.typdefaultbin": "printed as typdefault",
}
"""Catalogs, and columns of catalogs, that are not read, and why. Those that all databases of a server share are not, either:
databases, roles, memberships, tablespaces, settings and subscriptions belong to the place and not to the schema."""


WITH_THEIR_OBJECT = {
    "composite type": "as a type",
    "default value": "with its column",
    "function of access method": "with the operator family",
    "operator of access method": "with the operator family",
    "index column": "with its index",
    "sequence column": "the same of each",
    "toast table": "how rows are stored",
    "toast table column": "how rows are stored",
}
"""Kinds of pg_identify_object() that are none of their own here."""
CATALOGS = """
select relname as catalog, attname as column from pg_class c join pg_attribute a on attrelid = c.oid
where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r' and not relisshared and attnum > 0 and not attisdropped
"""
OBJECTS = """
select distinct (pg_identify_object(classid, objid, objsubid)).type
from (select classid, objid, objsubid from pg_depend where objid >= 16384 and deptype <> 'e'
  and not exists (select from pg_depend e where e.deptype = 'e' and e.classid = pg_depend.classid and e.objid = pg_depend.objid)
  union select 'pg_class'::regclass, attrelid, attnum from pg_attribute where attrelid >= 16384 and attnum > 0 and not attisdropped) o
"""


def not_read(rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns of catalogs that are neither read nor left out with a reason."""
    sql = kinds.EVERYTHING
    return [
        f"{row['catalog']}.{row['column']}"
        for row in rows
        if row["catalog"] not in NOT_COMPARED
        and f"{row['catalog']}.{row['column']}" not in NOT_COMPARED
        and not re.search(rf"\b{row['column']}\b", sql)
    ]


@pytest.fixture
def conn(postgres: servers.Server) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    params: dict[str, Any] = dict(postgres.params)
    with psycopg.Connection[Any].connect(**params, dbname="postgres", row_factory=dict_row) as conn:
        yield conn
        conn.rollback()


def test_each_column_of_each_catalog_is_read_or_left_out_for_a_reason(conn: psycopg.Connection[dict[str, Any]]) -> None:
    rows = conn.execute(CATALOGS).fetchall()
    assert len(rows) > 300
    assert not_read(rows) == []


def test_nothing_is_left_out_that_is_not_there(conn: psycopg.Connection[dict[str, Any]]) -> None:
    rows = conn.execute(CATALOGS).fetchall()
    there = {row["catalog"] for row in rows} | {f"{row['catalog']}.{row['column']}" for row in rows}
    assert set(NOT_COMPARED) - there == set()


def test_a_column_that_a_later_version_adds_would_be_named() -> None:
    assert not_read([{"catalog": "pg_class", "column": "relnew"}]) == ["pg_class.relnew"]
    assert not_read([{"catalog": "pg_new", "column": "oid"}, {"catalog": "pg_new", "column": "newname"}]) == [
        "pg_new.newname"
    ]


def test_each_kind_of_object_in_a_database_is_read(conn: psycopg.Connection[dict[str, Any]]) -> None:
    """As the server names them, of a database with something of each kind."""
    conn.execute((Path(__file__).parent / "data" / "drift.sql").read_bytes())
    found = {row["type"] for row in conn.execute(OBJECTS).fetchall()}
    read = {key.kind for key in catalog.read(conn).things}
    assert len(found) > 25
    assert found - read - set(WITH_THEIR_OBJECT) == set()
