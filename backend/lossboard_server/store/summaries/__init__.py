"""The stored summaries, by epoch and in both tiers of buckets."""
