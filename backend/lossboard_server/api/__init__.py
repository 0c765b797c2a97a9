"""The HTTP surface: its doors, its routes and the one shape of its failures."""
