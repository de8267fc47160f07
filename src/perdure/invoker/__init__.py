"""Runs attempts: `local` those of handlers in this process. What every kind of invoker proposes is in `proposals`."""
