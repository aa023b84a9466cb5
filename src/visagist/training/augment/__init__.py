"""Random variation of faces in batches, on the device.

A network learns to predict the face after a small rotation, scale and shift; its input is the same face with a random
warp, changed colours and perhaps a degraded image on top. Undoing the warp makes a decoder reconstruct its own identity
whichever was encoded; changed colours teach the encoder to ignore differences in skin and light.

The default geometry is small because faces come aligned and smoothed: after 240 iterations on the demo, predictions
correlate 0.65 with the performer's lids and lips, against 0.31 with 8 degrees, 5 % and 4 %. Faces are not mirrored by
default: a parting, a mole or a crooked smile is part of a likeness.
"""

from visagist.training.augment.batch import augment_batch
from visagist.training.augment.options import Augmentation

__all__ = ["Augmentation", "augment_batch"]
