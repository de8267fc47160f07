"""The rules: one record in, changes of the tables and a list of actions out.

Pure: no await, no clock, no randomness, no I/O but reads through `Tables`. Two partitions that apply the same records to
the same tables end with the same tables, whatever the machine.
"""
