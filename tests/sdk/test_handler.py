"""Registration: what a decorated function becomes, what is refused, and how input is judged before it is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pydantic
import pytest

import perdure
from perdure import Context, InvocationRetryPolicy, ObjectContext, ObjectSharedContext, Service, VirtualObject, Workflow
from perdure.model.driver import InputRejected
from perdure.model.retry import RetryPolicy
from perdure.model.service import DAY_MS, HandlerSpec
from perdure.model.target import HandlerKind, ServiceKind, Target
from perdure.sdk.errors import RegistrationError
from perdure.sdk.handler import handler_of


class Order(msgspec.Struct):
    item: str
    amount: int = 1


class Form(pydantic.BaseModel):
    name: str


shop = Service("Shop", description="sells", metadata={"team": "a"}, inactivity_timeout=timedelta(seconds=5))


@shop.handler()
async def buy(ctx: Context, order: Order) -> Order:
    """Buy something."""
    return order


@shop.handler(name="other", inactivity_timeout=timedelta(seconds=7), ingress_private=True, metadata={"x": "y"})
async def nothing(ctx: Context) -> None: ...


@shop.handler()
async def form(ctx: Context, form: Form) -> list[Form]:
    return [form]


@shop.handler()
async def raw(ctx: Context, data: bytes) -> bytes:
    return data


@shop.handler()
async def untyped(ctx, anything):  # type: ignore[no-untyped-def]
    return anything


def spec(name: str) -> HandlerSpec:
    return shop.spec().handlers[name]


def test_a_service_as_engines_see_it() -> None:
    whole = shop.spec()
    assert (whole.name, whole.kind, whole.documentation, whole.metadata) == (
        "Shop",
        ServiceKind.SERVICE,
        "sells",
        {"team": "a"},
    )
    assert list(whole.handlers) == ["buy", "other", "form", "raw", "untyped"]
    assert spec("buy").documentation == "Buy something."
    assert spec("buy").kind is HandlerKind.PLAIN


def test_handler_settings_win_over_the_services() -> None:
    assert spec("buy").inactivity_timeout_ms == 5000
    assert spec("other").inactivity_timeout_ms == 7000
    assert spec("buy").public and not spec("other").public
    assert spec("buy").journal_retention_ms == DAY_MS


def test_payload_rules_follow_the_signature() -> None:
    assert spec("buy").input.content_type == "application/json"
    assert spec("buy").input.json_schema["$defs"]["Order"]["required"] == ["item"]  # type: ignore[index]
    assert spec("other").input.content_type is None
    assert spec("other").output.content_type is None
    assert spec("form").output.json_schema["items"] == {"$ref": "#/$defs/Form"}  # type: ignore[index]
    assert spec("untyped").output.content_type == "application/json"
    assert spec("untyped").input.json_schema is None


def test_retry_policies_merge_field_by_field() -> None:
    service = Service("S", invocation_retry_policy=InvocationRetryPolicy(max_attempts=5, on_max_attempts="kill"))

    @service.handler(
        invocation_retry_policy=InvocationRetryPolicy(initial_interval=timedelta(seconds=2), max_attempts=3)
    )
    async def h(ctx: Context) -> None: ...

    assert service.spec().handlers["h"].retry == RetryPolicy(
        initial_interval_ms=2000, max_attempts=3, on_max_attempts="kill"
    )


def test_objects_and_workflows() -> None:
    thing, flow = VirtualObject("Thing", state_preload=False), Workflow("Flow")

    @thing.handler()
    async def write(ctx: ObjectContext) -> None: ...

    @thing.handler(kind="shared", state_preload=True)
    async def read(ctx: ObjectSharedContext) -> None: ...

    @flow.main(workflow_retention=timedelta(hours=1))
    async def main(ctx: perdure.WorkflowContext) -> None: ...

    @flow.handler()
    async def look(ctx: perdure.WorkflowSharedContext) -> None: ...

    kinds = {name: handler.kind for name, handler in (thing.spec().handlers | flow.spec().handlers).items()}
    assert kinds == {
        "write": HandlerKind.EXCLUSIVE,
        "read": HandlerKind.SHARED,
        "main": HandlerKind.RUN,
        "look": HandlerKind.SHARED,
    }
    assert thing.spec().handlers["write"].lazy_state and not thing.spec().handlers["read"].lazy_state
    assert flow.spec().handlers["main"].workflow_completion_retention_ms == 3_600_000
    with pytest.raises(RegistrationError, match="main handler already"):
        flow.main(name="second")(main)


def test_the_decorator_gives_the_function_back() -> None:
    service, second = Service("A"), Service("B")

    async def h(ctx: Context) -> int:
        return 1

    assert service.handler()(h) is h
    again = second.handler()(h)
    assert handler_of(h).service.name == "A"
    assert handler_of(again).service.name == "B"


def registered(function: Any, **kwargs: Any) -> Any:
    return lambda: Service("S").handler(**kwargs)(function)


async def ok(ctx: Context) -> None: ...


async def three(ctx: Context, a: int, b: int) -> None: ...


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (registered(lambda ctx: None, name="x"), "async def"),
        (registered(three), "3 parameters"),
        (registered(ok, name="restate"), "cannot have this name"),
        (lambda: Service("a/b"), "cannot be the name"),
        (lambda: Service("restate"), "cannot be the name"),
        (lambda: perdure.app([shop, shop]), "two services named Shop"),
        (lambda: perdure.app(["Shop"]), "not a service"),
        (lambda: VirtualObject("O", state_preload=True, enable_lazy_state=True), "state_preload"),
    ],
)
def test_what_cannot_be_served_is_refused_at_registration(act: Any, match: str) -> None:
    with pytest.raises(RegistrationError, match=match) as caught:
        act()
    assert str(caught.value).startswith("PD0407: ")


def test_two_handlers_of_one_name_are_refused() -> None:
    with pytest.raises(RegistrationError, match="named buy already"):
        shop.handler(name="buy")(ok)


app = perdure.app([shop])


def validate(handler: str, body: bytes) -> None:
    app.validate_input(spec(handler), Target("Shop", None, handler), "application/json", body)


@pytest.mark.parametrize(
    ("handler", "body"),
    [("buy", b'{"item":"a"}'), ("form", b'{"name":"a"}'), ("raw", b"\xff"), ("other", b""), ("untyped", b"[1]")],
)
def test_input_that_fits_passes(handler: str, body: bytes) -> None:
    validate(handler, body)


@pytest.mark.parametrize(
    ("handler", "body", "field"),
    [
        ("buy", b'{"item":1}', "item"),
        ("buy", b"{}", "item"),
        ("buy", b"not json", "malformed"),
        ("form", b'{"nome":"a"}', "name"),
        ("untyped", b"{", "truncated"),
    ],
)
def test_input_that_does_not_fit_is_rejected_by_field(handler: str, body: bytes, field: str) -> None:
    with pytest.raises(InputRejected, match=field):
        validate(handler, body)


def test_an_app_knows_only_its_own() -> None:
    with pytest.raises(KeyError):
        app.validate_input(spec("buy"), Target("Shop", None, "nope"), None, b"")


def test_identity_follows_the_code() -> None:
    def make(value: int, name: str = "S") -> perdure.App:
        namespace: dict[str, Any] = {}
        code = f"async def h(ctx):\n    def inner():\n        return {value}\n    return inner() in {{'a', 'b', 'c'}}\n"
        exec(code, namespace)
        service = Service(name)
        service.handler()(namespace["h"])
        return perdure.app([service])

    assert make(1).identity == make(1).identity
    assert make(1).identity != make(2).identity
    assert make(1).identity != make(1, "T").identity
    assert len(make(1).identity) == 64


@pytest.mark.slow
def test_identity_is_the_same_in_every_process() -> None:
    import os
    import subprocess
    import sys

    code = (
        "import perdure\n"
        "s = perdure.Service('S')\n"
        "@s.handler()\n"
        "async def h(ctx):\n    return 1 in {'a', 'b', 'c'}, (1, 'x'), [x for x in ()]\n"
        "print(perdure.app([s]).identity)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1 and "" not in seen
