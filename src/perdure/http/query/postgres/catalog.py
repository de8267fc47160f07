"""PostgreSQL's own tables, as far as clients look into them to say what tables there are: `\\dt`, `\\d table` and their like.

DataFusion has none of them, and the queries that `psql` asks are beyond its dialect. So they are asked of a small SQLite in
memory, which holds what there is to say of our tables, after a few words have been put into its dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias, cast

import apsw
import apsw.ext

from perdure.http.query.schema import STATUS_COLUMNS, TABLES, Type
from perdure.model.version import VERSION

SERVER_VERSION = f"15.0 (perdure {VERSION})"
DATABASE = OWNER = "perdure"
_PUBLIC, _CATALOG, _INFORMATION = 2200, 11, 13000
_FIRST_TABLE = 16384
STEPS_MAX = 2_000_000
"""Of SQLite's machine, for one question: some tenths of a second."""
_STEPS_BETWEEN_LOOKS = 10_000
TEXT_BYTES_MAX = 1_000_000
_QUANTIFIERS_MAX, _NAME_LENGTH_MAX = 3, 63
_HEAP = 2

PG_TYPES: dict[Type, int] = {
    "string": 25,
    "binary": 17,
    "u32": 20,
    "u64": 1700,
    "bool": 16,
    "ts": 1184,
    "dur": 1186,
    "list<u32>": 1016,
    "list<string>": 1009,
}
_TYPES: tuple[tuple[int, str, str, int, str], ...] = (
    # oid, name in pg_type, name for people, size, category
    (16, "bool", "boolean", 1, "B"),
    (17, "bytea", "bytea", -1, "U"),
    (20, "int8", "bigint", 8, "N"),
    (21, "int2", "smallint", 2, "N"),
    (23, "int4", "integer", 4, "N"),
    (25, "text", "text", -1, "S"),
    (26, "oid", "oid", 4, "N"),
    (700, "float4", "real", 4, "N"),
    (701, "float8", "double precision", 8, "N"),
    (1009, "_text", "text[]", -1, "A"),
    (1016, "_int8", "bigint[]", -1, "A"),
    (1043, "varchar", "character varying", -1, "S"),
    (1082, "date", "date", 4, "D"),
    (1114, "timestamp", "timestamp without time zone", 8, "D"),
    (1184, "timestamptz", "timestamp with time zone", 8, "D"),
    (1186, "interval", "interval", 16, "T"),
    (1700, "numeric", "numeric", -1, "N"),
)
_TYPE_NAMES = {oid: shown for oid, _, shown, _, _ in _TYPES}
_EMPTY_TABLES = {
    "pg_attrdef": "oid adrelid adnum adbin",
    "pg_collation": "oid collname collnamespace collprovider collencoding",
    "pg_constraint": "oid conname connamespace contype condeferrable condeferred convalidated conrelid contypid conindid "
    "conparentid confrelid confupdtype confdeltype confmatchtype conislocal coninhcount connoinherit conkey confkey conbin",
    "pg_description": "objoid classoid objsubid description",
    "pg_enum": "oid enumtypid enumsortorder enumlabel",
    "pg_event_trigger": "oid evtname",
    "pg_extension": "oid extname extowner extnamespace extversion",
    "pg_foreign_server": "oid srvname",
    "pg_foreign_table": "ftrelid ftserver ftoptions",
    "pg_index": "indexrelid indrelid indnatts indisunique indisprimary indisexclusion indimmediate indisclustered "
    "indisvalid indisready indislive indisreplident indkey indexprs indpred",
    "pg_inherits": "inhrelid inhparent inhseqno inhdetachpending",
    "pg_partitioned_table": "partrelid partstrat partnatts partattrs",
    "pg_policy": "oid polname polrelid polcmd polpermissive polroles polqual polwithcheck",
    "pg_proc": "oid proname pronamespace proowner prolang prokind provolatile proacl prosrc proargtypes prorettype",
    "pg_publication": "oid pubname pubowner puballtables pubinsert pubupdate pubdelete pubtruncate",
    "pg_publication_namespace": "oid pnpubid pnnspid",
    "pg_publication_rel": "oid prpubid prrelid prqual prattrs",
    "pg_range": "rngtypid rngsubtype",
    "pg_rewrite": "oid rulename ev_class ev_type ev_enabled is_instead",
    "pg_statistic_ext": "oid stxrelid stxname stxnamespace stxowner stxstattarget stxkeys stxkind",
    "pg_tablespace": "oid spcname spcowner",
    "pg_trigger": "oid tgrelid tgparentid tgname tgfoid tgtype tgenabled tgisinternal",
}

