"""A generated head around the preserved brain.

`blending` puts head, air and noise on the grid of the scan. `air` describes and draws the air, `tissue` and
`contrast` set intensities, `sharpness` and `seam` the blur, `neck` extends the head downwards.
"""
