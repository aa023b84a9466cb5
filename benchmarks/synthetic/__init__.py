"""Synthetic people before a synthetic camera, so that the right swap is known to the pixel.

`model` reads the head model, `paint` gives it skin, hair and eyes, `render` casts the rays, `scene` takes pictures,
`cases` makes clips and swaps of known quality, `judge` and `detectors` put them before the metrics and the truth.
"""
