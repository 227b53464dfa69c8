"""A long day in few minutes: many people ask while everything that can die dies, and each job must still end once.

`make chaos` or `python -m tests.chaos`; `python -m tests.chaos --takeover` measures how soon a dead worker's job starts
elsewhere. What counts is read from the local Discord's own messages, not from our records.
"""
