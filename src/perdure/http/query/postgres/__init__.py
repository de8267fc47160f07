"""The PostgreSQL wire: `psql`, psycopg and whatever else speaks it may ask the same tables as `POST /query` (docs/sql.md).

Only queries, no log-in, no TLS: for people and tools on a private network.
"""
