"""Random variations of faces, made for a whole batch at once on the device.

- `options.py`: `Augmentation`, how far each of them may go
- `geometry.py`: turn, scale, shift, mirror and the random warp
- `color.py`: gains and palettes, HSV and Lab jitter; `spaces.py`: the colour spaces
- `transfer.py`: the colours of a face of the other side
- `contrast.py`, `degrade.py`, `jpeg.py`: CLAHE, and what lenses, scalers, sensors and codecs do to a picture
- `batch.py`: `random_draws` draws all of it on the CPU, `vary` applies it

What the network should draw is the face turned, scaled and shifted; what it sees is the same with a random warp on
top, with changed colours and perhaps worse. To undo the warp it has to know what this person's face looks like - which
is what makes a decoder draw its own person whoever is encoded. That the colours change only in what it sees teaches the
encoder to pass over one person's skin and light being unlike the other's; the merge matches colours anyway. That the
picture gets worse only in what it sees teaches it to draw a clean face of a poor one.

Turns, scales and shifts are small: faces come aligned and smoothed, and a network that has to draw any placement spends
most of a short training on that (measured on the demo: after 240 iterations, a correlation of 0.65 with how lids and
lips move, against 0.31 with 8 degrees, 5 % and 4 %).

Faces are not mirrored by default: a parting, a mole, a crooked smile are part of a likeness.
"""

from visagist.training.augment.batch import Draws, random_draws, vary
from visagist.training.augment.color import Palette
from visagist.training.augment.options import Augmentation

__all__ = ["Augmentation", "Draws", "Palette", "random_draws", "vary"]
