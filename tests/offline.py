"""Runs without a service, started as a script does and read back from their journals."""

import lossboard
from journals import journalled, journals
from lossboard.journal.reading import read_series


class Board:
    """Starts strict offline runs in a folder of its own and reads their records back."""

    def __init__(self, folder):
        self._folder = folder
        self.runs = []

    def watch(self, loss_func, loader=None, **options):
        """Call lossboard.watch as a script would, but offline and strict."""
        if not isinstance(options.get("run"), lossboard.Run):
            options = {"mode": "offline", "strict": True, "dir": self._folder, **options}
        run = lossboard.watch(loss_func, loader, **options)
        self.runs.append(run)
        return run

    def records(self, run, *keys, series=None):
        """Return the records of a run, or of one series of it: the named values of each, in their order."""
        return journalled(self._folder, *keys, run=run.id, series=series)

    def meanings(self, run):
        """Return {series: (reduction, weight unit, weight source)}."""
        folders = journals(self._folder, run.id)
        declared = [series for folder in folders for series in read_series(folder).values()]
        return {series.name: tuple(series.meaning().values()) for series in declared}

    def close(self):
        """Finish every run."""
        for run in self.runs:
            run.finish()
