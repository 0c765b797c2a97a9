"""What becomes of whole runs: edited, archived, deleted, exported and imported."""
