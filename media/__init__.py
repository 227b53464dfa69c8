"""What comes in and what goes out: pictures read safely, clips written small enough, both stored by content hash.

Knows neither Discord nor Redis nor torch. Everything here is plain and synchronous, except `store`, which is `async` at
its face; callers put the rest into a thread or a process of their own.
"""
