"""Where runs and records are kept: SQLAlchemy models, the one writer, and the reading of both."""
