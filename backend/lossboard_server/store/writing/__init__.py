"""Storing what comes in: the one writer, runs, records, trails."""
