"""One file per kind of record: what it changes and what it asks for."""
