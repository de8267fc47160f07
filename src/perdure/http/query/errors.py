"""Why a query is not answered. `status` is for HTTP, `sqlstate` for PostgreSQL's clients."""

from __future__ import annotations

from perdure.http.query.messages import Kind
from perdure.model.errors import PerdureError


class QueryError(PerdureError):
    status: int = 500
    sqlstate: str = "XX000"


class SqlNotInstalled(QueryError):
    code = "PD0530"
    status = 501
    sqlstate = "0A000"

    def __init__(self) -> None:
        super().__init__(
            "SQL needs the extra 'sql', which is not installed.", "Install it: pip install 'perdure[sql]'."
        )


class QueryRefused(QueryError):
    """The query itself: it does not parse, names what there is not, or would change something."""

    code = "PD0531"

    def __init__(self, kind: Kind, message: str, original: str = "") -> None:
        self.kind = kind
        self.original = original or message
        # Which of them is which is Restate's choice, and its clients may know it.
        self.status = 400 if kind in ("syntax", "plan", "read-only") else 500
        self.sqlstate = _SQLSTATES[kind]
        super().__init__(message)


class QueryTooLong(QueryError):
    code = "PD0532"
    sqlstate = "57014"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the query took longer than {seconds:g} s and was stopped.",
            "Narrow it down: name ids, services or a limit.",
        )


class QueryCancelled(QueryError):
    code = "PD0533"
    sqlstate = "57014"

    def __init__(self) -> None:
        super().__init__("the query was cancelled.")


class QueryTooLarge(QueryError):
    """Its answer, or what it needs to find it, is more than a query may take."""

    code = "PD0534"
    sqlstate = "53200"

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}.", "Narrow it down: name ids, services or a limit; ask for fewer columns.")


class QueryProcessFailed(QueryError):
    """The process for queries does not start."""

    code = "PD0536"
    status = 503
    sqlstate = "58000"

    def __init__(self) -> None:
        super().__init__(
            "the process that runs queries does not start.", "What it wrote to the server's stderr says why."
        )


class TooManyQueries(QueryError):
    code = "PD0535"
    status = 429
    sqlstate = "53300"

    def __init__(self, running: int, waiting: int) -> None:
        super().__init__(f"{running} queries run already, and {waiting} wait.", "Try again in a moment.")


_SQLSTATES: dict[Kind, str] = {
    "syntax": "42601",
    "plan": "42000",
    "no-group": "42803",
    "optimizer": "42000",
    "not-implemented": "0A000",
    "no-table": "42P01",
    "no-column": "42703",
    "no-function": "42883",
    "read-only": "25006",
    "memory": "53200",
    "size": "53200",
    "failed": "XX000",
}
