"""One module for each command of the brainmvp program."""
