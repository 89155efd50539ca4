"""De-identification of one scan as plain array code (numpy, scipy, nibabel): images, space, synthesis, qc."""
