"""SQL over invocations, journals and state: `POST /query`, and the PostgreSQL wire (docs/sql.md).

A query runs in a process of its own (`worker`), which has DataFusion and may be killed; this process only reads the rows it
needs from a snapshot and hands them over as they are stored. So a query that takes long, or takes much, takes it from nobody.
"""
