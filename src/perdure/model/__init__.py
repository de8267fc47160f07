"""The vocabulary that every room shares: ids, targets, journal entries, records, errors, the driver protocol.

Data only: nothing here does I/O, knows the time, or decides anything.
"""
