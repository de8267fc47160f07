"""What the engine takes from the machine: time, disk, randomness, threads.

Protocols and their real versions. Modules of `log`, `store`, `partition`, `invoker` and `node` get these passed in and
never use `time`, `os`, `random` or `threading` themselves, so that a simulator can put itself in their place.
"""
