"""The largest file that a channel takes from the bot: what Discord documents, or less where it turned out so."""

from arq.connections import ArqRedis

MIB = 2**20
TIER_MIB = {2: 50.0, 3: 100.0}
"""Boost tiers 2 and 3 (Discord, "Uploading Files"). The requester's own Nitro limit is not the bot's."""
FALLBACK_MIB = 10.0
"""Discord's default from January 2025 to September 2026; some servers still had it during the roll-out."""
KEEP_SECONDS = 30 * 86_400


class Uploads:
    """Limits by guild, learnt from refusals and kept for a month."""

    def __init__(self, redis: ArqRedis, default_mib: float) -> None:
        self.redis = redis
        self.default_mib = default_mib

    async def limit(self, guild_id: str | None, premium_tier: int = 0) -> int:
        """Bytes that one attachment may have there."""
        documented = round(TIER_MIB.get(premium_tier, self.default_mib) * MIB)
        learnt = await self.redis.get(_key(guild_id))
        return min(documented, int(learnt)) if learnt else documented

    async def refused(self, guild_id: str | None, size_bytes: int) -> int:
        """A file of this size was too large: the limit to try next, always smaller than it.

        Only Discord's older default is remembered: below it, one odd channel would spoil every clip of the server.
        """
        fallback = round(FALLBACK_MIB * MIB)
        if size_bytes <= fallback:
            return size_bytes // 2
        await self.redis.set(_key(guild_id), fallback, ex=KEEP_SECONDS)
        return fallback


def _key(guild_id: str | None) -> str:
    return f"zoetrope:upload:{guild_id or 'dm'}"
