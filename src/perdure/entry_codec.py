"""The hook between serialized values and what is stored, as in `restate.entry_codec`."""

from perdure.sdk.codec import JournalValueCodec as JournalValueCodec
from perdure.sdk.codec import JournalValueCodecProvider as JournalValueCodecProvider

__all__ = [
    "JournalValueCodec",
    "JournalValueCodecProvider",
]
