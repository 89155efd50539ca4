"""De-identification of one scan as plain array code: numpy, scipy and nibabel only."""
