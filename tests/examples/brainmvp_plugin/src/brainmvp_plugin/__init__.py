"""Parts for brainmvp-lightning, one of each kind."""
