"""Reports and renderings that show a result to a person."""
