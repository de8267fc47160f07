"""perdure: durable async/await for Python."""
