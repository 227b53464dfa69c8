"""Zoetrope from outside: promises, not units."""
