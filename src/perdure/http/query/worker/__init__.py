"""The process that runs queries: it plans and executes SQL with DataFusion, over rows that the node sends it.

`python -m perdure.http.query.worker` reads messages from stdin and writes messages to stdout; it opens no file and no port.
"""
