"""One running engine: the loop log -> partition -> actions, with its timers, waiting callers, start and stop."""
