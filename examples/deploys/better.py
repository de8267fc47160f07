"""New code that resumes what is under way: up to where parcels wait it does what the old code did."""

from __future__ import annotations

import perdure

parcels = perdure.VirtualObject("Parcel")


@parcels.handler()
async def ship(ctx: perdure.ObjectContext, what: str) -> list[str]:
    done = [await ctx.run_typed("reserve", lambda: f"reserved {what} at the new shelf")]
    await ctx.signal("paid")
    done.append(await ctx.run_typed("send", lambda: f"sent {what}"))
    done.append(await ctx.run_typed("thank", lambda: f"thanked for {what}"))
    return done


app = perdure.app([parcels])
