"""Commands. Nothing heavy is imported before it is needed."""
