"""The processes that a run consists of: memory, threads, temporary folders, and how they end."""
