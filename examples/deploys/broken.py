"""New code that does not: it asks for something before what the journals of waiting parcels say."""

from __future__ import annotations

import perdure

parcels = perdure.VirtualObject("Parcel")


@parcels.handler()
async def ship(ctx: perdure.ObjectContext, what: str) -> list[str]:
    await ctx.run_typed("check address", lambda: "checked")
    done = [await ctx.run_typed("reserve", lambda: f"reserved {what}")]
    await ctx.signal("paid")
    done.append(await ctx.run_typed("send", lambda: f"sent {what}"))
    return done


app = perdure.app([parcels])
