"""What a loss number means: pure arithmetic, no I/O. The only home of the formulas."""
