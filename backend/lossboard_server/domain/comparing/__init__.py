"""The reasons why curves may not be laid over each other, in stable codes and sentences."""
