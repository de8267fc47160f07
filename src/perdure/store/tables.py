"""The tables of one partition, as the state machine sees them.

Contract (what the implementation must keep):
* Reads are point reads and cursor steps. They look into the active layer, then the frozen one, then the layer written last
  (kept as a cache), then SQLite.
* A row returned by a plain read must not be changed; `edit*` returns the one in the active layer, copying it there first.
* Nothing here is durable by itself: the log is. A checkpoint writes a frozen layer with the LSN it stands for.
"""
