"""What is answered of runs: curves, epochs, explanations. Without HTTP, so that any process can draw it."""
