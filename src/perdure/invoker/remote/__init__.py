"""Attempts that run in another process: the transport to remote deployments, and the service protocol over it."""
