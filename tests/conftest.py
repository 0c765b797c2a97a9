"""What holds for the whole suite."""

from hypothesis import settings

# A loaded machine is slow, not wrong: no property fails by its time. An example that failed is replayed
# from what was printed, since a clean checkout has no database of examples.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")
