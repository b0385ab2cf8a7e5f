"""The drills, one file for each kind; a new file with `DRILLS` in it is found by itself."""
