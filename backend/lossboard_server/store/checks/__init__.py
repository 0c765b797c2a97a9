"""Holding the database to its own records, for `lossboard doctor`."""
