"""A script that asks for the money: `python -m examples.approvals.ask URL WHO AMOUNT`. It waits as long as it takes, also
across restarts of the server."""

from __future__ import annotations

import sys

import perdure
from examples.approvals.app import Expense, Refused, claim


def main(url: str, who: str, amount: str) -> None:
    with perdure.connect_sync(url) as client:
        try:
            print(client.service_call(claim, Expense(who, int(amount))))
        except Refused as refused:
            sys.exit(f"{refused.by} keeps the {refused.amount}")


if __name__ == "__main__":
    main(*sys.argv[1:])
