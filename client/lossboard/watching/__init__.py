"""Where training stands and what its loss says: hooks on a loss, its loader and its optimizers."""
