"""A generated head around the preserved brain: tissue contrast, neck, seam, blending and air."""
