"""Reading back: epochs, buckets and records as they are shown."""
