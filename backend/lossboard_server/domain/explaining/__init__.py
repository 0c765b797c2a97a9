"""Why a number of an epoch is what it is: formulas, artefacts, and what other tools print."""
