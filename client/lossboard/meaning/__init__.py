"""What a number that a loss returned means: by its rule, or by asking the loss about parts of a batch."""
