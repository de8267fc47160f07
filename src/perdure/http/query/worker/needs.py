"""What a planned query needs of the tables: which columns, and which rows, as far as its plan says so.

Read from the optimized plan: a scan says its columns and its limit, the filter on it which values are wanted. What is not
understood is not narrowed down: then more rows come than are needed, never fewer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from datafusion import Expr
from datafusion import expr as x
from datafusion.dataframe import DataFrame
from datafusion.plan import LogicalPlan

from perdure.http.query.messages import Need
from perdure.http.query.schema import TABLES


@dataclass(frozen=True)
class Values:
    """The values of a column that a filter lets through: these, or all but these."""

    values: frozenset[str]
    only: bool = True

    def both(self, other: Values) -> Values:
        if self.only and other.only:
            return Values(self.values & other.values)
        if self.only:
            return Values(self.values - other.values)
        if other.only:
            return Values(other.values - self.values)
        return Values(self.values | other.values, only=False)

    def either(self, other: Values) -> Values:
        if self.only and other.only:
            return Values(self.values | other.values)
        if self.only:
            return Values(other.values - self.values, only=False)
        if other.only:
            return Values(self.values - other.values, only=False)
        return Values(self.values & other.values, only=False)


@dataclass
class _Scan:
    columns: list[str]
    limit: int | None = None
    filters: dict[str, Values] = field(default_factory=dict)


def needs_of(planned: DataFrame) -> list[Need]:
    """One need for each of our tables in the plan, in the order of their names."""
    plan = planned.optimized_logical_plan()
    scans: dict[str, list[_Scan]] = {}
    narrow = "Subquery:" not in plan.display_indent()
    _walk(plan if narrow else planned.logical_plan(), {}, scans)
    if not narrow:  # tables may stand inside an expression, where no plan says what is needed of them
        everything = plan.display_indent() + planned.logical_plan().display_indent()
        return [Need(table, list(columns)) for table, columns in sorted(TABLES.items()) if table in everything]
    return [_need(table, found) for table, found in sorted(scans.items())]


def _need(table: str, scans: list[_Scan]) -> Need:
    columns = sorted({column for scan in scans for column in scan.columns})
    common = set.intersection(*(set(scan.filters) for scan in scans))
    need = Need(table, columns, limit=scans[0].limit if len(scans) == 1 and not common else None)
    for column in common:
        values = scans[0].filters[column]
        for scan in scans[1:]:
            values = values.either(scan.filters[column])
        (need.wanted if values.only else need.unwanted)[column] = sorted(values.values)
    return need


def _walk(plan: LogicalPlan, filters: dict[str, Values], scans: dict[str, list[_Scan]]) -> None:
    node = _variant(plan)
    if isinstance(node, x.TableScan):
        _, schema, table = node.fqn()
        if table in TABLES and schema in (None, "public"):
            limit = node.fetch()
            scans.setdefault(table, []).append(_Scan([name for _, name in node.projection()], limit, filters))
        return
    under = _filters(node.predicate()) if isinstance(node, x.Filter) else {}
    for each in plan.inputs():
        # A filter speaks of the columns below it only when it stands right on the scan.
        _walk(each, under if isinstance(_variant(each), x.TableScan) else {}, scans)


def _filters(expr: Expr) -> dict[str, Values]:
    """What each column may be for this to be true; columns of which nothing is known are left out."""
    node = _variant(expr)
    if isinstance(node, x.InList):
        column = _column(node.expr())
        values = [_text(each) for each in node.list()]
        if column is None or None in values:
            return {}
        return {column: Values(frozenset(v for v in values if v is not None), only=not node.negated())}
    if not isinstance(node, x.BinaryExpr):
        return {}
    left, right, op = node.left(), node.right(), node.op()
    if op in ("AND", "OR"):
        return _joined(_filters(left), _filters(right), op)
    if op in ("=", "!="):
        column, value = _column(left), _text(right)
        if column is None:
            column, value = _column(right), _text(left)
        if column is not None and value is not None:
            return {column: Values(frozenset({value}), only=op == "=")}
    return {}


def _joined(left: dict[str, Values], right: dict[str, Values], op: str) -> dict[str, Values]:
    if op == "OR":
        return {column: left[column].either(right[column]) for column in left.keys() & right.keys()}
    joined = {**left, **right}
    for column in left.keys() & right.keys():
        joined[column] = left[column].both(right[column])
    return joined


def _column(expr: Expr) -> str | None:
    node = _variant(expr)
    return node.name() if isinstance(node, x.Column) else None


def _text(expr: Expr) -> str | None:
    if not isinstance(_variant(expr), x.Literal):
        return None
    value = expr.python_value()
    as_py = getattr(value, "as_py", None)
    value = as_py() if as_py is not None else value
    return value if isinstance(value, str) else None


def _variant(of: Expr | LogicalPlan) -> object:
    """What it is, as an object of its own kind; None for kinds that Python does not see."""
    try:
        return of.to_variant()
    except ValueError:
        return None
