"""Runs without a service, started as a script does and read back from their journals."""

import lossboard
from lossboard.journal.reading import read_manifest, read_records, read_series


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
        found = []
        for folder in self._writers(run):
            names = [entry.name for entry in read_series(folder)]
            for _, record in read_records(folder):
                if series is None or names[record.series] == series:
                    values = {**record._asdict(), "series": names[record.series]}
                    found.append(tuple(values[key] for key in keys))
        return found if len(keys) != 1 else [value for (value,) in found]

    def meanings(self, run):
        """Return {series: (reduction, weight unit, weight source)}."""
        return {entry[0]: tuple(entry[1:]) for folder in self._writers(run) for entry in read_series(folder)}

    def _writers(self, run):
        folders = sorted((self._folder / "journal").iterdir())
        return [folder for folder in folders if read_manifest(folder)["run"] == run.id]

    def close(self):
        """Finish every run."""
        for run in self.runs:
            run.finish()