Table: TypeAlias = tuple[list[tuple[str, int]], list[tuple[str | None, ...]]]
"""Columns with their types, and rows."""


class NotInCatalog(Exception):
    """A query that this small catalog cannot answer."""


class Catalog:
    """Errors of `ask`: NotInCatalog."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.execute("ATTACH ':memory:' AS pg_catalog")
        for name, columns in _EMPTY_TABLES.items():
            self._make(name, columns)
        self._fill()
        for name, (count, function) in _FUNCTIONS.items():
            self._connection.create_scalar_function(name, function, count, deterministic=True)
        # It is asked on the loop's thread, by anybody: so it only reads, and not for long.
        self._connection.authorizer = _only_reads
        self._connection.limit(apsw.SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX)
        self._connection.set_progress_handler(self._is_too_long, _STEPS_BETWEEN_LOOKS)
        self._looks = 0

    def ask(self, sql: str) -> Table:
        query = in_sqlite(sql)
        self._looks = 0
        try:
            # Asked beforehand: of an answer without rows a cursor tells no columns.
            names = [name for name, _ in apsw.ext.query_info(self._connection, query).description]
            rows = [
                tuple(None if each is None else str(each) for each in row) for row in self._connection.execute(query)
            ]
        except apsw.Error as error:
            raise NotInCatalog(f"this question about the catalog is not understood: {error}") from None
        return [(name, 25) for name in names], rows

    def _is_too_long(self) -> bool:
        self._looks += 1
        return self._looks * _STEPS_BETWEEN_LOOKS > STEPS_MAX

    def _make(self, name: str, columns: str) -> None:
        # With this affinity a number equals the text of it, which is how psql writes OIDs.
        typed = ", ".join(f"{column} NUMERIC" for column in columns.split())
        self._connection.execute(f"CREATE TABLE pg_catalog.{name} ({typed})")

    def _insert(self, name: str, rows: list[dict[str, object]]) -> None:
        columns = list(rows[0])
        self._make(name, " ".join(columns))
        holes = ", ".join("?" * len(columns))
        for row in rows:
            values = cast("tuple[int | str | None, ...]", tuple(row.values()))
            self._connection.execute(f"INSERT INTO pg_catalog.{name} VALUES ({holes})", values)

    def _fill(self) -> None:
        spaces = {_CATALOG: "pg_catalog", _PUBLIC: "public", _INFORMATION: "information_schema"}
        self._insert(
            "pg_namespace",
            [{"oid": oid, "nspname": name, "nspowner": 10, "nspacl": None} for oid, name in spaces.items()],
        )
        self._insert("pg_am", [{"oid": _HEAP, "amname": "heap", "amhandler": 0, "amtype": "t"}])
        self._insert(
            "pg_database",
            [
                {
                    "oid": 1,
                    "datname": DATABASE,
                    "datdba": 10,
                    "encoding": 6,
                    "datlocprovider": "c",
                    "datcollate": "C",
                    "datctype": "C",
                    "daticulocale": None,
                    "datistemplate": "f",
                    "datallowconn": "t",
                    "datacl": None,
                    "dattablespace": 0,
                }
            ],
        )
        self._insert("pg_roles", [{"oid": 10, "rolname": OWNER, "rolsuper": "f", "rolcanlogin": "t"}])
        self._insert("pg_type", [_type_row(*each) for each in _TYPES])
        self._insert("pg_class", [_class_row(oid, name) for oid, name in _relations()])
        self._insert("pg_attribute", [row for oid, name in _relations() for row in _attribute_rows(oid, name)])
        self._insert(
            "pg_tables", [{"schemaname": "public", "tablename": name, "tableowner": OWNER} for name in sorted(TABLES)]
        )


def _only_reads(operation: int, *_: str | None) -> int:
    return apsw.SQLITE_OK if operation in _READS else apsw.SQLITE_DENY


_READS = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION}


def _relations() -> list[tuple[int, str]]:
    return list(enumerate([*sorted(TABLES), "sys_status"], _FIRST_TABLE))


def _columns_of(relation: str) -> dict[str, Type]:
    return TABLES.get(relation) or STATUS_COLUMNS


def _class_row(oid: int, name: str) -> dict[str, object]:
    kind = "r" if name in TABLES else "v"
    return {
        "oid": oid,
        "relname": name,
        "relnamespace": _PUBLIC,
        "reltype": 0,
        "reloftype": 0,
        "relowner": 10,
        "relam": _HEAP if kind == "r" else 0,
        "relfilenode": oid,
        "reltablespace": 0,
        "relpages": 0,
        "reltuples": -1,
        "relallvisible": 0,
        "reltoastrelid": 0,
        "relhasindex": "f",
        "relisshared": "f",
        "relpersistence": "p",
        "relkind": kind,
        "relnatts": len(_columns_of(name)),
        "relchecks": 0,
        "relhasrules": "f",
        "relhastriggers": "f",
        "relhassubclass": "f",
        "relrowsecurity": "f",
        "relforcerowsecurity": "f",
        "relispopulated": "t",
        "relreplident": "d",
        "relispartition": "f",
        "relacl": None,
        "reloptions": None,
        "relpartbound": None,
    }


def _attribute_rows(oid: int, relation: str) -> list[dict[str, object]]:
    return [
        {
            "attrelid": oid,
            "attname": column,
            "atttypid": PG_TYPES[kind],
            "attlen": -1,
            "attnum": number,
            "attndims": 0,
            "atttypmod": -1,
            "attnotnull": "f",
            "atthasdef": "f",
            "attidentity": "",
            "attgenerated": "",
            "attisdropped": "f",
            "attislocal": "t",
            "attinhcount": 0,
            "attcollation": 0,
            "attstorage": "x",
            "attcompression": "",
            "attstattarget": -1,
            "attoptions": None,
            "attfdwoptions": None,
            "attacl": None,
        }
        for number, (column, kind) in enumerate(_columns_of(relation).items(), 1)
    ]


def _type_row(oid: int, name: str, shown: str, size: int, category: str) -> dict[str, object]:
    arrays = {25: 1009, 20: 1016}
    elements = {array: element for element, array in arrays.items()}
    return {
        "oid": oid,
        "typname": name,
        "typnamespace": _CATALOG,
        "typowner": 10,
        "typlen": size,
        "typtype": "b",
        "typcategory": category,
        "typdelim": ",",
        "typrelid": 0,
        "typelem": elements.get(oid, 0),
        "typarray": arrays.get(oid, 0),
        "typcollation": 0,
        "typnotnull": "f",
        "typbasetype": 0,
        "typtypmod": -1,
    }


# --- from one dialect to the other --------------------------------------------------------------------------------------------

_SET = r"\s(?:pg_catalog\.)?(?:unnest|generate_series)\s*\((?:[^()]|\([^()]*\))*\)\s+(?:AS\s+)?"
_REWRITES: tuple[tuple[str, str], ...] = (
    (r"OPERATOR\s*\(\s*pg_catalog\.(\S+?)\s*\)", r" \1 "),
    (r"\s!~~\s", " NOT LIKE "),
    (r"\s~~\s", " LIKE "),
    (r"\s!~\*?\s", " NOT REGEXP "),
    (r"\s~\*?\s", " REGEXP "),
    (r"\bCOLLATE\s+(pg_catalog\.)?(\"[^\"]*\"|\w+)", ""),
    (r"::\s*(pg_catalog\.)?(\"[^\"]*\"|\w+)(\s*\[\s*\])?", ""),
    # There are no arrays here: whatever comes of one is nothing.
    (_SET + r"(\w+)\s*\(\s*(\w+)\s*\)", r" (SELECT NULL AS \2 WHERE 0) \1"),
    (_SET + r"(\w+)", r" (SELECT NULL AS \1 WHERE 0) \1"),
    (r"([\w)])\[\s*\w+\s*\]", r"\1"),
    (r"\bARRAY\s*\(\s*SELECT\b", "(SELECT"),
    (r"\bpg_catalog\.(\w+)\s*\(", r"\1("),
    (r"\b(current_user|session_user|current_catalog)\b(?!\s*\()", r"\1()"),
    (r"\bcurrent_schema\b(?!\s*\()", "current_schema()"),
)
_QUOTED = re.compile(r"([eE]?)('(?:[^']|'')*')|(\"(?:[^\"]|\"\")*\")")


def in_sqlite(sql: str) -> str:
    """The same question in SQLite's words; what stands in quotes stays as it is."""
    kept: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        if match[3] is not None:
            return match[3]
        text = match[2].replace("\\\\", "\\") if match[1] else match[2]
        kept.append(text)
        return f"'\0{len(kept) - 1}\0'"

    sql = _QUOTED.sub(put_aside, sql)
    for pattern, replacement in _REWRITES:
        sql = re.sub(pattern, replacement, sql, flags=re.IGNORECASE)
    return re.sub(r"'\0(\d+)\0'", lambda match: kept[int(match[1])], sql)


