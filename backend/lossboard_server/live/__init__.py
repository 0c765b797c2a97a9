"""What viewers follow: changes, coalesced, as they are committed."""
