"""Commands of the command line that are more than a question and an answer."""
