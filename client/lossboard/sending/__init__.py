"""From the journal to the service: who it is, how it is asked, what it said, and journals of the dead."""
