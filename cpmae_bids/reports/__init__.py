"""Reports and renderings of results."""
