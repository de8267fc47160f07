"""Deployments elsewhere: workers on loops of their own, and a network to them. Needs the extra `restate`."""