def _format_type(oid: object, typmod: object) -> str:
    return _TYPE_NAMES.get(int(str(oid)), "???") if oid is not None else "-"


def _matches(pattern: object, value: object) -> bool:
    """Patterns as psql makes them of names; one that could search for long matches nothing."""
    if value is None or pattern is None or len(re.findall(r"[*+?{]", str(pattern))) > _QUANTIFIERS_MAX:
        return False
    try:
        return not re.search(r"\)[*+?{]", str(pattern)) and bool(re.search(str(pattern), str(value)[:_NAME_LENGTH_MAX]))
    except re.error:
        return False


def _says(value: str | int | None) -> Callable[..., str | int | None]:
    return lambda *_: value


_FUNCTIONS: dict[str, tuple[int, Callable[..., str | int | bool | None]]] = {
    "regexp": (2, _matches),
    "format_type": (2, _format_type),
    "pg_table_is_visible": (1, _says(1)),
    "pg_type_is_visible": (1, _says(1)),
    "pg_function_is_visible": (1, _says(1)),
    "pg_get_userbyid": (1, _says(OWNER)),
    "pg_encoding_to_char": (1, _says("UTF8")),
    "pg_get_expr": (-1, _says(None)),
    "pg_get_viewdef": (-1, _says(None)),
    "pg_get_constraintdef": (-1, _says(None)),
    "pg_get_indexdef": (-1, _says(None)),
    "pg_get_statisticsobjdef_columns": (1, _says(None)),
    "pg_get_partkeydef": (1, _says(None)),
    "pg_relation_is_publishable": (1, _says(0)),
    "pg_is_in_recovery": (0, _says("f")),
    "pg_backend_pid": (0, _says(0)),
    "pg_table_size": (1, _says(0)),
    "pg_total_relation_size": (1, _says(0)),
    "pg_size_pretty": (1, _says("")),
    "obj_description": (-1, _says(None)),
    "col_description": (2, _says(None)),
    "shobj_description": (2, _says(None)),
    "array_to_string": (-1, _says(None)),
    "has_table_privilege": (-1, _says("t")),
    "has_schema_privilege": (-1, _says("t")),
    "has_database_privilege": (-1, _says("t")),
    "current_schema": (0, _says("public")),
    "current_schemas": (1, _says("{pg_catalog,public}")),
    "current_database": (0, _says(DATABASE)),
    "current_catalog": (0, _says(DATABASE)),
    "current_user": (0, _says(OWNER)),
    "session_user": (0, _says(OWNER)),
    "current_setting": (-1, _says("")),
    "set_config": (3, lambda name, value, local: str(value)),
    "version": (0, _says(f"PostgreSQL {SERVER_VERSION}")),
    "array_upper": (2, _says(None)),
    "any": (1, _says(None)),
    "quote_ident": (1, lambda name: str(name)),
}
