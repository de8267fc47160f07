"""`crash_everywhere` and what it is made of.

`everywhere` explores the points of a scenario; `run` is one run of it, on a `node` whose `log` dies at a chosen record; `watch`
and `line_tracer` look at what the program does meanwhile, `user_state` at what it keeps outside; `report` compares and words.
"""
