"""The code that runs today: a parcel is reserved, and sent once it has been paid."""

from __future__ import annotations

import perdure

parcels = perdure.VirtualObject("Parcel")


@parcels.handler()
async def ship(ctx: perdure.ObjectContext, what: str) -> list[str]:
    done = [await ctx.run_typed("reserve", lambda: f"reserved {what}")]
    await ctx.signal("paid")
    done.append(await ctx.run_typed("send", lambda: f"sent {what}"))
    return done


app = perdure.app([parcels])
