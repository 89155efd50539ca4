"""One module per question; `benchmarks.pairs` says what a measure is."""
