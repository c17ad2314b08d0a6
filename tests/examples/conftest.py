"""The template's own tests run where it is installed; `tests/plugins` does that."""

collect_ignore = ["brainmvp_plugin"]
